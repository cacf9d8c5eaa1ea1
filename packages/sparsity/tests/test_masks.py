"""Masks of trees: exact counts, scopes, patterns, previous masks; applying, packing, checking."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.sparsity._apply import apply, as_masks, check_masks, pack, unpack
from offprint.sparsity._budget import density_map
from offprint.sparsity._counts import _removed, keep_counts, n_prune
from offprint.sparsity._limbs import count_limbs
from offprint.sparsity._mask import make_mask, make_masks, masks_by_count
from offprint.sparsity._pattern import Block, Channel, Layer, Unstructured
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity._pattern_transposable import TransposableNM
from offprint.sparsity._tree import named_leaves

RNG = np.random.default_rng(0)
PARAMS = {
    "conv": {"kernel": RNG.normal(size=(3, 3, 4, 8)), "bias": RNG.normal(size=8)},
    "dense": {"kernel": RNG.normal(size=(24, 16)), "bias": RNG.normal(size=16)},
    "out": {"kernel": RNG.normal(size=(16, 8)), "bias": RNG.normal(size=8)},
}
SCORES = {name: {"kernel": np.abs(layer["kernel"]), "bias": None} for name, layer in PARAMS.items()}
SIZES = {"conv": 288, "dense": 384, "out": 128}


def kept(masks) -> dict[str, int]:
    return {name: int(np.sum(masks[name]["kernel"])) for name in masks if masks[name]["kernel"] is not None}


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1 / 3])
@pytest.mark.parametrize("n", [1, 2, 7, 2**24 + 3])
def test_counts_are_those_of_float64(sparsity, n):
    leaf = jax.ShapeDtypeStruct((n,), np.float32)
    want = n - int(np.rint(np.float64(sparsity) * n))
    assert keep_counts(leaf, sparsity, min_keep=0) == want
    assert keep_counts({"a": leaf, "b": None}, sparsity, scope="global") == want


def test_counts_beyond_float32_and_int32():
    assert keep_counts(jax.ShapeDtypeStruct((10**8,), np.float32), 0.9) == 10_000_000
    leaf = jax.ShapeDtypeStruct((2**20, 2**14), np.float32)
    assert keep_counts({"a": leaf, "b": leaf}, 0.75, scope="global") == 2**33


def test_a_mask_of_more_than_2_24_elements_is_exact():
    n = 2**24 + 3  # float32 counts go wrong from here on
    low = round(n / 3)
    mask = np.asarray(make_mask(np.arange(n) >= low, 1 / 3))
    assert np.sum(mask) == n - low
    assert not np.any(mask[:low])


@pytest.mark.parametrize(("rounding", "removed"), [("nearest", 2), ("floor", 2), ("ceil", 3)])
def test_rounding(rounding, removed):
    assert n_prune(5, 0.5, rounding) == removed
    assert int(make_mask(np.arange(5.0), 0.5, rounding=rounding).sum()) == 5 - removed


@pytest.mark.parametrize("n", [1, 10, 25, 50, 100, 150, 2**24 + 3, 10**9])
def test_counts_are_those_of_the_number_as_it_is_written(n):
    """0.29 of 100 is 29 with any rounding, though 28.999999999999996 in float64; so is a density of 0.71."""
    for percent in range(100):
        sparsity = percent / 100
        want = {"floor": percent * n // 100, "ceil": -(-percent * n // 100), "nearest": int(np.rint(sparsity * n))}
        for rounding, removed in want.items():
            assert n_prune(n, sparsity, rounding) == removed
            for density in (1 - sparsity, (100 - percent) / 100):
                assert n_prune(n, _removed({"w": density}, {"w": 0})["w"], rounding) == removed


def test_a_density_counts_as_its_sparsity():
    score = {"w": np.arange(100.0)}
    for sparsity, rounding in ((0.1, "floor"), (0.2, "floor"), (0.3, "ceil"), (0.29, "floor")):
        budget = density_map(score, sparsity, filter=lambda path, leaf: True)
        assert int(make_masks(score, budget=budget, rounding=rounding)["w"].sum()) == round(100 * (1 - sparsity))
    assert keep_counts(score, budget={"w": 0.9}, rounding="floor") == {"w": 90}
    # A power of two that has more decimals than the search for short ones looks at.
    assert keep_counts(jax.ShapeDtypeStruct((2**21,), np.float32), budget=1 - 2.0**-20, rounding="floor") == 2**21 - 2


def test_local_and_global():
    local = make_masks(SCORES, 0.9)
    assert kept(local) == {name: size - round(0.9 * size) for name, size in SIZES.items()}
    ranking = make_masks(SCORES, 0.9, scope="global")
    assert sum(kept(ranking).values()) == 800 - 720
    lowest = min(np.min(score["kernel"][mask["kernel"]]) for score, mask in zip(SCORES.values(), ranking.values()))
    for name, score in SCORES.items():
        assert np.array_equal(ranking[name]["kernel"], score["kernel"] >= lowest)
    assert local["conv"]["bias"] is None
    assert jax.tree.structure(local) == jax.tree.structure(ranking)


def test_global_is_local_for_one_leaf():
    score = {"w": SCORES["dense"]["kernel"]}
    local, ranking = make_masks(score, 0.7), make_masks(score, 0.7, scope="global")
    assert np.array_equal(local["w"], ranking["w"])


def test_groups_are_rankings_of_their_own():
    masks = make_masks(SCORES, scope={"conv*": 0.25, "*/kernel": 0.5})
    assert kept(masks)["conv"] == 216
    assert sum(kept(masks).values()) == 216 + 256
    assert keep_counts(SCORES, scope={"conv*": 0.25, "*/kernel": 0.5}) == {"conv*": 216, "*/kernel": 256}
    only = make_masks(SCORES, scope={"conv*": 0.25})
    assert only["dense"]["kernel"] is None


def test_a_budget_of_densities():
    budget = {
        "conv": {"kernel": 1.0, "bias": None},
        "dense": {"kernel": 0.25, "bias": None},
        "out": {"kernel": None, "bias": None},
    }
    masks = make_masks(SCORES, budget=budget)
    assert kept(masks) == {"conv": 288, "dense": 96}
    assert masks["out"]["kernel"] is None


def test_least_of_every_leaf():
    scores = {"a": np.arange(1.0, 41.0), "b": np.arange(40) / 100.0}
    with pytest.warns(UserWarning, match="nothing is kept of b"):
        make_masks(scores, 0.9, scope="global")
    masks = make_masks(scores, 0.9, scope="global", min_keep=3)
    assert (int(masks["a"].sum()), int(masks["b"].sum())) == (5, 3)
    assert np.all(masks["b"][-3:])
    message = "sparsity 0.99 would leave 0 of the 40 units of a; 1 are kept; sparsity 0.99 .* units of b; 1 are kept"
    with pytest.warns(UserWarning, match=message) as told:
        masks = make_masks(scores, 0.99)
    assert (int(masks["a"].sum()), int(masks["b"].sum())) == (1, 1)
    assert [warning.filename for warning in told] == [__file__]


def test_whose_least_is_told_and_when():
    with pytest.warns(UserWarning, match="would leave 0 of the 3 units of the array; 1 are kept") as told:
        assert int(make_mask(np.arange(3.0), 0.9).sum()) == 1
    with pytest.warns(UserWarning, match="of the whole tree") as also:
        assert keep_counts({"a": np.ones(3)}, 0.9, scope="global", min_keep=2) == 2
    assert [warning.filename for warning in (*told, *also)] == [__file__, __file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert keep_counts({"a": np.zeros((0, 4)), "b": np.zeros(2)}, 0.0, min_keep=3) == {"a": 0, "b": 2}


@pytest.mark.parametrize("pattern", [NM(2, 4), {"*": NM(2, 4)}, TransposableNM(2, 4)])
def test_a_pattern_with_a_sparsity_of_its_own(pattern):
    score = {"a": SCORES["dense"]["kernel"], "b": None}
    plain, same = make_masks(score, pattern=pattern), make_masks(score, 0.5, pattern=pattern)
    assert np.array_equal(plain["a"], same["a"])
    says = "the pattern 2:4 says itself how much is kept, 2 of every 4 .a sparsity of 0.5.: leave out the "
    with pytest.raises(ValueError, match=says + "sparsity, 0.9"):
        make_masks(score, 0.9, pattern=pattern)
    with pytest.raises(ValueError, match=says + "budget"):
        make_masks(score, budget={"a": 0.1, "b": None}, pattern=pattern)


def test_what_is_pruned_does_not_return():
    before = make_masks(SCORES, 0.5)
    scores = jax.tree.map(lambda s: np.random.default_rng(s.size).random(s.shape), SCORES)
    after = make_masks(scores, 0.8, scope="global", previous=before)
    assert sum(kept(after).values()) == 160
    for name in after:
        assert not np.any(after[name]["kernel"] & ~before[name]["kernel"])
    again = make_masks(scores, 0.2, scope="global", previous=before)
    assert kept(again) == kept(before)
    free = make_masks(scores, 0.2, scope="global", previous=before, monotone=False)
    assert sum(kept(free).values()) == 640


def test_mixed_patterns():
    pattern = {"conv*": Channel(-1), "dense*": NM(2, 4), "*": Unstructured()}
    masks = make_masks(SCORES, 0.5, pattern=pattern)
    check_masks(PARAMS, masks, pattern=pattern, sparsity=0.5)
    counts = keep_counts(SCORES, 0.5, pattern=pattern)
    assert [count for _, count in named_leaves(counts) if count is not None] == [4, 192, 64]
    by_count = masks_by_count(SCORES, counts, pattern=pattern)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), masks, by_count))
    ranking = make_masks(SCORES, 0.5, scope="global", pattern=pattern)
    assert kept(ranking)["dense"] == 192


def test_traced_counts_of_every_form():
    run = jax.jit(lambda counts: masks_by_count(SCORES, counts))
    tree = jax.tree.map(lambda score: np.int32(score.size // 4), SCORES)
    assert kept(run(tree)) == {"conv": 72, "dense": 96, "out": 32}
    assert sum(kept(run(np.int32(100))).values()) == 100
    assert sum(kept(run(count_limbs(100))).values()) == 100
    groups = jax.jit(lambda counts: masks_by_count(SCORES, counts, groups=("conv*", "*")))
    assert kept(groups({"conv*": np.int32(5), "*": np.int32(7)}))["conv"] == 5


def test_make_masks_under_jit_and_vmap():
    plain = make_masks(SCORES, 0.75, scope="global")
    jitted = jax.jit(lambda scores: make_masks(scores, 0.75, scope="global"))(SCORES)
    stacked = jax.tree.map(lambda score: np.stack([score, -score]), SCORES)
    mapped = jax.jit(jax.vmap(lambda scores: make_masks(scores, 0.75, scope="global")))(stacked)
    for name in plain:
        assert np.array_equal(jitted[name]["kernel"], plain[name]["kernel"])
        assert np.array_equal(mapped[name]["kernel"][0], plain[name]["kernel"])


def test_an_nnx_state():
    state = nnx.state(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), nnx.Param)
    scores = jax.tree.map(lambda p: jnp.abs(p) if p.ndim > 1 else None, state)
    masks = make_masks(scores, 0.5)
    pruned = apply(state, masks)
    assert int(np.count_nonzero(jax.tree.leaves(pruned)[-1])) == 12


def test_half_precision_ties_are_told():
    score = np.round(RNG.random(4000) * 8).astype(np.float16)
    with pytest.warns(UserWarning, match=r"of the 4000 scores of '' \(float16\) tie at the threshold"):
        make_mask(score, 0.5)


def test_apply_zeroes_exactly():
    masks = make_masks(SCORES, 0.5)
    pruned = apply(PARAMS, masks)
    for name, layer in pruned.items():
        assert np.array_equal(layer["kernel"], np.where(masks[name]["kernel"], PARAMS[name]["kernel"], 0.0))
        assert layer["bias"] is PARAMS[name]["bias"]
    infinite = apply({"w": np.array([np.inf, np.nan, 1.0])}, {"w": np.array([False, False, True])})
    assert np.array_equal(infinite["w"], [0.0, 0.0, 1.0])


def test_bits_round_trip():
    masks = make_masks(SCORES, 0.7)
    back = jax.jit(lambda packed: unpack(packed, PARAMS))(pack(masks))
    for name in masks:
        assert np.array_equal(back[name]["kernel"], masks[name]["kernel"])
        assert back[name]["bias"] is None


def test_masks_given_as_numbers():
    masks = as_masks({"a": np.array([0.0, 1.0]), "b": None, "c": np.array([1, 0], np.int8)})
    assert masks["a"].dtype == masks["c"].dtype == jnp.bool_
    assert np.array_equal(masks["c"], [True, False])
    assert masks["b"] is None


@pytest.mark.filterwarnings("ignore:nothing is kept of b")
@pytest.mark.parametrize("pattern", [Block((4, 4)), Channel(-2), Layer()])
def test_check_masks_accepts_what_make_masks_makes(pattern):
    scores = {"a": SCORES["dense"]["kernel"], "b": SCORES["out"]["kernel"]}
    masks = make_masks(scores, 0.5, scope="global", pattern=pattern, min_keep=0)
    check_masks(scores, masks, pattern=pattern, sparsity=0.5)
