"""Growth against the golden arrays: RigL, SET, Top-KAST and Deep R, as their official codes do it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.sparsity._growth import drop_and_grow, fraction_words, keep_signwise
from offprint.sparsity._sparsify import sparsify
from offprint.sparsity._state import masks_of
from offprint.sparsity.methods import RigL, TopKAST, topkast_penalty
from offprint.sparsity.methods._deep_r import deepr_gradient, deepr_rewire


@pytest.fixture(scope="module")
def growth(golden):
    return golden("growth")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rigl_update_in_the_optimiser(growth, dtype):
    """Mask, weights and momentum after one update; the optimiser does not step."""
    mask = growth["mask"].astype(bool)
    params = {"kernel": jnp.asarray(np.where(mask, growth["w"], 0), dtype)}
    grads = {"kernel": jnp.asarray(growth["grad"], dtype)}
    method = RigL(0.7, every=10, end=100, drop=float(growth["drop_fraction"]), criterion="magnitude")
    tx = sparsify(optax.sgd(0.1, momentum=0.9), method, masks={"kernel": mask})

    @jax.jit
    def update(params, grads, momentum):
        state = tx.init(params)
        state = state._replace(inner=(state.inner[0]._replace(trace={"kernel": momentum}), *state.inner[1:]))
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    after, state = update(params, grads, jnp.asarray(growth["momentum"], dtype))
    np.testing.assert_array_equal(masks_of(state)["kernel"], growth["rigl_mask"].astype(bool))
    rtol = 1e-9 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(after["kernel"], growth["rigl_w"], rtol=rtol)
    np.testing.assert_allclose(state.inner[0].trace["kernel"], growth["rigl_momentum"], rtol=rtol)
    grown = np.asarray(growth["rigl_new"], bool)
    assert not np.asarray(after["kernel"])[grown].any()
    assert not np.asarray(state.inner[0].trace["kernel"])[grown].any()


def test_set_update(growth):
    """The smallest weights give way to the entries with the largest random numbers."""
    mask = jnp.asarray(growth["mask"], bool)
    sizes, random = jnp.abs(growth["w"]), jnp.asarray(growth["random"])
    new = jax.jit(drop_and_grow)(mask, sizes, random, jnp.int32(growth["n_drop"]))
    np.testing.assert_array_equal(new, growth["set_mask"].astype(bool))
    np.testing.assert_array_equal(new & ~mask, growth["set_new"].astype(bool))
    kept = np.where(new & mask, growth["w"], 0)
    np.testing.assert_array_equal(kept, growth["set_w"])


def test_set_signwise(growth):
    """The paper's removal, counted for each sign by itself."""
    fraction = fraction_words(growth["drop_fraction"])
    kept = jax.jit(keep_signwise)(jnp.asarray(growth["mask"], bool), jnp.asarray(growth["w"]), fraction)
    np.testing.assert_array_equal(kept, growth["set_signwise_kept"].astype(bool))


def test_topkast(growth):
    """Both sets and the penalty."""
    weights = {"kernel": jnp.asarray(growth["tk_w"])}
    method = TopKAST(forward=0.2, backward=0.5)
    forward = method.first_masks(weights, None)
    backward = method.first_own(weights, forward, None)
    np.testing.assert_array_equal(forward["kernel"], growth["tk_forward"].astype(bool))
    np.testing.assert_array_equal(backward["kernel"], growth["tk_backward"].astype(bool))
    penalty = topkast_penalty(weights, forward, backward, 0.2)
    np.testing.assert_allclose(penalty, growth["tk_reg"], rtol=1e-9)


def test_deep_r_step(growth):
    """One step of the walk and its rewiring."""
    eta, alpha, temperature = (float(number) for number in growth["deepr_hyper"])
    theta, sign = growth["deepr_theta"], growth["deepr_sign"]
    active, positive = jnp.asarray(theta >= 0), jnp.asarray(sign > 0)
    weights = jnp.asarray(np.where(theta >= 0, theta * sign, 0))

    @jax.jit
    def step(weights, grad, noise, random):
        moved = weights - eta * deepr_gradient(grad, positive, noise, eta, alpha, temperature)
        return deepr_rewire(active, jnp.where(active, moved, weights), positive, random)

    masks, after = step(weights, *(jnp.asarray(growth[name]) for name in ("grad", "deepr_noise", "random")))
    wanted = growth["deepr_theta_new"]
    np.testing.assert_array_equal(masks, wanted >= 0)
    np.testing.assert_allclose(after, np.where(wanted >= 0, wanted * sign, 0), rtol=1e-9, atol=1e-12)
    assert int(masks.sum()) == int(growth["deepr_active"])
    # One that has just gone may wake again, at zero.
    woken = np.asarray(masks) & (np.asarray(after) == 0)
    assert woken.sum() == int(growth["deepr_nreactivated"])
