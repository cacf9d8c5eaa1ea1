"""Hard-concrete gates: identities of the distribution, gradients, and the clamp of the location."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.sparsity._hard_concrete import LOG_ALPHA_LIMITS, HardConcrete, clamp_log_alpha, init_log_alpha

LOG_ALPHA = np.linspace(-5.0, 5.0, 11)
GATES = [HardConcrete(), HardConcrete(beta=0.3, gamma=-0.02, zeta=1.5)]


@pytest.mark.parametrize("gate", GATES)
def test_masses_and_moments_are_those_of_the_samples(gate):
    """At 2e4 quantiles instead of random draws: the shares and means converge as 1 / n."""
    n = 20_000
    u = ((np.arange(n) + 0.5) / n)[:, None]

    def run(log_alpha):
        z = gate.sample(log_alpha, u)
        sampled = (jnp.mean(z == 0, 0), jnp.mean(z == 1, 0), jnp.mean(z, 0), jnp.var(z, 0))
        exact = (gate.p_zero(log_alpha), gate.p_one(log_alpha), gate.mean(log_alpha), gate.variance(log_alpha))
        return sampled, exact, gate.p_nonzero(log_alpha)

    sampled, exact, p_nonzero = jax.jit(run)(LOG_ALPHA)
    for ours, theirs in zip(exact, sampled):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    inner = np.asarray(p_nonzero) - np.asarray(exact[1])
    assert (inner > 0).all()
    np.testing.assert_allclose(exact[0] + inner + exact[1], 1.0, atol=1e-15)


def test_gradients_are_finite_differences():
    gate, step = HardConcrete(), 1e-5
    weight = np.arange(1.0, 12.0)
    u = np.linspace(0.05, 0.95, 11)

    def values(log_alpha):
        return jnp.stack([gate.penalty(log_alpha, weight), jnp.sum(weight * gate.sample(log_alpha, u))])

    jacobian, up, down = jax.jit(
        lambda la: (
            jax.jacrev(values)(la),
            jax.vmap(values)(la + step * jnp.eye(11)),
            jax.vmap(values)(la - step * jnp.eye(11)),
        )
    )(LOG_ALPHA)
    np.testing.assert_allclose(jacobian, ((up - down) / (2 * step)).T, atol=1e-6)


def test_the_penalty_counts_weights():
    gate = HardConcrete()
    open_gates = np.full(3, 20.0)
    np.testing.assert_allclose(gate.penalty(open_gates, 7), 21.0, rtol=1e-6)
    np.testing.assert_allclose(gate.penalty(-open_gates, 7), 0.0, atol=1e-6)


def test_draws_have_the_shape_of_the_batch_and_differ_between_gates():
    z = HardConcrete().draw(jax.random.key(0), np.zeros(4, np.float32), (5,))
    assert z.shape == (5, 4)
    assert z.dtype == np.float32
    assert len(np.unique(np.asarray(z))) > 4


def test_edge_uniforms_give_finite_gates():
    z = HardConcrete().sample(np.zeros(2, np.float32), np.array([0.0, 1.0], np.float32))
    np.testing.assert_array_equal(z, [0, 1])


def test_clamp_lets_gradients_lead_back_only():
    low, high = LOG_ALPHA_LIMITS
    points = np.array([low - 1, low - 1, 0.0, 0.0, high + 1, high + 1])
    cotangent = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    value, pull = jax.vjp(clamp_log_alpha, points)
    np.testing.assert_allclose(value, [low, low, 0, 0, high, high])
    # Descent moves against the gradient: below the lower limit a positive one would lead further down.
    np.testing.assert_array_equal(pull(cotangent)[0], [0, -1, 1, -1, 1, 0])


def test_initial_locations():
    la = init_log_alpha(jax.random.key(0), (400,), drop_rate=0.2)
    np.testing.assert_allclose(np.mean(la), np.log(4), atol=2e-3)
    np.testing.assert_allclose(np.std(la), 0.01, rtol=0.1)


def test_its_paper():
    assert "louizos2018l0" in HardConcrete().citation()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HardConcrete(beta=0), "temperature must be positive"),
        (lambda: HardConcrete(gamma=0.1), "beyond"),
        (lambda: HardConcrete(zeta=1), "beyond"),
        (lambda: init_log_alpha(jax.random.key(0), (2,), drop_rate=1.0), "inside"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
