"""Singular values of convolutions against the dense matrix of the operator."""

import jax
import numpy as np
import pytest

from offprint.resnet_scaling import conv_layer_norms, conv_scaling_statistics, conv_singular_values


def dense(kernel, height, width):
    """The circular convolution as a matrix (out · height · width, in · height · width)."""
    out, into, kh, kw = kernel.shape
    matrix = np.zeros((out, height, width, into, height, width))
    for y in range(height):
        for x in range(width):
            for i in range(kh):
                for j in range(kw):
                    matrix[:, y, x, :, (y + i) % height, (x + j) % width] += kernel[:, :, i, j]
    return matrix.reshape(out * height * width, into * height * width)


def kernel_of(out, into, kh=3, kw=3, seed=0):
    return np.random.default_rng(seed).normal(size=(out, into, kh, kw))


@pytest.mark.parametrize("method", ["svd", "lanczos"])
@pytest.mark.parametrize(
    ("shape", "grid"), [((3, 2, 3, 3), (4, 5)), ((2, 3, 3, 2), (5, 4)), ((2, 2, 1, 1), (3, 3)), ((2, 2, 2, 1), (2, 1))]
)
def test_every_singular_value(shape, grid, method):
    kernel = kernel_of(*shape)
    count = min(shape[:2]) * grid[0] * grid[1]
    found = conv_singular_values(kernel, grid, k=1000, method=method)
    assert found.shape == (count,)
    exact = np.linalg.svd(dense(kernel, *grid), compute_uv=False)[:count]
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9)


def test_krylov_space_smaller_than_the_channels():
    kernel = kernel_of(40, 40)
    exact = conv_singular_values(kernel, (4, 4), k=3)
    np.testing.assert_allclose(
        conv_singular_values(kernel, (4, 4), k=3, method="lanczos", iterations=25), exact, rtol=1e-4
    )


def test_batched_and_jitted_equal_plain():
    kernels = np.stack([kernel_of(3, 2, seed=seed) for seed in range(2)])
    plain = [conv_singular_values(kernel, (4, 4), k=5) for kernel in kernels]
    np.testing.assert_allclose(conv_singular_values(kernels, (4, 4), k=5), plain, rtol=1e-12)
    mapped = jax.jit(jax.vmap(lambda kernel: conv_singular_values(kernel, (4, 4), k=5)))(kernels)
    np.testing.assert_allclose(mapped, plain, rtol=1e-12)


def test_statistics_of_a_network_of_several_stages():
    kernels = [kernel_of(2, 2, seed=0), kernel_of(2, 2, seed=1), kernel_of(3, 2), kernel_of(3, 3)]
    grids = [(4, 4), (4, 4), (4, 4), (3, 3)]
    norms = [np.linalg.norm(dense(kernel, *grid), 2) for kernel, grid in zip(kernels, grids)]
    step = np.linalg.norm(dense(kernels[1] - kernels[0], 4, 4), 2)
    with pytest.warns(UserWarning, match="2 of 3 increments are left out, between kernels of different shapes"):
        found, increments = conv_layer_norms(kernels, grids)
    np.testing.assert_allclose(found, norms)
    np.testing.assert_allclose(increments, [step])
    with pytest.warns(UserWarning, match="2 of 3 increments"):
        statistics = conv_scaling_statistics(kernels, grids, factor=0.5)
    np.testing.assert_allclose(statistics["max_norm"], max(norms))
    np.testing.assert_allclose(statistics["root_sum_squares"], np.linalg.norm(norms))
    np.testing.assert_allclose(statistics["rms"], np.linalg.norm(norms) / 2)
    np.testing.assert_allclose(statistics["scaled_increment"], 2 * step)
    np.testing.assert_allclose(statistics["sqrt_sobolev"], 2 * step)
