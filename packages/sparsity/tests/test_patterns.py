"""Patterns: units and masks fit together, N:M holds in every group, transposable masks are the best there are."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.sparsity._mask import make_mask, masks_by_count
from offprint.sparsity._pattern import Block, Channel, Head, KernelShape, Layer, Pattern, Unstructured
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity._pattern_transposable import TransposableNM

RNG = np.random.default_rng(0)
CONV, DENSE = RNG.normal(size=(3, 2, 8, 12)), RNG.normal(size=(10, 12))
FITTING = [
    (Unstructured(), CONV), (Block((4, 8)), CONV), (Block((4, 5), "max"), DENSE), (Channel(-1), CONV),
    (Channel(2), CONV), (Channel(0, "rms"), DENSE), (Head(3), DENSE), (Head(5, axis=-2), DENSE), (KernelShape(), CONV),
    (Layer(), DENSE),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "score"), FITTING, ids=lambda x: repr(x) if isinstance(x, Pattern) else "")
def test_units_and_masks_fit_together(pattern, score):
    """Units have their shape, kept units come back from their mask, and a mask is whole units."""

    @jax.jit
    def run(score, keep):
        mask = pattern.expand(keep, score.shape)
        return pattern.units(score), mask, pattern.kept_units(mask)

    keep = np.random.default_rng(1).random(pattern.units_shape(score.shape)) < 0.5
    units, mask, again = run(score, keep)
    assert units.shape == pattern.units_shape(score.shape)
    assert mask.shape == score.shape
    assert np.array_equal(again, keep)


@pytest.mark.parametrize(
    ("pattern", "score", "want"),
    [
        (Channel(-1), CONV, CONV.sum((0, 1, 2))),
        (Channel(2, "mean"), CONV, CONV.mean((0, 1, 3))),
        (Channel(0, "rms"), DENSE, np.sqrt((DENSE**2).mean(1))),
        (Head(3, reduce="max"), DENSE, DENSE.reshape(10, 3, 4).max((0, 2))),
        (Head(5, axis=-2), DENSE, DENSE.reshape(5, 2, 12).sum((1, 2))),
        (KernelShape(), CONV, CONV.sum((2, 3))),
        (Layer(), DENSE, DENSE.mean()),
        (Block((8, 12), "mean"), CONV, CONV.mean((2, 3), keepdims=True)),
    ],
)
def test_scores_of_units(pattern, score, want):
    assert np.allclose(jax.jit(pattern.units)(score), want, rtol=1e-12)


def test_partial_blocks_count_what_exists():
    ones = jnp.ones((5, 7))
    for reduce in ("mean", "rms", "max"):
        assert np.allclose(Block((4, 4), reduce).units(ones), 1.0)
    assert np.array_equal(Block((4, 4), "sum").units(ones), [[16, 12], [4, 3]])
    one_more = jax.jit(lambda score: make_mask(score, n_keep=1, pattern=Block((4, 4))))(
        jnp.ones((17, 16)).at[16].set(2.0)
    )
    assert np.array_equal(np.flatnonzero(one_more), np.arange(16 * 16, 16 * 16 + 4))


@pytest.mark.parametrize("axis", [-2, -1, 0])
def test_nm_holds_in_every_group(axis):
    score = RNG.integers(0, 3, (8, 4, 12)).astype(np.float32)
    pattern = NM(2, 4, axis=axis)
    mask = np.moveaxis(np.asarray(make_mask(score, pattern=pattern)), axis, -1)
    moved = np.moveaxis(score, axis, -1)
    groups, rows = mask.reshape(-1, 4), moved.reshape(-1, 4)
    want = np.zeros(rows.shape, bool)
    np.put_along_axis(want, np.argsort(-rows, axis=1, kind="stable")[:, :2], True, axis=1)
    assert np.array_equal(groups, want)
    assert pattern.density == 0.5


def test_long_groups_are_sorted():
    score = RNG.integers(0, 9, (3, 64)).astype(np.float32)
    mask = make_mask(score, pattern=NM(10, 64, axis=-1))
    want = np.zeros(score.shape, bool)
    np.put_along_axis(want, np.argsort(-score, axis=1, kind="stable")[:, :10], True, axis=1)
    assert np.array_equal(mask, want)


def test_a_shorter_last_group():
    pattern = NM(2, 4, axis=0, pad=True)
    mask = make_mask(np.array([-4.0, -3.0, -2.0, -1.0, -7.0, -6.0, -5.0]), pattern=pattern)
    assert np.array_equal(mask, [False, False, True, True, False, True, True])
    assert pattern.kept((7,)) == 4
    assert pattern.kept((5,)) == 3


def test_nm_keeps_nothing_that_was_pruned():
    score = RNG.random((8, 6))
    previous = RNG.random((8, 6)) < 0.5
    mask = masks_by_count(score, None, pattern=NM(2, 4), previous=previous)
    left = np.where(previous, score, -1.0).reshape(2, 4, 6)
    want = (left >= np.sort(left, axis=1)[:, 2:3]) & (left > 0)
    assert np.array_equal(mask, want.reshape(8, 6))


MASKS_2_4 = [
    mask for mask in (np.reshape(bits, (4, 4)) for bits in itertools.product([0, 1], repeat=16))
    if (mask.sum(0) == 2).all() and (mask.sum(1) == 2).all()
]  # fmt: skip


@pytest.mark.parametrize("signed", [False, True])
def test_transposable_2_4_is_the_best_of_all(signed):
    weights = RNG.normal(size=(2, 8, 12))
    score = weights if signed else np.abs(weights)
    exact, greedy = (jax.jit(TransposableNM(2, 4, method).mask)(score) for method in ("exact", "greedy"))
    tiles = score.reshape(2, 2, 4, 3, 4).swapaxes(2, 3).reshape(-1, 4, 4)
    kept = np.asarray(exact).reshape(2, 2, 4, 3, 4).swapaxes(2, 3).reshape(-1, 4, 4)
    assert np.all(kept.sum(1) == 2)
    assert np.all(kept.sum(2) == 2)
    best = np.array([max((tile * mask).sum() for mask in MASKS_2_4) for tile in tiles])
    assert np.allclose((tiles * kept).sum((1, 2)), best, atol=1e-5)
    assert TransposableNM(2, 4).satisfied(greedy)
    if not signed:
        assert best.sum() / 2 <= (score * greedy).sum() <= best.sum() + 1e-9


def test_transposable_4_8_is_a_minimum_cost_flow():
    """No exchange along a cycle of two rows and two columns improves it, and it beats the greedy one."""
    score = np.abs(RNG.normal(size=(8, 8)))
    mask = np.asarray(jax.jit(TransposableNM(4, 8).mask)(score))
    assert np.all(mask.sum(0) == 4)
    assert np.all(mask.sum(1) == 4)
    for (i, k), (j, l) in itertools.product(itertools.permutations(range(8), 2), repeat=2):  # noqa: E741
        if mask[i, j] and mask[k, l] and not mask[i, l] and not mask[k, j]:
            assert score[i, j] + score[k, l] >= score[i, l] + score[k, j] - 1e-5
    greedy = jax.jit(TransposableNM(4, 8, "greedy").mask)(score)
    assert (score * mask).sum() >= (score * greedy).sum() - 1e-5


def test_transposable_and_pruned_before():
    previous = np.ones((4, 4), bool)
    previous[0] = False
    mask = TransposableNM(2, 4).mask(jnp.ones((4, 4)), jnp.asarray(previous))
    assert not np.any(mask[0])
    assert TransposableNM(2, 4).satisfied(mask)
