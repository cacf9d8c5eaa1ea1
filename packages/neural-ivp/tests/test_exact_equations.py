"""Every exact or reference solution satisfies its equation and starts from its initial condition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.neural_ivp import ics, problems

EQUATIONS = {
    "advection": (problems.advection, {"ic": ics.gaussian(0.2, 1.0)}),
    "advection_varying": (problems.advection_varying, {}),
    "heat in five dimensions": (problems.heat, {"dim": 5, "ic": ics.gaussian(0.15, 1.0)}),
    "wave": (problems.wave, {"ic": ics.gaussian(0.11, 1.0, (0.1, -0.2)), "velocity": ics.gaussian(0.12, 1.0)}),
    "vlasov": (problems.vlasov, {}),
    "fokker_planck": (
        problems.fokker_planck,
        {
            "ic": ics.gaussian_density(0.1, 0.2, 5),
            "trap": lambda t: 1.25 * (jnp.sin(np.pi * t) + 1.5),
            "diffusivity": 0.1,
        },
    ),
    "burgers": (problems.burgers, {"viscosity": 0.1 / np.pi}),
    "kdv": (problems.kdv, {}),
    "navier_stokes": (problems.navier_stokes, {}),
    "schrodinger": (problems.schrodinger, {"dim": 2, "omega": 1.3, "displacement": 0.7}),
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_exact_solution_satisfies_the_equation_and_the_initial_condition(name):
    """∂u/∂t by differences of order 4 against the right-hand side at the exact solution."""
    build, options = EQUATIONS[name]
    problem = build(**options)
    X, t, h = problem.domain.uniform(jax.random.key(0), 12), 0.3, 2e-3

    @jax.jit
    def values(X, times):
        return jax.vmap(lambda t: jax.vmap(lambda x: problem.exact(x, t))(X))(times)

    u = values(X, jnp.array([0.0, t + 2 * h, t + h, t - h, t - 2 * h]))
    rate = (-u[1] + 8 * u[2] - 8 * u[3] + u[4]) / (12 * h)
    rhs = jax.jit(jax.vmap(lambda x: problem.pde(lambda y: problem.exact(y, t), x, t)))(X)
    assert np.linalg.norm(rate - rhs) < 2e-6 * np.linalg.norm(rhs)
    start = np.asarray(jax.vmap(problem.ic)(X))
    np.testing.assert_allclose(u[0], start, atol=1e-9 * max(1, np.abs(start).max()))
