"""Mistakes with patterns, masks, budgets and schedules, and what is said about each."""

import jax
import numpy as np
import pytest
from jax.experimental import checkify

import offprint.sparsity._schedule as schedules
from offprint.sparsity._apply import apply, as_masks, check_masks, unpack
from offprint.sparsity._budget import density_map, flop_aware
from offprint.sparsity._limbs import as_limbs
from offprint.sparsity._mask import make_mask, make_masks, masks_by_count
from offprint.sparsity._pattern import Block, Channel, Head, KernelShape
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity._pattern_transposable import TransposableNM
from offprint.sparsity._sensitivity import sensitivity_scan

W = np.arange(48.0).reshape(6, 8)
TREE = {"a": {"kernel": W, "bias": None}, "b": {"kernel": W + 1, "bias": None}}
SHAPES = {"a": {"kernel": W}, "b": {"kernel": W}}
HALF = {"a": {"kernel": W % 2 == 0}, "b": {"kernel": W % 2 == 0}}
NAN, INF = np.where(W == 7, np.nan, W), np.where(W < 2, np.inf, W)

MISTAKES = {
    "percent": (lambda: make_mask(W, 90), r"sparsity must be in \[0, 1\); got 90. Did you mean 0.9\?"),
    "negative": (lambda: make_masks(TREE, -0.1), r"sparsity must be in \[0, 1\); got -0.1"),
    "one": (lambda: make_masks(TREE, 1.0, scope="global"), r"sparsity must be in \[0, 1\); got 1"),
    "none": (lambda: make_masks(TREE), "give a sparsity"),
    "sparsity and count": (lambda: make_mask(W, 0.5, n_keep=3), "a sparsity or n_keep, not both"),
    "sparsity of nm": (lambda: make_mask(W[:4], 0.9, pattern=NM(2, 4)), "2:4 says .* leave out the sparsity, 0.9"),
    "count of nm": (lambda: make_mask(W[:4], n_keep=9, pattern=NM(1, 4)), "a sparsity of 0.75.: leave out n_keep"),
    "sparsity and scopes": (
        lambda: make_masks(TREE, 0.9, scope={"a/*": 0.5}),
        "a sparsity or a scope that is a mapping of sparsities, not both; got 0.9 and {'a/.*': 0.5}",
    ),
    "sparsity and budget": (lambda: make_masks(TREE, 0.5, budget=TREE), "a sparsity or a budget"),
    "rounding": (lambda: make_mask(W, 0.5, rounding="up"), "rounding must be 'nearest', 'floor' or 'ceil'; got 'up'"),
    "scope": (lambda: make_masks(TREE, 0.5, scope="all"), "scope must be 'local', 'global' or a mapping"),
    "scope path": (lambda: make_masks(TREE, scope={"c/*": 0.5}), "'c/\\*' matches no leaf .* a/kernel, b/kernel"),
    "pattern path": (lambda: make_masks(TREE, 0.5, pattern={"c": Channel()}), "'c' matches no leaf"),
    "min_keep": (lambda: make_mask(W, 0.5, min_keep=-1), "min_keep must not be negative; got -1"),
    "NaN": (lambda: make_masks({"w": NAN}, 0.5), "scores must be finite, but 1 of the 48 of 'w' are NaN or infinite"),
    "infinite": (lambda: make_mask(INF, n_keep=3), "but 2 of the 48 of ''"),
    "previous of another model": (
        lambda: make_masks(TREE, 0.5, previous={"a": {"kernel": None, "bias": None}}),
        "previous has no leaf 'b/",
    ),
    "no count": (lambda: masks_by_count(TREE, {"c": 3}), "no count for any of a/kernel, b/kernel, but for c"),
    "count of floats": (lambda: masks_by_count(W, np.float32(3)), "counts are integers; got float32"),
    "counts": (lambda: as_limbs(np.zeros(3, np.int32)), "the two limbs of count_limbs; got shape \\(3,\\)"),
    "units over devices": (
        lambda: masks_by_count(W, 2, pattern=Channel(), axis_name="data"),
        "axis_name works with Unstructured and NM patterns only",
    ),
    "nm of nothing": (lambda: NM(0, 4), "0 < n <= m; got 0:4"),
    "nm axis": (lambda: make_mask(W, pattern=NM(2, 4, axis=2)), "no such axis"),
    "nm that does not divide": (
        lambda: make_masks({"w": W}, pattern=NM(2, 4)),
        r"2:4 needs an axis that 4 divides, but axis -2 of 'w' \(6, 8\) has 6 elements: give pad=True",
    ),
    "transposable": (lambda: make_masks({"w": W}, pattern=TransposableNM(2, 4)), "two last axes that 4 divides"),
    "transposable size": (lambda: TransposableNM(2, 32), "m <= 16; got 2:32"),
    "transposable method": (lambda: TransposableNM(2, 4, "best"), "'exact' or 'greedy'; got 'best'"),
    "block": (lambda: Block((0, 4)), "two sides of at least 1"),
    "block of a vector": (lambda: make_mask(W[0], 0.5, pattern=Block()), "Block needs at least 2 axes"),
    "reduce": (lambda: Channel(reduce="norm"), "'sum', 'mean', 'rms' or 'max'; got 'norm'"),
    "channel axis": (lambda: make_mask(W, 0.5, pattern=Channel(2)), "has no axis 2"),
    "heads": (lambda: make_mask(W, 0.5, pattern=Head(3)), "axis -1 of '' \\(6, 8\\) has 8 elements, which 3 heads"),
    "no heads": (lambda: Head(0), "num_heads must be at least 1; got 0"),
    "kernel shape": (lambda: make_mask(W, 0.5, pattern=KernelShape()), "KernelShape needs at least 3 axes"),
    "masks of another model": (
        lambda: apply(SHAPES, {"a": {"kernel": W[:3] > 0}}),
        r"'a/kernel' is \(3, 8\), not \(6, 8\)",
    ),
    "no mask values": (lambda: as_masks({"w": W}), "exactly 0 or 1; 'w' has other values"),
    "too few bits": (lambda: unpack({"w": np.zeros(5, np.uint8)}, {"w": W}), "needs 6 bytes of mask bits; got 5"),
    "not that sparsity": (
        lambda: check_masks(SHAPES, HALF, sparsity=0.9),
        "the masks remove 48 of 96 units, a sparsity of 0.5, not 0.9",
    ),
    "not that pattern": (lambda: check_masks(SHAPES, HALF, pattern=Channel(-2)), "keeps parts of the units of Channel"),
    "not that nm": (lambda: check_masks(SHAPES, HALF, pattern=NM(1, 2)), "a group keeps more than 1"),
    "budget of another model": (lambda: make_masks(TREE, budget={"c": 0.5}), "'c' that the scores have not"),
    "budget": (
        lambda: make_masks({"w": W}, budget={"w": 1.5}),
        r"densities must be in \[0, 1\]; the budget has 1.5 at 'w'",
    ),
    "distribution": (lambda: density_map(SHAPES, 0.5, "even"), "dist must be 'uniform'"),
    "filter": (lambda: density_map({"x": W}, 0.5), "the filter chooses no leaf"),
    "dense path": (lambda: density_map(SHAPES, 0.5, dense="c"), "'c' matches no leaf"),
    "first of nothing": (lambda: density_map(SHAPES, 0.5, "uniform_plus", first="c"), "'c' matches no leaf"),
    "first of two": (
        lambda: density_map(SHAPES, 0.5, "uniform_plus", first="*"),
        "must name one leaf, but matches a/kernel, b/kernel",
    ),
    "first of erk": (lambda: density_map(SHAPES, 0.5, "erk", first="a/*"), "otherwise give dense='a/"),
    "dense beyond the budget": (
        lambda: density_map(SHAPES, 0.9, "erk", dense="a/*"),
        "a sparsity of 0.9 keeps 10 of 96 elements, but the leaves to keep dense have 48 already: a/kernel",
    ),
    "densities beyond the budget": (
        lambda: density_map(SHAPES, 0.9, {"a/*": 0.8}),
        "keeps 9.6 of 96 elements, but the densities given keep 38.4 and the other leaves can keep 0 to 48",
    ),
    "densities below the budget": (lambda: density_map(SHAPES, 0.1, {"a/*": 0.1}), "can keep 0 to 48"),
    "density": (lambda: density_map(SHAPES, 0.5, {"a/*": 50}), r"densities must be in \[0, 1\]; got 50"),
    "relative density": (lambda: density_map(SHAPES, 0.5, lambda path, shape: -1.0), "must be positive; that of 'a/"),
    "flops": (lambda: flop_aware({"w": W}, {"v": 3}), "positive multiply-adds for 'w'; it has v"),
    "scan of nothing": (
        lambda: sensitivity_scan(lambda p: p["w"].sum(), {"w": W}, {"w": None}, [0.5]),
        "there is nothing to scan",
    ),
    "end before begin": (lambda: schedules.cubic_schedule(0.9, 10, 5), "end > begin; got 10 to 5"),
    "target": (lambda: schedules.linear_schedule(95, 0, 5), "Did you mean 0.95"),
    "every": (lambda: schedules.update_steps(0, 10, 0), "every must be at least 1; got 0"),
    "restart": (lambda: schedules.restarted(lambda t: t, 0, 0), "every must be at least 1"),
    "cycles": (lambda: schedules.cyclic_schedule(0.9, 0, 10, 0), "cycles must be at least 1"),
    "rounds": (lambda: schedules.round_densities(0.9, 0), "rounds must be at least 1"),
    "kind": (lambda: schedules.round_densities(0.9, 3, kind="cubic"), "'exponential' or 'linear'; got 'cubic'"),
    "rate": (lambda: schedules.ticket_densities(3, 20), r"a rate in \(0, 1\); got 3 and 20"),
    "drop": (lambda: schedules.cosine_drop(100, 30), "a drop fraction is in"),
}  # fmt: skip


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(mistake):
    call, message = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_not_finite_under_jit_is_found_by_checkify():
    run = checkify.checkify(jax.jit(lambda score: make_masks({"w": score}, 0.5)))
    error, _ = run(NAN)
    assert "those of 'w' are not" in error.get()
    error, masks = run(W)
    assert error.get() is None
    assert int(masks["w"].sum()) == 24
