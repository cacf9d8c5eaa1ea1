"""Samplers: where the points are, which measure they stand for, and that the key decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.neural_ivp._adaptive import ResidualAdaptive, Weighted
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._following import GaussianMixture, Particles
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._samplers import GaussLegendre, Grid, Halton, Sampler, Sobol, Uniform

BOX = Box([-1.0, 0.0], [1.0, 3.0])


def bump(x):
    """A narrow bump around (0.5, 1)."""
    return jnp.exp(-(((x[0] - 0.5) / 0.2) ** 2 + ((x[1] - 1) / 0.3) ** 2) / 2)


BUMP, START = functional(lambda scale, x: (scale[0] * bump(x))[None], jnp.ones(1), domain=BOX)
INSIDE = jnp.array([0.5, 1.0])


def pde(u, x, t):
    return u(x)


def quadratic(x):
    return x[:, 0] ** 2 + x[:, 1]


EXACT = 1 / 3 + 1.5  # its mean over the box
FIXED = [Grid((7, 4)), GaussLegendre((3, 2))]
RANDOM = [
    Uniform(256),
    Sobol(256),
    Halton(200),
    Weighted(bump, 300),
    ResidualAdaptive(300),
    Particles(200, moves=5),
    GaussianMixture(200, components=2, particles=Particles(100, moves=5, uniform=0.0), weights=True),
]


@jax.jit
def _draw(key, sampler, others):
    return sampler.value.sample(key, BUMP, START, 0.0, pde=pde, **others)


class Static:
    """A sampler as a leafless pytree, to share one jit."""

    def __init__(self, value):
        self.value = value


jax.tree_util.register_pytree_node(Static, lambda s: ((), s.value), lambda value, _: Static(value))


def draw(sampler, seed=0, **others):
    return _draw(jax.random.key(seed), Static(sampler), others)


@pytest.mark.parametrize("sampler", [*FIXED, *RANDOM], ids=lambda s: type(s).__name__)
def test_points_are_in_the_box_weights_average_one_and_the_key_decides(sampler):
    assert isinstance(sampler, Sampler)
    x, weights = draw(sampler)
    assert x.shape[1] == 2
    assert np.all((x >= BOX.lower) & (x <= BOX.upper))
    if weights is not None:
        assert weights.shape == (len(x),)
        np.testing.assert_allclose(weights.mean(), 1)
    np.testing.assert_array_equal(draw(sampler)[0], x)
    assert np.array_equal(draw(sampler, 1)[0], x) == (sampler in FIXED)
    assert sampler.resample == ("never" if sampler in FIXED else "step")


def average(sampler, g, seeds=8):
    """Mean of g over several draws."""
    means = []
    for seed in range(seeds):
        x, weights = draw(sampler, seed)
        values = np.asarray(g(x))
        means.append(np.mean(values if weights is None else weights * values))
    return np.mean(means)


@pytest.mark.parametrize(
    ("sampler", "tolerance"),
    [
        (Uniform(4096), 0.02),
        (Sobol(1024), 1e-3),
        (Halton(1000), 5e-3),
        (Grid(40), 1e-3),
        (GaussLegendre((3, 2)), 1e-14),
        (Weighted(bump, 2000), 0.05),
        (ResidualAdaptive(2000), 0.05),
        (GaussianMixture(4000, 2, weights=True, particles=Particles(300, moves=5, uniform=0.0)), 0.05),
    ],
    ids=lambda s: type(s).__name__,
)
def test_averages_are_those_of_the_uniform_measure(sampler, tolerance):
    np.testing.assert_allclose(average(sampler, quadratic), EXACT, rtol=tolerance)


@given(st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=16, deadline=None)
def test_gauss_legendre_is_exact_for_polynomials(i, j):
    x, weights = GaussLegendre(2).sample(jax.random.key(0), BUMP, START)
    exact = (0 if i % 2 else 1 / (i + 1)) * 3.0**j / (j + 1)
    np.testing.assert_allclose(np.mean(weights * x[:, 0] ** i * x[:, 1] ** j), exact, atol=1e-13)


def test_sobol_points_fill_equal_boxes_equally():
    x, _ = draw(Sobol(256))
    cells = np.floor((np.asarray(x) - BOX.lower) / BOX.lengths * 16).astype(int)
    counts = np.bincount(cells[:, 0] * 16 + cells[:, 1], minlength=256)
    assert np.all(counts == 1)


@pytest.mark.parametrize(
    "sampler",
    [
        Weighted(bump, 2000, weights=False),
        ResidualAdaptive(2000, weights=False),
        Particles(2000),
        GaussianMixture(2000, 2, particles=Particles(500, uniform=0.0)),
    ],
    ids=lambda s: type(s).__name__,
)
def test_without_weights_nine_tenths_follow_the_density(sampler):
    x, weights = draw(sampler)
    assert weights is None
    near = np.sum(((np.asarray(x) - np.asarray(INSIDE)) / [0.2, 0.3]) ** 2, axis=1) < 9
    assert 0.85 < near.mean() < 0.97  # a tenth is uniform, of which the bump has 9%
    following = np.asarray(x)[near]
    np.testing.assert_allclose(following.mean(0), INSIDE, atol=0.03)
    spread = np.array([0.2, 0.3]) / (np.sqrt(2) if isinstance(sampler, ResidualAdaptive) else 1)  # |f|² is narrower
    np.testing.assert_allclose(following.std(0), spread, rtol=0.1)


def test_residual_takes_the_velocity_into_account():
    """f = u, so with v = θ the residual is 0 and all candidates are alike."""
    x, weights = draw(ResidualAdaptive(500), velocity=START)
    np.testing.assert_allclose(weights, 1)
    follow, _ = draw(ResidualAdaptive(500), velocity=0 * START)
    assert np.std(follow[:, 1]) < 0.7 * np.std(x[:, 1])


def test_particles_go_on_from_where_they_were():
    start = jnp.tile(INSIDE, (400, 1))
    moved, _ = draw(Particles(400, moves=1, size=0.01, uniform=0.0), previous=start)
    steps = np.asarray(moved - start)
    np.testing.assert_allclose(steps.std(0), [0.01, 0.015], rtol=0.15)


def test_an_adaptive_sampler_works_on_a_network():
    apply, theta = functional(SinusoidalMLP(Box.cube(3), 2, 5, 1, 1, rngs=nnx.Rngs(0)))
    sample = jax.jit(lambda key: ResidualAdaptive(50).sample(key, apply, theta, 0.1, pde=pde, velocity=theta))
    x, _ = sample(jax.random.key(0))
    assert x.shape == (50, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(0), "at least one point, but n=0"),
        (lambda: Uniform(10, "always"), "resample must be one of step, never, rhs, but is 'always'"),
        (lambda: Sobol(100), "power of two of points, but n=100; use Halton"),
        (lambda: draw(Grid((3, 3, 3))), "the rule has 3 directions, but the domain has 2"),
        (lambda: Particles(size=0.0), "size > 0"),
        (lambda: GaussianMixture(uniform=0.0), "uniform share must be in"),
        (lambda: ResidualAdaptive(5).sample(jax.random.key(0), BUMP, START), "pass pde=problem.pde"),
    ],
)
def test_mistakes_are_named(unchecked_types, make, message):
    with pytest.raises(ValueError, match=message):
        make()
