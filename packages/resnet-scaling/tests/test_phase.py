"""Random networks at initialisation: exact expectations, the paper's values, the sign on either side of the edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.resnet_scaling import critical_beta, log_ratios, phase_diagram, weights

IID = {100: (0.065, 0.85, 11.0), 1000: (0.023, 0.77, None)}
BETAS = np.array([1.0, 0.5, 0.25])


def mean_square(depth, beta):
    """E |h_L - h_0|² / |h_0|² for independent weights: a martingale, whose squared norm grows by 1 + L^-2β / 2."""
    return (1 + depth ** (-2 * beta) / 2) ** depth - 1


@pytest.fixture(scope="module", params=[100, 1000])
def iid(request):
    depth = request.param
    return depth, np.asarray(log_ratios(jax.random.key(0), depth, jnp.asarray(BETAS), repeats=25))


def test_independent_weights(iid):
    """Values of Marion et al.'s set-up within 30 %, at β = 1, ½, ¼."""
    depth, found = iid
    for value, row in zip(IID[depth], found):
        if value is not None:
            np.testing.assert_allclose(10 ** np.median(row), value, rtol=0.3)


def test_independent_weights_have_their_expectation(iid):
    depth, found = iid
    for beta, row in zip(BETAS[:2], found):
        np.testing.assert_allclose(np.mean(10 ** (2 * row)), mean_square(depth, beta), rtol=0.12)


def test_against_the_plain_recursion():
    """Rescaled states give the same as states that are not, here with ratios from 1e-3 to 1e8."""
    depth, width, key = 40, 6, jax.random.key(3)
    betas = np.array([2.0, 0.5, -0.5])
    found = log_ratios(key, depth, jnp.asarray(betas), law="fgn", hurst=0.3, width=width, repeats=1)[:, 0]
    to_h, to_weights = jax.random.split(jax.random.split(key, 1)[0])
    h0 = jax.random.normal(to_h, (width,))
    noise = depth**0.3 * weights.fbm_increments(to_weights, depth, (2, width, width), hurst=0.3) / np.sqrt(width)
    for beta, value in zip(betas, found):
        h = h0
        for W, V in noise:
            h = h + depth**-beta * jax.nn.relu(h @ W) @ V
        expected = np.log10(np.linalg.norm(h - h0) / np.linalg.norm(h0))
        np.testing.assert_allclose(value, expected, rtol=1e-9)


def test_nothing_overflows():
    found = log_ratios(jax.random.key(0), 1000, jnp.asarray([0.0], jnp.float32), width=40, repeats=1)
    assert np.all(np.isfinite(found))
    assert found[0, 0] > 50


def test_phases():
    """The sign of the log ratio is right at a distance of 0.15 from max(½, H)."""
    betas = np.array([0.2, 0.35, 0.65, 0.8, 0.95])
    diagram = phase_diagram(jax.random.key(1), [0.2, 0.5, 0.8], betas, depth=1000, repeats=3)
    assert diagram.log_ratios.shape == (3, 5, 3)
    edges = np.maximum(0.5, diagram.hursts)[:, None]
    apart = np.abs(betas - edges) >= 0.15 - 1e-9
    assert apart.sum() >= 12
    np.testing.assert_array_equal(np.sign(diagram.median)[apart], np.sign(edges - betas)[apart])
    # Measured zeros at L = 1000: 0.46, 0.46, 0.74.
    np.testing.assert_allclose(diagram.critical_betas, [0.46, 0.46, 0.74], atol=0.08)


@pytest.mark.parametrize("law", ["rbf", "smooth"])
def test_smooth_weights_need_more_damping(law):
    """Their edge is at β = 1: at ½ they explode where independent ones do not."""
    found = np.median(log_ratios(jax.random.key(0), 256, jnp.asarray([1.4, 0.5]), law=law, repeats=3), axis=1)
    assert found[0] < -0.3
    assert found[1] > 1


def test_jit_and_vmap_over_hurst():
    def one(hurst):
        return log_ratios(jax.random.key(0), 16, jnp.asarray(BETAS), law="fgn", hurst=hurst, width=4, repeats=2)

    H = jnp.array([0.3, 0.8])
    both = jax.jit(jax.vmap(one))(H)
    for h, found in zip((0.3, 0.8), both):
        np.testing.assert_allclose(found, one(h), rtol=1e-9)


def test_critical_beta():
    assert critical_beta(np.array([0.0, 1.0, 2.0]), np.array([3.0, 1.0, -1.0])) == 1.5
    assert np.isnan(critical_beta(np.array([0.0, 1.0]), np.array([3.0, 1.0])))
