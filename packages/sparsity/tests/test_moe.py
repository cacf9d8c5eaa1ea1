"""Mixtures of experts: gates, losses, routing, the layer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from offprint.sparsity import moe
from offprint.sparsity.nnx._moe import MoE, balance_loss


@pytest.fixture
def g(golden):
    return golden("moe_gating")


def test_load_is_the_probability_of_being_chosen(g):
    """Drawing the noise of one expert again, with the others' as they are, chooses it as often as `load` says."""
    logits, scale, noise = g["x"] @ g["w_gate"], np.logaddexp(0, g["x"] @ g["w_noise"]), g["noise"]
    rng = np.random.default_rng(0)
    times = np.zeros(4)
    for expert in range(4):
        others = np.sort(np.delete(logits + noise * scale, expert, 1), 1)[:, -2]
        again = logits[:, expert] + rng.normal(size=(40_000, 12)) * scale[:, expert]
        times[expert] = (again > others).mean(0).sum()
    np.testing.assert_allclose(times, g["load"], atol=0.03)


def test_even_loads_cost_nothing_and_switch_costs_alpha():
    assert moe.cv_squared(jnp.full(4, 3.0)) == 0
    assert moe.cv_squared(jnp.zeros(4)) == 0
    even = jnp.full((8, 4), 0.25)
    np.testing.assert_allclose(moe.switch_loss(even, jnp.arange(8) % 4, 0.01), 0.01)


def test_second_choices_queue_behind_all_first():
    routing = moe.route(jnp.array([[0, 1], [1, 0], [0, 1]]), 2, 2)
    np.testing.assert_array_equal(routing.position, [[0, 1], [0, 2], [1, 2]])
    np.testing.assert_array_equal(routing.kept, [[True, True], [True, False], [True, False]])


@pytest.mark.parametrize("k", [1, 2])
def test_layer_is_the_dense_mixture_when_there_is_room(k):
    layer = MoE(5, 7, 3, k, capacity_factor=3.0, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    layer.eval()
    x = jax.random.normal(jax.random.key(1), (2, 4, 5))
    here = nnx.jit(lambda m, x: m(x))(layer, x)
    tokens = np.asarray(x).reshape(-1, 5)
    logits = tokens @ np.asarray(layer.router.kernel[...])
    gates = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    chosen = np.argsort(-logits, 1)[:, :k]
    mask = np.zeros_like(gates)
    np.put_along_axis(mask, chosen, 1.0, 1)
    gates = gates * mask
    if k > 1:
        gates /= gates.sum(1, keepdims=True)
    hidden = np.maximum(np.einsum("tf,efh->teh", tokens, np.asarray(layer.kernel_in[...])), 0)
    dense = np.einsum("te,teh,ehf->tf", gates, hidden, np.asarray(layer.kernel_out[...]))
    np.testing.assert_allclose(here.reshape(-1, 5), dense, rtol=1e-9, atol=1e-12)


def test_tokens_that_come_too_late_get_nothing():
    layer = MoE(5, 7, 3, 1, capacity_factor=0.1, rngs=nnx.Rngs(0))  # one place for each expert
    layer.eval()
    x = jnp.ones((6, 5))  # all want the same expert
    y = np.asarray(layer(x))
    assert np.abs(y[0]).max() > 0
    assert (y[1:] == 0).all()


def test_training_balances_the_experts():
    """A router that sends everything to one expert learns to spread the tokens by the balancing loss alone."""
    layer = MoE(5, 4, 4, 1, switch=1.0, noisy=False, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (64, 5)).at[:, 0].set(1.0)
    layer.router.kernel[...] = layer.router.kernel[...].at[0].set(jnp.array([3.0, 0.0, 0.0, 0.0], jnp.float32))
    optimiser = nnx.Optimizer(layer, optax.adam(0.05), wrt=nnx.Param)

    @nnx.jit
    def step(layer, optimiser):
        def loss(layer):
            layer(x)
            return balance_loss(layer)

        value, gradient = nnx.value_and_grad(loss)(layer)
        optimiser.update(layer, gradient)
        return value

    losses = [float(step(layer, optimiser)) for _ in range(60)]
    assert losses[0] > 2
    assert losses[-1] < 1.2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: moe.noisy_top_k(jnp.ones((2, 3)), 4), "k must be between 1 and the 3 experts; got 4"),
        (lambda: moe.noisy_top_k(jnp.ones((2, 3)), 1, jnp.ones((2, 3))), "given together or not at all"),
        (lambda: moe.capacity(0, 3), "must be positive"),
        (lambda: moe.route(jnp.zeros((2, 1), int), 3, 0), "capacity must be at least 1"),
        (lambda: MoE(4, 4, 2, 3, rngs=nnx.Rngs(0)), "k must be between 1 and the 2 experts; got 3"),
        (lambda: balance_loss(nnx.Linear(2, 2, rngs=nnx.Rngs(0))), "has no MoE layer"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
