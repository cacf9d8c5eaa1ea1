"""Eight devices that share users and items train and rank as one does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh

from offprint.magnn._config import TrainConfig
from offprint.magnn._metrics import evaluate
from offprint.magnn._model import MAGNN
from offprint.magnn._recommend import recommend
from offprint.magnn._shard import shard_items
from offprint.magnn._split import split_ratio
from offprint.magnn._train import fit
from offprint.magnn.baselines import HGN
from offprint.magnn.data import markov_sessions

CONFIG = TrainConfig(epochs=2, batch_size=128, T=2, eval_every=1, lr=1e-2)


@pytest.fixture(scope="module")
def split():
    return split_ratio(markov_sessions(num_users=64, num_items=48, length=(12, 12)))


@pytest.fixture(scope="module")
def mesh():
    return Mesh(np.array(jax.devices()), ("devices",))


@pytest.fixture(scope="module")
def model():
    return MAGNN(64, 48, 8, 2, 3, L=3, max_long=4, dtype=jnp.float64, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def on_one(model, split):
    return fit(model, split, CONFIG)


@pytest.fixture(scope="module")
def on_eight(model, split, mesh):
    return fit(model, split, CONFIG, mesh=mesh)


def test_training_gives_the_same_parameters_and_metrics(on_one, on_eight):
    assert on_one.result.step == on_eight.result.step == 4  # two steps of 128 windows, which eight divides
    states = (nnx.state(fitted.model, nnx.Param) for fitted in (on_one, on_eight))
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7)
    for row, other in zip(on_one.history, on_eight.history, strict=True):
        assert row == pytest.approx(other, abs=1e-9)


def test_item_tables_and_their_moments_lie_on_all_devices(on_eight, mesh):
    state = on_eight.result.state
    for table in (state.params["E"], state.params["Q"], state.params["b"], state.opt_state[1][0].mu["E"]):
        assert len(table[...].sharding.device_set) == 8
        assert table[...].addressable_shards[0].data.shape[0] == 48 // 8
    assert state.params["P"][...].sharding.is_fully_replicated


@pytest.mark.parametrize("item_block", [None, 4], ids=str)
@pytest.mark.parametrize("k", [3, 10])
def test_ranking_over_divided_items_gives_the_same_lists(on_one, split, mesh, k, item_block):
    alone = recommend(on_one.model, split.train_val, k)
    together = recommend(on_one.model, split.train_val, k, mesh=mesh, item_block=item_block)
    np.testing.assert_array_equal(alone.items, together.items)
    np.testing.assert_allclose(alone.scores, together.scores, rtol=0, atol=1e-12)
    assert evaluate(alone.items, split.test, (k,)).as_dict() == evaluate(together.items, split.test, (k,)).as_dict()


def test_a_divided_model_ranks_as_the_whole_one(on_one, split, mesh):
    divided = shard_items(on_one.model, mesh)
    assert divided.Q[...].addressable_shards[0].data.shape == (6, 8)
    assert divided.P[...].sharding.is_fully_replicated
    alone, together = recommend(on_one.model, split.train_val), recommend(divided, split.train_val, mesh=mesh)
    np.testing.assert_array_equal(alone.items, together.items)


def test_ties_over_devices_go_to_the_smaller_number(split, mesh):
    model = HGN(64, 48, 4, rngs=nnx.Rngs(0))
    model.Q[...] = jnp.zeros_like(model.Q[...])
    alone, together = recommend(model, split.train), recommend(model, split.train, mesh=mesh)
    np.testing.assert_array_equal(alone.items, together.items)


def test_items_that_do_not_divide_evenly_are_ranked_but_not_placed(split, mesh):
    model = HGN(64, 48, 4, rngs=nnx.Rngs(0))
    chosen = np.arange(1, 48)
    alone = recommend(model, split.train, 5, candidates=chosen)
    np.testing.assert_array_equal(recommend(model, split.train, 5, candidates=chosen, mesh=mesh).items, alone.items)
    with pytest.raises(ValueError, match=r"47 items cannot be divided evenly over 8 devices; .*num_items=48"):
        shard_items(HGN(64, 47, 4, rngs=nnx.Rngs(0)), mesh)
