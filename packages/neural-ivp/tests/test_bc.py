"""Boundary conditions hold whatever the weights are."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.neural_ivp._bc import Dirichlet, Free, Mixed, Neumann, Penalty, Periodic, ZeroDirichlet
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._ednn import EDNN
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._penalty import penalized
from offprint.neural_ivp._samplers import Grid, Uniform

BOX = Box([-0.3, 2.0], [1.9, 2.7])  # lengths that are no powers of two


def network(bc, kind=SinusoidalMLP, dtype=None):
    sizes = {"width": 6, "depth": 2, "param_dtype": dtype}
    return kind(BOX, 2, bc=bc, rngs=nnx.Rngs(3), **sizes)


def values_on_faces(model, dtype=jnp.float64):
    """Values at 5 points of each of the four faces, (4, 5, 2)."""
    share = np.linspace(0.1, 0.9, 5)
    faces = []
    for axis in (0, 1):
        for bound in (BOX.lo[axis], BOX.hi[axis]):
            x = np.full((5, 2), bound)
            x[:, 1 - axis] = BOX.lower[1 - axis] + share * BOX.lengths[1 - axis]
            faces.append(x)
    return np.asarray(jax.jit(jax.vmap(model))(jnp.asarray(np.concatenate(faces), dtype))).reshape(4, 5, 2)


def slopes_on_faces(model):
    """∂u/∂n at 5 points of each face, likewise."""
    slope = jax.jacfwd(model)
    across = values_on_faces(lambda x: jnp.stack([slope(x)[:, 0], slope(x)[:, 1]], -1)[0])
    along = values_on_faces(lambda x: slope(x)[1])
    return np.stack([[across[face, :, face // 2], along[face, :, face // 2]] for face in range(4)]).transpose(0, 2, 1)


@pytest.mark.parametrize("kind", [SinusoidalMLP, EDNN])
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_zero_dirichlet_is_exact(kind, dtype):
    assert not np.any(values_on_faces(network(ZeroDirichlet(), kind, dtype), dtype))


def test_factor_of_the_cube_is_the_papers():
    x = Box.cube(6).uniform(jax.random.key(0), 30)
    ours = jax.vmap(lambda x: ZeroDirichlet().factor(Box.cube(6), x))(x)
    np.testing.assert_allclose(ours, np.prod(1 - np.asarray(x) ** 2, axis=1), rtol=1e-12)


def test_given_values_are_met_at_every_time():
    def G(x, t):
        return jnp.stack([jnp.sin(x[0] + t), x[0] * x[1]])

    model = network(Dirichlet(G))
    for t in (0.0, 0.7):
        off = values_on_faces(lambda x: model(x, t) - G(x, t))  # noqa: B023
        assert np.abs(off).max() < 1e-15
    apply, _ = functional(model)
    x = jnp.array([0.2, 2.3])
    np.testing.assert_allclose(apply.lift_rate(x, 0.7), [np.cos(0.9), 0], atol=1e-15)


@pytest.mark.parametrize("kind", [SinusoidalMLP, EDNN])
def test_periodic_values_and_slopes_wrap(kind):
    model = network(Periodic(), kind)
    for quantity in (values_on_faces(model), slopes_on_faces(model)):
        assert np.abs(quantity).max() > 0.01
        np.testing.assert_allclose(quantity[0], quantity[1], atol=1e-11)
        np.testing.assert_allclose(quantity[2], quantity[3], atol=1e-11)


@pytest.mark.parametrize("kind", [SinusoidalMLP, EDNN])
def test_neumann_slopes_are_zero(kind):
    model = network(Neumann(), kind)
    assert np.abs(slopes_on_faces(model)).max() < 1e-11
    assert np.abs(values_on_faces(model)).max() > 0.01


@pytest.mark.parametrize(
    ("kinds", "zero_values", "zero_slopes"),
    [
        ([("dirichlet", "neumann"), ("neumann", "dirichlet")], [0, 3], [1, 2]),
        ([("dirichlet", "free"), ("free", "neumann")], [0], [3]),
        (["periodic", ("free", "dirichlet")], [3], []),
        (["neumann", "dirichlet"], [2, 3], [0, 1]),
        ([("neumann", "free"), "free"], [], [0]),
    ],
)
def test_each_face_has_its_own_kind(kinds, zero_values, zero_slopes):
    model = network(Mixed(kinds))
    values, slopes = np.abs(values_on_faces(model)).max((1, 2)), np.abs(slopes_on_faces(model)).max((1, 2))
    for face in range(4):
        assert (values[face] == 0) == (face in zero_values)
        assert (slopes[face] < 1e-11) == (face in zero_slopes)


def test_free_faces_are_free():
    model = network(Free())
    assert np.abs(values_on_faces(model)).min((1, 2)).min() > 1e-4
    assert np.abs(slopes_on_faces(model)).max((1, 2)).min() > 1e-2


@given(st.sampled_from(["dirichlet", "neumann", "free"]), st.sampled_from(["dirichlet", "neumann", "free"]))
@settings(max_examples=9, deadline=None)
def test_factor_is_zero_on_dirichlet_faces_alone(low, high):
    bc, line = Mixed([(low, high)]), Box([-0.3], [1.9])
    on_low, inside, on_high = (float(bc.factor(line, jnp.array([x]))) for x in (-0.3, 0.8, 1.9))
    assert (on_low == 0) == (low == "dirichlet")
    assert (on_high == 0) == (high == "dirichlet")
    assert 0 < inside < 1 + 1e-12


@dataclass(frozen=True)
class Case:
    """As much of a problem as a penalty looks at."""

    pde: Any
    bc: Any
    domain: Box


def test_penalty_relaxes_the_boundary_and_leaves_the_rest():
    value = Penalty(lambda x, t: jnp.stack([x[0] + 3 * t, x[1]]), weight=2.0, rate=5.0, share=0.5)
    problem, sampler = penalized(Case(lambda u, x, t: 7 * u(x), value, BOX), Uniform(40))
    apply, theta = functional(network(value))
    x, weights = sampler.sample(jax.random.key(0), apply, theta, 0.2)
    assert x.shape == (60, 2)
    assert np.all(BOX.on_boundary(x) == (np.arange(60) >= 40))
    np.testing.assert_allclose(weights.mean(), 1)
    np.testing.assert_allclose(weights[40:].sum() / weights[:40].sum(), 2)
    for i in (0, 50):
        u = apply(theta, x[i], 0.2)
        edge = jnp.array([3.0, 0.0]) - 5 * (u - jnp.stack([x[i][0] + 0.6, x[i][1]]))
        f = problem.pde(lambda y: apply(theta, y, 0.2), x[i], 0.2)
        np.testing.assert_allclose(f, edge if i >= 40 else 7 * u, atol=1e-12)
    assert penalized(problem, sampler) == (problem, sampler)
    other = SimpleNamespace(bc=Free(), pde=None)
    assert penalized(other, Grid(3)) == (other, Grid(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixed(["reflecting"]), "direction 0 must have one of the kinds dirichlet, neumann, periodic, free"),
        (lambda: Mixed(["free", ("periodic", "free")]), "direction 1 is periodic on one face alone"),
        (lambda: Penalty(lambda x, t: x, weight=0.0), "weight of a penalty must be positive, but is 0.0"),
    ],
)
def test_mistakes_are_named(unchecked_types, make, message):
    with pytest.raises(ValueError, match=message):
        make()
