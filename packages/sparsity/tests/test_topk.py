"""Selection by counting: as many as asked for, the same ones as a stable sort, wherever the arrays lie."""

import functools
import re

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import offprint.sparsity._limbs as limbs
import offprint.sparsity._topk as topk
from offprint.sparsity._mask import masks_by_count
from offprint.sparsity._topk import ordered_keys, top_k_mask, top_k_masks


def first_best(score: np.ndarray, k: int) -> np.ndarray:
    """The mask of a stable sort."""
    mask = np.zeros(score.size, bool)
    mask[np.argsort(-score.ravel(), kind="stable")[:k]] = True
    return mask.reshape(score.shape)


@functools.cache
def selector(dtype: str):
    return jax.jit(lambda score, k: top_k_mask(score, limbs.as_limbs(k)))


def select(score: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(selector(str(score.dtype))(score, np.int32(k)))


AWKWARD = np.array(
    [0.0, -0.0, 1e-40, -1e-40, 3.0, -3.0, 3.0, 1e-45, -1e-45, 3e38, -3e38, 1.1754944e-38, 2.0, 2.0, 2.0, 0.5],
    np.float32,
)


@pytest.mark.parametrize("k", range(17))
def test_every_count_of_awkward_scores(k):
    """Signed zeros tie, denormal numbers do not, at every k."""
    assert np.array_equal(select(AWKWARD, k), first_best(AWKWARD.astype(np.float64), k))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "uint8", "bool"])
def test_number_types(dtype):
    rng = np.random.default_rng(0)
    score = rng.integers(0, 2, 40) if dtype == "bool" else rng.integers(-90 * (dtype[0] != "u"), 90, 40)
    score = score.astype(dtype)
    for k in (0, 1, 13, 39, 40):
        assert np.array_equal(select(score, k), first_best(score.astype(np.float64), k))


def test_bfloat16():
    score = jnp.asarray(np.random.default_rng(0).normal(size=40), jnp.bfloat16)
    mask = jax.jit(lambda s: top_k_mask(s, limbs.as_limbs(9)))(score)
    assert np.array_equal(mask, first_best(np.asarray(score, np.float64), 9))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=60, max_size=60), st.integers(0, 60))
def test_ties_keep_the_lower_index(scores, k):
    score = np.array(scores, np.float32)
    mask = select(score, k)
    assert mask.sum() == k
    assert np.array_equal(mask, first_best(score, k))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-30, 30), st.integers(0, 60), st.integers(0, 60))
def test_nested(seed, scale, k, other):
    score = (np.random.default_rng(seed).normal(size=60) * 10.0**scale).astype(np.float32)
    small, large = select(score, min(k, other)), select(score, max(k, other))
    assert not np.any(small & ~large)


def test_keys_keep_the_order_of_the_numbers():
    keys = np.asarray(ordered_keys(jnp.sort(jnp.asarray(AWKWARD, jnp.float64)).astype(jnp.float32)))
    assert np.all(np.diff(keys) >= 0)
    assert np.asarray(ordered_keys(jnp.float32(-np.inf))) > np.iinfo(np.int32).min


TREE = [np.round(np.random.default_rng(i).normal(size=shape), 1).astype(np.float32) for i, shape in
        enumerate([(4, 6), (3, 2, 5), (7,)])]  # fmt: skip


@functools.cache
def tree_selector(groups: tuple[int, ...], candidates: bool, forced: bool, limbs: int):
    del limbs  # on which the trace depends

    def run(k, allowed, first):
        return top_k_masks(
            [jnp.asarray(leaf) for leaf in TREE],
            groups,
            k,
            candidates=allowed if candidates else None,
            forced=first if forced else None,
        )

    return jax.jit(run)


def expected(groups, ks, allowed, first):
    """By one stable sort of each ranking."""
    masks = [np.zeros(leaf.shape, bool) for leaf in TREE]
    for group, k in enumerate(ks):
        rows = [
            (-np.inf if first[i].flat[j] else -TREE[i].flat[j], i, j)
            for i in range(len(TREE)) if groups[i] == group
            for j in range(TREE[i].size) if allowed[i].flat[j]
        ]  # fmt: skip
        for _, i, j in sorted(rows)[:k]:
            masks[i].flat[j] = True
    return masks


@pytest.mark.parametrize(
    ("groups", "candidates", "forced", "width"),
    [
        ((0, 0, 0), False, False, 1),
        ((0, 0, 0), True, True, 2),
        ((0, 1, 2), True, False, 1),
        ((0, 1, 0), True, True, 1),
        ((0, 1, 0), False, False, 2),
    ],
)
def test_rankings_over_leaves(monkeypatch, groups, candidates, forced, width):
    """With counts of one limb and of the two that more than 2^30 elements need."""
    monkeypatch.setattr(topk, "_ONE_LIMB", 2**30 if width == 1 else 0)
    rng = np.random.default_rng(1)
    allowed = [rng.random(leaf.shape) < (0.6 if candidates else 2) for leaf in TREE]
    first = [(rng.random(leaf.shape) < (0.1 if forced else -1)) & a for leaf, a in zip(TREE, allowed)]
    for share in (0.0, 0.2, 0.5, 0.95, 1.0):
        sizes = [sum(leaf.size for leaf, g in zip(TREE, groups) if g == group) for group in range(max(groups) + 1)]
        ks = [round(share * size) for size in sizes]
        counts = np.stack([limbs.count_limbs(k) for k in ks])
        masks = tree_selector(groups, candidates, forced, width)(counts, allowed, first)
        for mask, want in zip(masks, expected(groups, ks, allowed, first)):
            assert np.array_equal(mask, want)


def test_counts_that_a_leaf_cannot_have():
    """Negative ones keep nothing, and more than there are keep all, also beyond one limb."""
    run = jax.jit(lambda k: top_k_mask(jnp.asarray(TREE[0]), k))
    for k, kept in (([-1, 5], 0), ([0, 25], 24), ([3, 7], 24)):
        assert int(run(np.array(k, np.int32)).sum()) == kept


def test_a_traced_count_compiles_once():
    traces = []

    @jax.jit
    def run(score, k):
        traces.append(None)
        return masks_by_count(score, k)

    score = TREE[0]
    assert [int(run(score, np.int32(k)).sum()) for k in (3, 11, 24)] == [3, 11, 24]
    assert len(traces) == 1


def test_vmap_over_scores_and_counts():
    scores = np.random.default_rng(2).normal(size=(5, 24)).astype(np.float32)
    ks = np.array([0, 1, 7, 23, 24], np.int32)
    masks = jax.jit(jax.vmap(lambda score, k: masks_by_count(score, k)))(scores, ks)
    for score, k, mask in zip(scores, ks, masks):
        assert np.array_equal(mask, first_best(score, k))


def test_no_gradient_and_no_trouble_under_grad():
    def kept(w):
        return jnp.sum(jnp.where(masks_by_count(jnp.abs(w), 5), w, 0.0) ** 2)

    w = TREE[0]
    assert np.allclose(jax.jit(jax.grad(kept))(w), np.where(first_best(np.abs(w), 5), 2 * w, 0))


# Large leaves take their own ways: a sample puts trial thresholds around the cut, strips are counted side by side.
# Both are for a single device; the tests have eight.


@pytest.fixture
def one_device(monkeypatch):
    monkeypatch.setattr(topk.jax, "device_count", lambda: 1)
    monkeypatch.setattr(topk, "_WORTH_STRIPS", 100)
    monkeypatch.setattr(topk, "_WORTH_SAMPLING", 500)
    monkeypatch.setattr(topk, "_SAMPLE", 64)


@pytest.mark.parametrize(
    "shape", ["normal", "atom at zero", "few values", "over hundreds of octaves", "increasing", "all equal"]
)
def test_large_leaves(one_device, shape):
    n = 1003  # which 8 does not divide
    normal = np.random.default_rng(3).normal(size=n)
    score = {
        "normal": np.abs(normal),
        "atom at zero": np.where(np.arange(n) % 10 < 7, 0.0, np.abs(normal)),
        "few values": np.round(2 * normal),
        "over hundreds of octaves": np.exp(40 * np.clip(normal, -2, 2)),
        "increasing": np.arange(n) / n,
        "all equal": np.ones(n),
    }[shape].astype(np.float32)
    for k in (0, 1, 99, 250, 500, 1002, 1003):
        assert np.array_equal(select_large(score, np.int32(k)), first_best(score, k))


@jax.jit  # a function of its own, for it must be traced with the sizes of the fixture
def select_large(score, k):
    return top_k_mask(score, limbs.as_limbs(k))


def test_large_trees(one_device):
    leaves = [np.round(np.random.default_rng(i).normal(size=n), 2).astype(np.float32) for i, n in enumerate((700, 90))]
    whole = np.concatenate(leaves)
    allowed = [np.random.default_rng(9).random(leaf.size) < 0.7 for leaf in leaves]
    run = jax.jit(lambda leaves, allowed, k: top_k_masks(leaves, [0, 0], k, candidates=allowed))
    for k in (1, 200, 400):
        masks = np.concatenate(run(leaves, allowed, limbs.count_limbs(k)[None]))
        assert np.array_equal(masks, first_best(np.where(np.concatenate(allowed), whole, -np.inf), k))


# Eight devices.

SHARDED = {
    "a": np.round(np.random.default_rng(4).normal(size=(16, 8)), 1),
    "b": np.random.default_rng(5).random((8, 24)),
}
K = 70


def whole_tree(k: int) -> dict[str, np.ndarray]:
    mask = first_best(np.concatenate([SHARDED["a"].ravel(), SHARDED["b"].ravel()]), k)
    return {"a": mask[:128].reshape(16, 8), "b": mask[128:].reshape(8, 24)}


def test_sharded_equals_plain_and_moves_no_scores():
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
    placed = {
        "a": jax.device_put(SHARDED["a"], NamedSharding(mesh, PartitionSpec("model", "data"))),
        "b": jax.device_put(SHARDED["b"], NamedSharding(mesh, PartitionSpec(None, ("data", "model")))),
    }
    compiled = jax.jit(lambda scores, k: masks_by_count(scores, k)).lower(placed, np.int32(K)).compile()
    masks = compiled(placed, np.int32(K))
    for name, want in whole_tree(K).items():
        assert np.array_equal(masks[name], want)
        assert masks[name].sharding.is_equivalent_to(placed[name].sharding, 2)
    moved = re.findall(r"= (\S+) (?:all-gather|all-to-all|collective-permute)", compiled.as_text())
    assert not moved
    reduced = re.findall(r"(\w+)\[([\d,]*)\]\S* all-reduce\(", compiled.as_text())
    assert reduced
    assert all(np.prod([int(n) for n in shape.split(",") if n]) <= 8 for _, shape in reduced)


def test_shard_map_equals_plain():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows = PartitionSpec("data")
    scores = {"a": SHARDED["a"], "b": SHARDED["b"]}

    def run(scores, k):
        return masks_by_count(scores, k, axis_name="data")

    masks = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(rows, PartitionSpec()), out_specs=rows))(
        scores, np.int32(K)
    )
    for name, want in whole_tree(K).items():
        assert np.array_equal(masks[name], want)


def test_shard_map_with_a_ranking_on_each_device():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows = PartitionSpec("data")

    def run(score):
        return masks_by_count(score, jnp.sum(score > 0, dtype=jnp.int32) // 2, previous=score < 1)

    masks = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=rows, out_specs=rows))(SHARDED["a"])
    for score, mask in zip(SHARDED["a"].reshape(8, -1), np.asarray(masks).reshape(8, -1)):
        assert np.array_equal(mask, first_best(np.where(score < 1, score, -np.inf), np.sum(score > 0) // 2))


# Counts beyond int32.


@given(st.integers(0, 2**58), st.integers(0, 2**58))
@settings(max_examples=25, deadline=None)
def test_limbs_are_integers(a, b):
    def value(pair):
        return (int(pair[0]) << limbs.BITS) + int(pair[1])

    difference, least, less = _arithmetic(limbs.count_limbs(a), limbs.count_limbs(b))
    assert value(difference) == a - b
    assert value(least) == min(a, b)
    assert bool(less) == (a < b)


@jax.jit
def _arithmetic(x, y):
    return limbs.subtract(x, y), limbs.minimum(x, y), limbs.less(x, y)


def test_sums_of_counts_beyond_int32():
    counts = np.array([2**31 - 1, 2**40 + 5, 12, 2**30 - 1] * 3, object)
    which = np.array([[1] * 12, [0, 1, 0, 1] * 3])
    pairs = jnp.asarray(np.stack([limbs.count_limbs(int(count)) for count in counts]))
    sums = np.asarray(jax.jit(lambda pairs: limbs.sums(pairs, which))(pairs), object)
    assert [(int(high) << limbs.BITS) + int(low) for high, low in sums] == [int(row @ counts) for row in which]


def test_a_leaf_beyond_int32_is_counted_in_parts():
    """The count of 2^33 flags, whose program is compiled but whose array is never made: all of them are set."""
    compiled = jax.jit(lambda: limbs.total(jnp.ones((2**13, 2**20), bool))).lower().compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**20
    assert np.array_equal(compiled(), limbs.count_limbs(2**33))


def test_a_row_beyond_int32_is_refused():
    with pytest.raises(ValueError, match="too large to count"):
        jax.eval_shape(limbs.total, jax.ShapeDtypeStruct((2**31,), jnp.bool_))


@pytest.mark.parametrize(("count", "message"), [(-1, "must not be negative"), (2**60, "below 2\\^60")])
def test_counts_out_of_range(count, message):
    with pytest.raises(ValueError, match=message):
        limbs.count_limbs(count)
