"""CutMix boxes to the pixel, what is pasted, masks, Cutout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.moex import Box, box_mask, cutmix, cutmix_box, cutmix_plan, cutout, paste_box

KEY = jax.random.key(3)
draw = jax.jit(cutmix_plan, static_argnums=(1, 2, 3), static_argnames="per")
mix = jax.jit(functools.partial(cutmix, num_classes=4))

IMAGES = jax.random.normal(KEY, (6, 8, 10, 3))
LABELS = np.array([0, 1, 2, 3, 0, 1])


def test_boxes_of_the_public_code(golden):
    arrays = golden("cutmix_boxes")
    sizes = arrays["rows"][:, :2]
    for height, width in np.unique(sizes, axis=0):
        of_size = (sizes == (height, width)).all(axis=1)
        rows, lam = arrays["rows"][of_size], arrays["lam"][of_size]
        box, corrected = cutmix_box((lam[:, 0], rows[:, 2:4]), int(height), int(width))
        np.testing.assert_array_equal(np.stack([box.r0, box.c0, box.r1, box.c1], axis=1), rows[:, 4:])
        np.testing.assert_allclose(corrected, lam[:, 1], rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(lam=st.floats(0, 1), row=st.integers(0, 7), column=st.integers(0, 9))
def test_lambda_is_the_share_outside_the_box(lam, row, column):
    box, corrected = cutmix_box((lam, np.array([row, column])), 8, 10)
    np.testing.assert_allclose(corrected, 1 - np.asarray(box_mask(box, 8, 10)).mean(), atol=1e-12)
    assert corrected >= lam - 1e-12 or lam == 0


@pytest.mark.parametrize("per", ["batch", "elem"])
def test_every_pixel_comes_from_the_box_or_from_the_image(per):
    plan = draw(KEY, 6, 8, 10, per=per)
    mixed = paste_box(IMAGES, plan)
    assert plan.lam.shape == plan.box.r0.shape == (() if per == "batch" else (6,))
    masks = np.broadcast_to(box_mask(plan.box, 8, 10), (6, 8, 10))
    np.testing.assert_allclose(np.broadcast_to(plan.lam, 6), 1 - masks.mean(axis=(1, 2)), atol=1e-12)
    images = np.asarray(IMAGES)
    np.testing.assert_array_equal(mixed, np.where(masks[..., None], images[plan.swap_index], images))
    first = paste_box(jnp.moveaxis(IMAGES, -1, 1), plan, spatial_axes=(2, 3))
    np.testing.assert_array_equal(jnp.moveaxis(first, 1, -1), mixed)


def test_masks_follow_their_images():
    plan = draw(KEY, 6, 8, 10)
    marks = (IMAGES[..., 0] > 0).astype(jnp.uint8)
    assert paste_box(marks, plan).dtype == jnp.uint8
    np.testing.assert_array_equal(paste_box(marks, plan), paste_box(IMAGES, plan)[..., 0] > 0)


def test_targets_and_probability():
    x, targets = mix(KEY, IMAGES, LABELS, smoothing=0.1, p=1.0)
    plan = draw(KEY, 6, 8, 10)
    np.testing.assert_array_equal(x, paste_box(IMAGES, plan))
    smooth = 0.9 * np.eye(4)[LABELS] + 0.025
    np.testing.assert_allclose(targets, plan.lam * smooth + (1 - plan.lam) * smooth[plan.swap_index], atol=1e-12)
    x, targets = mix(KEY, IMAGES, LABELS, smoothing=0.0, p=0.0)
    np.testing.assert_array_equal(x, IMAGES)
    np.testing.assert_array_equal(targets, np.eye(4)[LABELS])
    kept = np.array([1, 0, 3, 2, 5, 4])
    np.testing.assert_array_equal(cutmix_plan(KEY, 6, 8, 10, swap_index=kept).swap_index, kept)


def test_jit_and_vmap_equal_plain():
    plain = cutmix(KEY, IMAGES, LABELS, num_classes=4)
    jitted = mix(KEY, IMAGES, LABELS)
    mapped = jax.jit(jax.vmap(mix, in_axes=(0, None, None)))(jax.random.split(KEY, 2), IMAGES, LABELS)
    alone = mix(jax.random.split(KEY, 2)[1], IMAGES, LABELS)
    for a, b, c, d in zip(plain, jitted, mapped, alone, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-12)
        np.testing.assert_allclose(c[1], d, atol=1e-12)


def test_sizes_and_centres_spread_over_the_image():
    box, lam = jax.jit(lambda key: cutmix_box(key, 8, 10, boxes=(2000,)))(KEY)
    centres = (box.r0 + box.r1) / 2
    assert {int(box.r0.min()), int(box.r1.max()), int(box.c1.max())} == {0, 8, 10}
    assert np.abs(np.asarray(centres).mean() - 3.5) < 0.3
    assert 0.5 < np.asarray(lam).mean() < 0.85  # above 1/2, the mean of λ, since boxes are clipped


def test_cutout():
    ones = jnp.ones((50, 8, 10, 3))
    blanked = jax.jit(cutout, static_argnums=2)
    cut = np.asarray(blanked(KEY, ones, 4, p=1.0))
    blank = (cut == 0).all(axis=-1)
    assert ((cut == 0).any(axis=-1) == blank).all()
    area = blank.sum(axis=(1, 2))
    assert area.max() == 16
    assert (area >= 4).all()  # a quarter is left when the centre is in a corner
    assert len(np.unique(area)) > 2
    np.testing.assert_array_equal(blanked(KEY, ones, 4, p=0.0), ones)
    filled = cutout(KEY, jnp.zeros((2, 3, 8, 10), jnp.uint8), 3, fill=7, spatial_axes=(2, 3))
    assert filled.dtype == jnp.uint8
    assert set(np.unique(filled)) == {0, 7}


def test_one_box_serves_all_images():
    box = Box(*(jnp.asarray(edge) for edge in (1, 3, 2, 5)))
    mask = np.zeros((8, 10), bool)
    mask[1:3, 2:5] = True
    np.testing.assert_array_equal(box_mask(box, 8, 10), mask)
