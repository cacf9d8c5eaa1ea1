"""A step sees the windows and negatives that it should, and moves the parameters that it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.core.train import TrainState
from offprint.magnn._negatives import seen_items
from offprint.magnn._split import split_ratio
from offprint.magnn._step import WindowBatches, WindowStep, optimiser, squares_used
from offprint.magnn._windows import windows
from offprint.magnn.baselines import HGN, SASRec
from offprint.magnn.data import markov_sessions


@pytest.fixture(scope="module")
def split():
    return split_ratio(markov_sessions(num_users=60, num_items=40, length=(10, 16)))


@pytest.fixture(scope="module")
def model():
    return HGN(60, 40, 8, L=3, rngs=nnx.Rngs(0))


def batches_of(split, model, **options):
    chosen = {"kind": "per_window", "num_negatives": 2, "weighs": False} | options
    found = windows(split.train, model.L, 2, model.max_long)
    return WindowBatches(split.train, found, seen_items(split.train), 20, **chosen), found


def test_an_epoch_sees_every_window_once_and_negatives_that_are_new(split, model):
    batches, found = batches_of(split, model)
    users, key = [], jax.random.key(3)
    for step in range(batches.steps_per_epoch):
        batch = batches.batch_at(step, key)
        users.append(batch.windows.users)
        for user, negatives in zip(batch.windows.users, batch.negatives):
            assert not set(np.asarray(negatives)) & set(split.train.of(int(user)))
    times = np.bincount(np.concatenate(users), minlength=60)
    assert (times <= np.bincount(found.users, minlength=60)).all()
    assert times.sum() == batches.steps_per_epoch * 20 > len(found) - 20


def test_windows_of_a_user_share_their_negatives_if_asked(split, model):
    batches, _ = batches_of(split, model, kind="per_user_epoch")
    batch = batches.batch_at(jnp.int32(1), jax.random.key(0))
    by_user: dict = {}
    for user, negatives in zip(np.asarray(batch.windows.users).tolist(), np.asarray(batch.negatives).tolist()):
        assert by_user.setdefault(user, negatives) == negatives
    assert len(set(map(tuple, by_user.values()))) > 1


def test_sampled_softmax_is_told_how_likely_a_draw_was(split, model):
    batches, _ = batches_of(split, model, weighs=True)
    batch = batches.batch_at(0, jax.random.key(0))
    unseen = [40 - len(set(split.train.of(int(user)))) for user in batch.windows.users]
    np.testing.assert_allclose(batch.log_q[:, 0], -np.log(unseen), rtol=1e-6)


def test_the_penalty_counts_the_rows_that_a_batch_uses(split, model):
    batches, _ = batches_of(split, model)
    batch = batches.batch_at(0, jax.random.key(0))
    rows = {
        "P": batch.windows.users,
        "E": batch.windows.short,
        "Q": np.concatenate([batch.windows.targets, batch.negatives], axis=1),
    }
    used = {name: np.unique(np.asarray(ids)[np.asarray(ids) >= 0]) for name, ids in rows.items()} | {"b": None}
    expected = sum(
        (np.asarray(value[...])[used[name]] ** 2).sum() if used.get(name) is not None else (value[...] ** 2).sum()
        for name, value in nnx.state(model, nnx.Param).items()
    )
    np.testing.assert_allclose(squares_used(model, batch), expected, rtol=1e-5)


def test_coupled_decay_moves_rows_that_no_batch_uses(split, model):
    batches, _ = batches_of(split, model)
    state = TrainState.create(model, optimiser(1e-3, 1e-3, "coupled"))
    batch = batches.batch_at(0, jax.random.key(0))
    after, _ = WindowStep("bpr", 0.0, 40, None)(state, batch, jax.random.key(0))
    unused = np.setdiff1d(np.arange(60), batch.windows.users)
    moved = np.abs(after.params["P"][...])[unused] - np.abs(state.params["P"][...])[unused]
    large = np.abs(state.params["P"][...])[unused] > 2e-3
    np.testing.assert_allclose(moved[large], -1e-3, rtol=1e-2)  # Adam's first step is lr, however small the decay


def test_one_table_for_input_and_output_is_counted_by_both(split):
    model = SASRec(60, 40, 8, blocks=1, L=3, max_long=4, rngs=nnx.Rngs(0))
    batches, _ = batches_of(split, model)
    batch = batches.batch_at(0, jax.random.key(0))
    ids = np.concatenate([np.asarray(x).ravel() for x in (*batch.windows[1:], batch.negatives)])
    table = model.E[...]
    unused = np.setdiff1d(np.arange(40), ids)
    everything = sum((leaf**2).sum() for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    np.testing.assert_allclose(squares_used(model, batch), everything - (table[unused] ** 2).sum(), rtol=1e-5)
