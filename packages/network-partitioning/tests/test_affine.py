"""Affine maps and resampling: the golden arrays, gradients, and what the backward pass is made of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.network_partitioning._affine import (
    affine_algebra,
    affine_matrices,
    augerino_widths,
    expm3,
    generators,
    half_ranges,
    raw_from_half_ranges,
)
from offprint.network_partitioning._resample import resample, rotate

KEY = jax.random.key(0)
BASES = ("augerino", "lila", "softplus_half")


def warped(raw, images, u, basis, align_corners):
    return resample(images, affine_matrices(raw, u, basis), align_corners=align_corners)


@pytest.mark.parametrize("name", ["affine_square", "affine_rect"])
@pytest.mark.parametrize("basis", BASES)
def test_golden(golden, name, basis):
    arrays = golden(name)
    images, u, raw = (jnp.asarray(arrays[key]) for key in ("images", "u", f"{basis}/raw"))
    algebra = affine_algebra(raw, u, basis)
    np.testing.assert_allclose(algebra, arrays[f"{basis}/algebra"], atol=1e-13)
    np.testing.assert_allclose(expm3(algebra), arrays[f"{basis}/matrix"], atol=1e-12)
    for align_corners in (True, False):

        def total(raw, images, align_corners=align_corners):
            out = warped(raw, images, u.astype(raw.dtype), basis, align_corners)
            return (out * arrays["cotangent"].astype(raw.dtype)).sum(), out

        run = jax.jit(jax.value_and_grad(total, has_aux=True))
        (_, out), grad = run(raw, images)
        at = f"{basis}/ac{int(align_corners)}"
        np.testing.assert_allclose(out, arrays[f"{at}/out"], atol=1e-10)
        np.testing.assert_allclose(grad, arrays[f"{at}/raw_grad"], atol=1e-10)
        (_, out), grad = run(raw.astype(jnp.float32), images.astype(jnp.float32))
        assert out.dtype == grad.dtype == jnp.float32
        np.testing.assert_allclose(out, arrays[f"{at}/out"], atol=2e-5)
        expected = arrays[f"{at}/raw_grad"]
        np.testing.assert_allclose(grad, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_expm3_agrees_with_the_library():
    a = jax.random.normal(KEY, (200, 3, 3)) * jnp.linspace(0, 2.5, 200)[:, None, None]
    expected = jax.vmap(jax.scipy.linalg.expm)(a)
    np.testing.assert_allclose(expm3(a), expected, rtol=1e-11, atol=1e-11 * float(jnp.abs(expected).max()))
    turned = expm3(affine_algebra(raw_from_half_ranges(np.array([0, 0, math.pi, 0, 0, 0]), "lila"), np.ones(6), "lila"))
    np.testing.assert_allclose(turned, np.diag([-1.0, -1.0, 1.0]), atol=1e-13)


def test_expm3_far_beyond_the_norms_it_is_made_for():
    a = jax.random.normal(KEY, (50, 3, 3))
    a *= 16 / jnp.linalg.norm(a, ord=2, axis=(-2, -1), keepdims=True)
    expected = jax.vmap(jax.scipy.linalg.expm)(a)
    size = jnp.linalg.norm(expected, axis=(-2, -1))
    assert (jnp.linalg.norm(expm3(a) - expected, axis=(-2, -1)) < 1e-8 * size).all()


def test_derivative_of_expm3_agrees_with_the_library():
    a, direction = jax.random.normal(KEY, (2, 3, 3))
    _, here = jax.jvp(expm3, (a,), (direction,))
    np.testing.assert_allclose(here, jax.scipy.linalg.expm_frechet(a, direction)[1], rtol=1e-11)


@pytest.fixture(scope="module")
def scene():
    """Images, two samples of maps for each, a cotangent."""
    images = jax.random.normal(KEY, (3, 5, 6, 2))
    matrices = affine_matrices(jnp.zeros(6), jax.random.uniform(jax.random.key(1), (2, 3, 6)))
    return images, matrices, jax.random.normal(jax.random.key(2), (2, *images.shape))


def slowly(image, matrix):
    """One image (H, W, C) read pixel by pixel, align_corners=True."""
    height, width, _ = image.shape
    out = np.zeros(image.shape)
    for i, j in np.ndindex(height, width):
        x, y = (matrix @ [2 * j / (width - 1) - 1, 2 * i / (height - 1) - 1, 1])[:2]
        column, row = (x + 1) * (width - 1) / 2, (y + 1) * (height - 1) / 2
        for r, c in np.ndindex(height, width):
            out[i, j] += max(0, 1 - abs(row - r)) * max(0, 1 - abs(column - c)) * image[r, c]
    return out


def test_every_sample_reads_its_image(scene):
    images, matrices, _ = scene
    out = resample(images, matrices)
    for s, n in np.ndindex(2, 3):
        np.testing.assert_allclose(out[s, n], slowly(np.asarray(images[n]), np.asarray(matrices[s, n])), atol=1e-12)
    np.testing.assert_allclose(jax.vmap(resample, (None, 0))(images, matrices), out, atol=1e-12)
    np.testing.assert_allclose(jax.jit(resample)(images, matrices), out, atol=1e-12)


def test_shared_maps_are_the_same_map_for_all(scene):
    images, matrices, cotangent = scene

    def total(maps, spread):
        return (resample(images, jnp.broadcast_to(maps, (2, 3, 3, 3)) if spread else maps) * cotangent).sum()

    run = jax.value_and_grad(total)
    for here, expected in zip(run(matrices[:, :1], False), run(matrices[:, :1], True)):
        np.testing.assert_allclose(here, expected, atol=1e-12)


def primitives(jaxpr):
    """Names of all primitives in a program, those of the programs inside it included."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                yield from primitives(getattr(value, "jaxpr", value))


def test_the_backward_pass_has_no_scatter(scene):
    images, _, cotangent = scene
    u = jax.random.uniform(KEY, (2, 3, 6))

    def total(raw, images, basis):
        return (resample(images, affine_matrices(raw, u, basis)) * cotangent).sum()

    for basis in BASES:
        names = set(primitives(jax.make_jaxpr(jax.grad(total), static_argnums=2)(jnp.zeros(6), images, basis).jaxpr))
        assert "gather" in names
        assert not [name for name in names if name.startswith("scatter")]
    # the search finds them where they belong: images that do carry a gradient
    in_images = jax.make_jaxpr(jax.grad(total, argnums=1), static_argnums=2)(jnp.zeros(6), images, "lila")
    assert "scatter-add" in set(primitives(in_images.jaxpr))


def test_gradients_of_both_orders_against_finite_differences(scene):
    images, _, cotangent = scene
    raw, u = jnp.linspace(-1, 0.5, 6), jax.random.uniform(jax.random.key(3), (2, 3, 6))

    def total(raw, images):
        return (resample(images, affine_matrices(raw, u)) * cotangent).sum()

    direction = (jax.random.normal(KEY, (6,)), jax.random.normal(KEY, images.shape))
    step = 1e-6

    def along(f):
        ahead, behind = (f(*(a + sign * step * d for a, d in zip((raw, images), direction))) for sign in (1, -1))
        return (ahead - behind) / (2 * step)

    grad = jax.grad(total, argnums=(0, 1))
    forward = jax.jvp(total, (raw, images), direction)[1]
    np.testing.assert_allclose(forward, along(total), rtol=1e-7)
    reverse = sum((g * d).sum() for g, d in zip(grad(raw, images), direction))
    np.testing.assert_allclose(reverse, forward, rtol=1e-12)

    def slope(raw, images):
        return sum((g * d).sum() for g, d in zip(grad(raw, images), direction))

    np.testing.assert_allclose(jax.jvp(slope, (raw, images), direction)[1], along(slope), rtol=1e-6)


def test_half_precision_images_keep_their_dtype(scene):
    images, matrices, _ = scene
    half = images.astype(jnp.bfloat16)
    out = resample(half, matrices.astype(jnp.float32))
    assert out.dtype == jnp.bfloat16
    exact = resample(half.astype(jnp.float64), matrices)
    np.testing.assert_allclose(out.astype(float), exact, atol=2**-8 * float(jnp.abs(exact).max()))


def test_positions_far_outside_are_zero(scene):
    images, _, cotangent = scene
    for scale in (1e3, 1e12):
        shift = jnp.eye(3).at[:2, 2].set(scale) * jnp.ones((3, 1, 1))
        out, grad = jax.value_and_grad(lambda m: (resample(images, m) * cotangent[0]).sum())(shift)
        assert out == 0
        assert (grad == 0).all()


def test_a_map_that_is_not_finite_gives_nan_and_leaves_other_images_alone(scene):
    images, matrices, _ = scene
    out = resample(images, matrices[0].at[1].set(jnp.nan))
    assert jnp.isnan(out[1]).all()
    np.testing.assert_array_equal(out[::2], resample(images, matrices[0])[::2])


@pytest.mark.parametrize("align_corners", [True, False])
def test_a_quarter_turn_is_that_of_numpy(align_corners):
    images = jax.random.normal(KEY, (2, 4, 4, 3))
    here = rotate(images, math.pi / 2, align_corners=align_corners)
    np.testing.assert_allclose(here, np.rot90(images, axes=(1, 2)), atol=1e-12)


def test_rotation_keeps_shapes_on_images_that_are_not_square():
    """A spot 3 pixels right of the middle is 3 pixels above it after a quarter turn."""
    image = np.zeros((1, 9, 13, 1))
    image[0, 4, 9, 0] = 1
    for align_corners in (True, False):
        turned = rotate(image, np.array([math.pi / 2]), align_corners=align_corners)
        np.testing.assert_allclose(turned[0, 1, 6, 0], 1, atol=1e-12)
        np.testing.assert_allclose(jnp.abs(turned).sum(), 1, atol=1e-12)


@pytest.mark.parametrize("basis", BASES)
def test_half_ranges_are_those_of_the_matrix_entries(basis):
    raw = raw_from_half_ranges(np.array([0.3, 0.2, 1.5, 0.1, 0.05, 0.4]), basis)
    np.testing.assert_allclose(half_ranges(raw, basis), [0.3, 0.2, 1.5, 0.1, 0.05, 0.4], rtol=1e-12)
    ends = affine_algebra(raw, jnp.ones((1, 6)), basis)[0]
    np.testing.assert_allclose([ends[0, 2], ends[1, 2]], [0.3, 0.2], rtol=1e-12)
    np.testing.assert_allclose((ends[1, 0] - ends[0, 1]) / 2, 1.5, rtol=1e-12)
    assert generators(basis).shape == (6, 3, 3)


def test_augerino_widths_are_those_of_its_layer():
    raw = jnp.linspace(-3, 2, 6)
    np.testing.assert_allclose(augerino_widths(half_ranges(raw, "augerino")), jax.nn.softplus(raw), rtol=1e-12)


def test_lila_reads_a_rotation_range_above_pi_as_pi():
    assert half_ranges(jnp.full(6, 5.0), "lila")[2] == math.pi


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: affine_algebra(np.zeros(6), np.zeros(6), "polar"), r"basis='polar' is unknown"),
        (lambda: affine_algebra(np.zeros(5), np.zeros(6)), r"raw has the shape \(5,\), but six"),
        (lambda: affine_matrices(np.zeros(6), np.zeros((2, 3))), r"u has the shape \(2, 3\), but six"),
        (lambda: raw_from_half_ranges(np.zeros(6)), r"smallest half range is 0.0, but .* positive ranges"),
        (lambda: raw_from_half_ranges(-np.ones(6), "lila"), r"smallest half range is -1.0, but .* not negative"),
        (lambda: resample(np.zeros((2, 8, 8)), np.zeros((2, 3, 3))), r"shape \(2, 8, 8\) and the dtype float64"),
        (lambda: resample(np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 3, 3))), r"dtype uint8; floating images"),
        (lambda: resample(np.zeros((2, 1, 8, 1)), np.zeros((2, 3, 3))), r"\(2, 1, 8, 1\).*at least 2"),
        (lambda: resample(np.zeros((2, 8, 8, 1)), np.zeros((3, 3, 3))), r"matrices have the shape \(3, 3, 3\); .*, 2,"),
        (lambda: rotate(np.zeros((2, 8, 8, 1)), np.zeros(3)), r"angles have the shape \(3,\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
