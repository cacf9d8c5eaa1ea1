"""Gradient sparsification: golden arrays, conservation, sums over devices, compact optimisers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from offprint.sparsity import optim

KEY = jax.random.key(0)


def run(tx, grads):
    """What is sent of each row of `grads`, and the state at the end."""

    def step(state, g):
        sent, state = tx.update(g, state)
        return state, sent

    state, sent = jax.jit(lambda g: jax.lax.scan(step, tx.init(jax.tree.map(lambda g: g[0], g)), g))(grads)
    return sent, state


COMPRESSORS = {
    "top-k": optim.TopK(3),
    "top-k of all": optim.TopK(0.2, "global"),
    "random-k": optim.RandomK(3),
    "threshold": optim.Threshold(0.7),
    "strom": optim.Strom(0.7),
}


@pytest.fixture(scope="module")
def compressed():
    def sums(compressor, grads):
        tx = optim.compress(compressor, key=KEY)
        sent, state = run(tx, grads)
        return jax.tree.map(lambda s: s.sum(0), sent), state.error

    return {name: jax.jit(partial(sums, compressor)) for name, compressor in COMPRESSORS.items()}


@pytest.mark.parametrize("name", COMPRESSORS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_nothing_is_lost(compressed, name, seed):
    rng = np.random.default_rng(seed)
    grads = {"a": jnp.asarray(rng.normal(size=(7, 12))), "b": jnp.asarray(rng.normal(size=(7, 4, 5)))}
    sent, error = compressed[name](grads)
    for key in grads:
        np.testing.assert_allclose(sent[key] + error[key], grads[key].sum(0), atol=1e-12)


def test_counts_and_scopes():
    tree = {"a": jnp.arange(1.0, 13.0), "b": jnp.full((4, 5), 0.5).at[0, :2].set(20.0)}
    nonzero = lambda tree: {k: int((v != 0).sum()) for k, v in tree.items()}  # noqa: E731
    assert nonzero(optim.TopK(0.25)(tree)) == {"a": 3, "b": 5}
    assert nonzero(optim.TopK(4, "global")(tree)) == {"a": 2, "b": 2}
    assert nonzero(optim.TopK(15)(tree)) == {"a": 12, "b": 15}
    assert nonzero(optim.RandomK(0.25)(tree, KEY)) == {"a": 3, "b": 5}
    assert sum(nonzero(optim.RandomK(7, "global")(tree, KEY)).values()) == 7


@pytest.mark.parametrize("scope", ["local", "global"])
def test_random_k_is_unbiased_without_feedback(scope):
    tree = {"a": jnp.arange(1.0, 13.0), "b": jnp.ones((4, 5))}
    draws = jax.jit(jax.vmap(partial(optim.RandomK(3, scope, unbiased=True), tree)))(jax.random.split(KEY, 5000))
    for key, x in tree.items():
        mean, deviation = draws[key].mean(0), draws[key].std(0)
        assert np.abs((mean - x) / deviation * 5000**0.5).max() < 5


def test_random_k_of_half_precision_is_uniform():
    """Random numbers of a bfloat16 tie, and ties keep the lower index: the mean index would be 4 deviations off."""
    n = 20_000
    sent = jax.jit(optim.RandomK(0.1))(jnp.ones(n, jnp.bfloat16), KEY)
    index = np.flatnonzero(np.asarray(sent))
    assert index.size == n // 10
    assert abs(index.mean() - n / 2) < 3 * n / 12**0.5 / index.size**0.5


@pytest.mark.parametrize("tx", [optim.topk_error_feedback(1), optim.dgc(0.0, 1 / 8)])
def test_half_precision_gradients_are_not_lost(tx):
    """200 steps of a bfloat16 sum would lose what is below 1/256 of it; the types stay those of the carry of a scan."""
    grads = jnp.asarray(np.random.default_rng(0).normal(0.01, 0.01, (200, 8))).astype(jnp.bfloat16)
    sent, state = run(tx, grads)
    assert sent.dtype == jnp.bfloat16
    left = state.error if hasattr(state, "error") else state.v
    total = np.asarray(sent, np.float64).sum(0) + np.asarray(left, np.float64)
    # What dgc sends is rounded to the type of the gradients, 2^-9 of it.
    tolerance = 1e-6 if hasattr(state, "error") else 2.0**-8 * np.abs(total).max()
    np.testing.assert_allclose(total, np.asarray(grads, np.float64).sum(0), rtol=0, atol=tolerance)


def test_dgc_warms_up_and_clips():
    assert optim.dgc_warmup(0.001) == (0.25, 0.0625, 0.015625, 0.004)
    assert optim.dgc_warmup(0.05) == (0.25, 0.0625)
    grads = jnp.asarray(np.random.default_rng(0).normal(size=(5, 20)))
    sent, _ = run(optim.dgc(0.9, 0.1, warmup=(0.5, 0.25), warmup_steps=2), grads)
    assert (np.asarray(sent) != 0).sum(1).tolist() == [10, 10, 5, 5, 2]
    sent, _ = run(optim.dgc(0.0, 1.0, clip=0.6, workers=4), grads)
    np.testing.assert_allclose(np.linalg.norm(sent, axis=1), 0.3)


def test_training_with_one_percent_converges():
    """Top-k with error feedback reaches the minimum of a quadratic; without it, it is still far away."""
    curvature = jnp.linspace(0.1, 1.0, 100)

    def distance(tx):
        def step(carry, _):
            w, state = carry
            updates, state = tx.update(curvature * (w - 1), state, w)
            return (w + updates, state), None

        (w, _), _ = jax.lax.scan(step, (jnp.zeros(100), tx.init(jnp.zeros(100))), length=4000)
        return jnp.abs(w - 1).max()

    feedback = optax.chain(optim.topk_error_feedback(1), optax.sgd(0.02))
    assert jax.jit(lambda: distance(feedback))() < 0.01


@pytest.mark.parametrize("k", [2, 30])  # pairs are gathered; dense sums
def test_sum_over_devices(k):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    x = np.random.default_rng(0).normal(size=(8, 6, 10))

    def reduce(x):
        total, sent = optim.sparse_all_reduce(x[0], k, "d")
        return total, sent[None]

    total, sent = jax.jit(jax.shard_map(reduce, mesh=mesh, in_specs=P("d"), out_specs=(P(), P("d")), check_vma=False))(
        x
    )
    flat = x.reshape(8, -1)
    kept = np.argsort(-np.abs(flat), 1, kind="stable")[:, :k]
    here = np.zeros_like(flat)
    np.put_along_axis(here, kept, np.take_along_axis(flat, kept, 1), 1)
    np.testing.assert_array_equal(sent, here.reshape(x.shape))
    np.testing.assert_allclose(total, here.sum(0).reshape(6, 10), rtol=1e-12)


def test_compact_state_trains_as_masked_adam_does():
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(size=(6, 5))), "bias": jnp.zeros(5)}
    masks = {"kernel": jnp.asarray(rng.uniform(size=(6, 5)) > 0.7), "bias": None}
    params["kernel"] = params["kernel"] * masks["kernel"]
    grads = {"kernel": jnp.asarray(rng.normal(size=(9, 6, 5))), "bias": jnp.asarray(rng.normal(size=(9, 5)))}

    def train(tx, mask_grads):
        def step(carry, g):
            p, state = carry
            g = {"kernel": g["kernel"] * masks["kernel"], "bias": g["bias"]} if mask_grads else g
            updates, state = tx.update(g, state, p)
            return (optax.apply_updates(p, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), grads)[0]

    dense, _ = jax.jit(partial(train, optax.adamw(0.1), True))()
    tx = optim.compact_state(optax.adamw(0.1), masks)
    compact, _ = jax.jit(partial(train, tx, False))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), compact, dense)
    moments = tx.init(params).inner[0].mu
    assert moments["kernel"].shape == (int(masks["kernel"].sum()),)
    assert moments["bias"].shape == (5,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.TopK(0), "a whole number of entries of at least 1, or a share"),
        (lambda: optim.TopK(1.5), r"share in \(0, 1\]; got 1.5"),
        (lambda: optim.TopK(0.5, "all")({"a": jnp.ones(3)}), "scope must be 'local' or 'global'; got 'all'"),
        (lambda: optim.RandomK(1)({"a": jnp.ones(3)}, None), "random-k needs a key"),
        (lambda: optim.Threshold(0.0), "the threshold must be positive"),
        (lambda: optim.dgc(1.0), "momentum must be in"),
        (lambda: optim.dgc(0.9, 0.0), "got 0.0"),
        (lambda: optim.dgc(0.9, 0.1, warmup=(0.5,)), "warmup and warmup_steps are given together"),
        (lambda: optim.sparse_all_reduce(jnp.ones(3), 4, "d"), "k must be between 1 and the 3 entries; got 4"),
        (
            lambda: optim.compact_state(optax.sgd(1.0), {"a": jnp.ones((2, 3), bool)}).init({"a": jnp.ones((3, 2))}),
            "masks must have the shapes of params: 'a' is",
        ),
    ],
)
def test_bad_input(unchecked_types, call, message):
    with pytest.raises(ValueError, match=message):
        call()
