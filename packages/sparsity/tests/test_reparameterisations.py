"""STR, powerpropagation, continuous sparsification, growing regularisation and ADMM: facts of each."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.sparsity._admm import admm_init, admm_penalty, admm_project, admm_residuals, admm_update
from offprint.sparsity._continuous import (
    beta_schedule,
    continuous_gate,
    continuous_mask,
    continuous_penalty,
    continuous_restart,
)
from offprint.sparsity._growing import growing_l2, growing_strength
from offprint.sparsity._pattern import Channel
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity._powerprop import powerprop, powerprop_init
from offprint.sparsity._str import STR_INIT, check_str_decay, soft_threshold_reparam

W = np.random.default_rng(5).normal(size=(6, 4))


def test_gradients_are_central_differences():
    """Away from the kinks of the soft threshold, whose distance from every |w| here is far above the step."""
    step, s, direction = 1e-5, -0.4, np.random.default_rng(6).normal(size=W.shape)
    assert np.abs(np.abs(W) - 1 / (1 + np.exp(0.4))).min() > 1e-3
    cost = np.arange(24.0).reshape(W.shape)
    functions = (
        lambda w, s: soft_threshold_reparam(w, s),
        lambda w, s: soft_threshold_reparam(w, s * jnp.ones((1, 4)), jnp.exp),
        lambda w, s: powerprop(w, 1.5) * s,
        lambda w, s: powerprop(w, 4) * s,
        lambda w, s: powerprop_init(w, 3) * s,
        lambda w, s: continuous_gate(w, s) + continuous_penalty(w, s),
    )

    @jax.jit
    def run(w, s):
        def total(w, s):
            return jnp.stack([jnp.sum(cost * f(w, s)) for f in functions])

        slope = jax.jvp(total, (w, s), (direction, 1.0))[1]
        return slope, (total(w + step * direction, s + step) - total(w - step * direction, s - step)) / (2 * step)

    slope, difference = run(jnp.asarray(W), s)
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_soft_threshold_from_the_papers_start_is_the_identity():
    w = W.astype(np.float32)
    value, grads = jax.value_and_grad(lambda w, s: jnp.sum(soft_threshold_reparam(w, s)), (0, 1))(
        jnp.asarray(w), jnp.float32(STR_INIT)
    )
    np.testing.assert_allclose(value, w.sum(), rtol=1e-5)
    np.testing.assert_array_equal(grads[0], 1)
    assert grads[1] == 0


def test_decay_that_misses_the_thresholds_is_found():
    params = {
        "a": {"kernel": jnp.ones((2, 2)), "threshold": jnp.float32(STR_INIT)},
        "b": {"threshold": jnp.float32(-9)},
    }
    everything = optax.adamw(optax.linear_schedule(0.0, 1e-3, 10), weight_decay=1e-4)
    kernels = optax.chain(
        optax.add_decayed_weights(1e-4, mask={"a": {"kernel": True, "threshold": False}, "b": {"threshold": True}}),
        optax.sgd(0.1, momentum=0.9),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_str_decay(everything, params) == []
    with pytest.warns(UserWarning, match="a/threshold"):
        assert check_str_decay(kernels, params) == ["a/threshold"]
    with pytest.raises(ValueError, match="no STR threshold"):
        check_str_decay(everything, {"kernel": jnp.ones((2, 2))})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=6, max_size=6), st.sampled_from([0, 1, 2]))
def test_powerprop_starts_with_the_same_weights(values, which):
    weights = np.asarray(values)
    np.testing.assert_allclose(ROUND_TRIP(weights)[which], weights, rtol=1e-6, atol=1e-300)


ROUND_TRIP = jax.jit(lambda w: jnp.stack([powerprop(powerprop_init(w, alpha), alpha) for alpha in (1, 1.5, 4)]))


def test_powerprop_gradient_at_zero():
    theta = jnp.asarray([0.0, 1e-30], jnp.float32)
    slopes = jnp.stack([jax.grad(lambda t, a=alpha: jnp.sum(powerprop(t, a)))(theta) for alpha in (1.2, 2.0)])
    np.testing.assert_allclose(slopes, [[0, 1.2e-6], [0, 2e-30]], rtol=1e-5)


def test_gates_harden():
    soft, hard = (np.asarray(continuous_gate(W, beta)) for beta in (1.0, 1e4))
    assert ((soft > 0) & (soft < 1)).all()
    np.testing.assert_array_equal(hard > 0.5, continuous_mask(W))
    np.testing.assert_allclose(hard, np.round(hard), atol=1e-12)
    betas = jax.vmap(lambda step: beta_schedule(step, 11))(jnp.arange(12))
    np.testing.assert_allclose(betas[jnp.array([0, 5, 10, 11])], [1, np.sqrt(200), 200, 200])
    again = np.asarray(continuous_restart(W, 50.0, 0.1))
    np.testing.assert_array_equal(again[W > 0.01], 0.1)
    np.testing.assert_allclose(again[W < 0], 50 * W[W < 0])


def test_growing_strength_takes_steps_up_to_its_ceiling():
    found = jax.jit(jax.vmap(lambda step: growing_strength(step, 0.1, 5, 0.3)))(jnp.arange(0, 30, 5))
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.3, 0.3, 0.3], rtol=1e-6)


def test_growing_regularisation_fades_what_is_to_go_and_nothing_else():
    """Gradient descent on 0.5 (w - 1)² with the growing penalty: doomed weights go to 1 / (1 + ceiling)."""
    params = {"a": {"kernel": jnp.full((3, 2), 2.0), "bias": jnp.full(2, 2.0)}}
    masks = {"a": {"kernel": np.array([[1.0, 0], [1, 0], [1, 1]]), "bias": None}}
    chosen = growing_l2(masks, rate=0.5, every=3, ceiling=4.0)
    all_kernels = growing_l2(rate=0.5, every=3, ceiling=4.0)

    @jax.jit
    def run(params):
        def descend(tx):
            full = optax.chain(tx, optax.sgd(0.1))

            def step(carry, _):
                p, state = carry
                updates, state = full.update(jax.tree.map(lambda w: w - 1, p), state, p)
                return (optax.apply_updates(p, updates), state), None

            return jax.lax.scan(step, (params, full.init(params)), length=300)[0][0]["a"]

        return descend(chosen), descend(all_kernels)

    first, second = run(params)
    np.testing.assert_allclose(first["kernel"], np.where(masks["a"]["kernel"] == 1, 1.0, 0.2), atol=1e-6)
    np.testing.assert_allclose(second["kernel"], 0.2, atol=1e-6)
    np.testing.assert_allclose([first["bias"], second["bias"]], 1.0, atol=1e-6)


def test_admm_reaches_a_sparse_solution():
    """Weights of a quadratic with one clear support: the residual vanishes and pruning then changes nothing."""
    target = np.array([[3.0, 0.2], [-0.1, 2.0], [0.3, -4.0]])
    params = {"kernel": jnp.zeros((3, 2)) + target, "bias": jnp.ones(2)}

    @jax.jit
    def run(params):
        def outer(carry, _):
            params, state = carry

            def loss(p):
                return 0.5 * jnp.sum((p["kernel"] - target) ** 2) + admm_penalty(p, state, 1.0)

            def inner(p, _):
                return jax.tree.map(lambda w, g: w - 0.3 * g, p, jax.grad(loss)(p)), None

            params = jax.lax.scan(inner, params, length=30)[0]
            return (params, admm_update(params, state, 0.5)), None

        (params, state), _ = jax.lax.scan(outer, (params, admm_init(params, 0.5)), length=40)
        return params, state, admm_residuals(params, state)

    params, state, residuals = run(params)
    kept = np.abs(target) > 1
    np.testing.assert_allclose(params["kernel"], np.where(kept, target, 0), atol=1e-4)
    np.testing.assert_array_equal(np.asarray(state.z["kernel"]) != 0, kept)
    assert state.z["bias"] is None
    assert list(residuals) == ["kernel"]
    assert float(residuals["kernel"]) < 1e-3
    np.testing.assert_array_equal(params["bias"], 1)


def test_admm_projects_on_patterns_and_per_layer():
    w = jnp.asarray(W)
    channels = admm_project(w, 0.5, Channel())
    kept = np.sort(np.argsort(np.abs(W).sum(0))[2:])
    np.testing.assert_array_equal(np.flatnonzero(np.any(np.asarray(channels) != 0, axis=0)), kept)
    pairs = np.asarray(admm_project(w[:4], None, NM(2, 4)))
    np.testing.assert_array_equal((pairs != 0).sum(0), 2)
    state = admm_init({"a": w, "b": w}, {"b": 0.25})
    assert state.z["a"] is None
    assert int(jnp.sum(state.z["b"] == 0)) == 6
    np.testing.assert_array_equal(state.u["b"], 0)
    np.testing.assert_allclose(admm_update({"a": w, "b": w}, state, {"b": 0.25}).u["b"], w - state.z["b"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: powerprop(W, 0.5), "at least 1"),
        (lambda: powerprop_init(W, 0), "at least 1"),
        (lambda: beta_schedule(0, 1), "two steps"),
        (lambda: beta_schedule(0, 10, final=1), "must grow"),
        (lambda: growing_strength(0, rate=0), "positive"),
        (lambda: growing_l2(every=0), "at least 1"),
        (lambda: growing_l2({"other": np.ones(2)}).init({"kernel": jnp.ones((2, 2))}), "masks"),
        (lambda: growing_l2().update(None, growing_l2().init({"kernel": jnp.ones((2, 2))})), "needs params"),
        (lambda: admm_init({"a": jnp.ones((2, 2))}, {"b": 0.5}), "names 'b'"),
        (lambda: admm_project(W, 90), "Did you mean 0.9"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
