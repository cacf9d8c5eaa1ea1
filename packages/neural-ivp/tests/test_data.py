"""Fields on grids: what they give between the points, and that files go out and come back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.neural_ivp import RK, Dense, GaussNewtonFit, SinusoidalMLP, Uniform, data, ics, problems, solve_ivp


def wave(x):
    return jnp.stack([jnp.sin(2 * x[0]) * jnp.cos(x[1]), x[0] * x[1]])


def on_grid(n):
    axes = [np.linspace(-1, 1, n), np.linspace(0, 2, n + 1)]
    X = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return axes, np.asarray(jax.vmap(jax.vmap(wave))(X))


def test_a_grid_field_goes_through_its_values_and_between_them_with_third_order():
    points = np.random.default_rng(0).uniform([-1, 0], [1, 2], (200, 2))
    errors = []
    for n in (17, 33):
        axes, values = on_grid(n)
        field = data.grid_field(axes, values)
        corner = np.array([axes[0][3], axes[1][5]])
        np.testing.assert_allclose(field(jnp.asarray(corner)), values[3, 5], atol=1e-13)
        errors.append(np.abs(jax.vmap(field)(points) - jax.vmap(wave)(points)).max())
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] > 6


def test_a_grid_field_is_exact_for_parabolas_and_constant_outside():
    axis = np.linspace(0, 1, 6)
    field = data.grid_field([axis], axis**2 - axis)
    x = jnp.linspace(0, 1, 41)[:, None]
    np.testing.assert_allclose(jax.vmap(field)(x)[:, 0], x[:, 0] ** 2 - x[:, 0], atol=1e-14)
    np.testing.assert_allclose(field(jnp.array([7.0])), [0], atol=1e-14)


def test_a_grid_is_an_initial_condition_and_a_solution_goes_to_a_file(tmp_path):
    problem = problems.advection(1, ic=ics.gaussian(0.3, 1.0))
    axis = np.linspace(-1, 1, 81)
    given = problem.replace(ic=data.grid_field([axis], np.exp(-(axis**2) / 0.18)))
    model = SinusoidalMLP(problem.domain, 1, 8, depth=2, n_freq=2, bc=problem.bc, rngs=nnx.Rngs(0))
    sol = solve_ivp(
        given,
        model,
        [0, 0.05],
        key=jax.random.key(0),
        fit=GaussNewtonFit(steps=20, points=200),
        linear=Dense(1e-6),
        ode=RK("heun", step=0.05),
        sampler=Uniform(100),
    )
    data.write_grid(sol, tmp_path / "u.npz", n=41)
    back = data.read_grid(tmp_path / "u.npz")
    x = jnp.array([0.15])
    np.testing.assert_allclose(back(x), sol(x, -1), atol=1e-4)
    with pytest.raises(ValueError, match="n=2"):
        data.write_grid(sol, tmp_path / "u.npz", n=2)
    assert np.load(tmp_path / "u.npz")["values"].shape == (2, 41, 1)


@pytest.mark.parametrize(
    ("axes", "values", "words"),
    [
        ([[0, 1, 3]], np.zeros(3), "evenly spaced"),
        ([[0, 1]], np.zeros(2), "at least 3"),
        ([[0, 1, 2]], np.zeros(4), "is needed"),
        ([[0, 1, 2]], np.array([0, np.nan, 0]), r"at \[1.0\] is not"),
        ([[0, 1, 2]] * 5, np.zeros((3,) * 5), "1 to 4 axes"),
    ],
)
def test_grids_that_are_refused(axes, values, words):
    with pytest.raises(ValueError, match=words):
        data.grid_field([np.asarray(axis, float) for axis in axes], values)


def test_a_file_without_axes_is_refused(tmp_path):
    np.savez(tmp_path / "wrong.npz", values=np.zeros(3))
    with pytest.raises(ValueError, match="axis0"):
        data.read_grid(tmp_path / "wrong.npz")
