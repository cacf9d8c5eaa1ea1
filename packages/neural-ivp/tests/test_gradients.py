"""The derivative of a whole solve, with respect to the equation, the start and the points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.neural_ivp import problems
from offprint.neural_ivp._direct import Dense
from offprint.neural_ivp._evolve import evolve
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._mlp import SinusoidalMLP

LINEAR = Dense(mu=1e-4)
TIMES = np.array([0.0, 0.05])


@pytest.fixture(scope="module")
def setting():
    domain = problems.wave(dim=2).domain
    model = SinusoidalMLP(domain, 2, width=3, depth=2, n_freq=1, rngs=nnx.Rngs(0))
    return *functional(model), domain.uniform(jax.random.key(1), 40)


@pytest.fixture(scope="module")
def final(setting):
    """(c2, theta, X) -> the mean square of the solution at the end, and its derivatives."""
    apply, _, X0 = setting

    def loss(c2, theta, X):
        thetas = evolve(problems.wave(dim=2, c2=c2), apply, theta, TIMES, X, LINEAR, steps=2, method="heun")
        return jnp.sum(apply.values(thetas[-1], X0) ** 2)

    return jax.jit(loss), jax.jit(jax.grad(loss, argnums=(0, 1, 2)))


def test_the_derivative_by_a_coefficient_is_that_of_differences(final, setting):
    _, theta, X = setting
    value, slopes = final
    difference = (value(0.1 + 1e-4, theta, X) - value(0.1 - 1e-4, theta, X)) / 2e-4
    assert slopes(0.1, theta, X)[0] == pytest.approx(float(difference), rel=1e-4)


def test_the_derivative_by_the_first_weights_is_that_of_differences(final, setting):
    _, theta, X = setting
    value, slopes = final
    along = jax.random.normal(jax.random.key(3), theta.shape)
    difference = (value(0.1, theta + 1e-5 * along, X) - value(0.1, theta - 1e-5 * along, X)) / 2e-5
    assert slopes(0.1, theta, X)[1] @ along == pytest.approx(float(difference), rel=1e-4)


def test_the_derivative_by_the_points_is_that_of_differences(final, setting):
    _, theta, X = setting
    value, slopes = final
    along = jax.random.normal(jax.random.key(4), X.shape)
    difference = (value(0.1, theta, X + 1e-5 * along) - value(0.1, theta, X - 1e-5 * along)) / 2e-5
    assert jnp.sum(slopes(0.1, theta, X)[2] * along) == pytest.approx(float(difference), rel=1e-4)


def test_halving_the_step_of_a_network_shows_order_three(setting):
    apply, theta, X = setting
    problem = problems.advection(dim=2)
    model = SinusoidalMLP(problem.domain, 1, width=3, depth=2, n_freq=1, rngs=nnx.Rngs(0))
    apply, theta = functional(model)
    run = jax.jit(
        lambda theta, ts: evolve(problem, apply, theta, ts, X, LINEAR, steps=2)[-1]  # 2 steps between two times
    )
    ends = []
    for n in (4, 8, 32):
        now = theta
        for ts in np.linspace(0, 0.2, n // 2 + 1)[np.arange(n // 2)[:, None] + np.arange(2)]:
            now = run(now, ts)
        ends.append(apply.values(now, X))
    coarse, fine = (float(jnp.linalg.norm(end - ends[2])) for end in ends[:2])
    assert 8 * 0.75 <= coarse / fine <= 8 * 1.25


def test_each_output_is_where_the_next_begins(setting):
    apply, theta, X = setting
    problem = problems.wave(dim=2)
    run = lambda theta, ts: evolve(problem, apply, theta, ts, X, LINEAR, steps=1, method="heun")  # noqa: E731
    both = run(theta, np.array([0.0, 0.01, 0.03]))
    np.testing.assert_array_equal(both[0], theta)
    one = jax.jit(run)
    np.testing.assert_allclose(both[1], one(theta, np.array([0.0, 0.01]))[1], rtol=1e-9)
    np.testing.assert_allclose(both[2], one(both[1], np.array([0.01, 0.03]))[1], rtol=1e-9)
    with pytest.raises(ValueError, match="at least one step between two outputs is needed, but steps is 0"):
        evolve(problem, apply, theta, np.array([0.0, 1.0]), X, LINEAR, steps=0)
