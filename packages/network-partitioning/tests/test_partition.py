"""Partitions: the ids, the subnetworks that they make, and the vectors that go over the wire."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.network_partitioning._partition import (
    Partition,
    pack,
    partition,
    partition_sizes,
    subnetwork,
    trainable_view,
    unpack,
    whole,
)
from offprint.network_partitioning._proportions import partition_counts
from offprint.network_partitioning._upload import upload_fraction

SHARES = (0.7, 0.2, 0.1)


def mlp(params, x):
    """The golden arrays' network: tanh after every layer but the last."""
    for index in range(0, len(params), 2):
        x = x @ params[index] + params[index + 1]
        x = jnp.tanh(x) if index < len(params) - 2 else x
    return x


def golden_partition(data, scheme):
    params = [jnp.asarray(data[f"param_{i}"]) for i in range(2 * (len(data["sizes"]) - 1))]
    ids = [jnp.asarray(data[f"{scheme}/pid_{i}"], jnp.uint8) for i in range(len(params))]
    default = [jnp.asarray(data[f"default_{i}"]) for i in range(len(params))]
    default = [jnp.zeros_like(value) for value in default] if scheme == "node" else default
    return params, Partition(ids, default, int(data["K"]))


@pytest.fixture(scope="module")
def params():
    keys = jax.random.split(jax.random.key(3), 5)
    shapes = [(6, 20), (20,), (20, 20), (20, 3), (3,)]
    names = ["hidden/kernel", "hidden/bias", "middle/kernel", "out/kernel", "out/bias"]
    tree = {}
    for name, shape, key in zip(names, shapes, keys):
        module, leaf = name.split("/")
        tree.setdefault(module, {})[leaf] = jax.random.normal(key, shape)
    return tree


def equal(a, b):
    return all(bool((x == y).all()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_counts_are_the_golden_ones(golden):
    data = golden("partition_counts")
    index = 0
    while f"prop_{index}" in data:
        for n, counts in zip(data["n"], data[f"counts_{index}"]):
            np.testing.assert_array_equal(partition_counts(int(n), data[f"prop_{index}"]), counts)
        index += 1
    assert index >= 3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_counts_sum_to_n_and_miss_the_shares_by_less_than_one(n, weights):
    shares = np.asarray(weights) / sum(weights)
    counts = partition_counts(n, shares)
    assert counts.sum() == n
    assert np.all(np.abs(counts - n * shares) < 1)


@pytest.mark.parametrize("file", ["core_mlp_k2", "core_mlp_k3"])
@pytest.mark.parametrize("scheme", ["random_weight", "weight", "node"])
def test_subnetworks_compute_the_golden_logits(golden, file, scheme):
    data = golden(file)
    params, part = golden_partition(data, scheme)
    for k in range(part.num + 1):
        logits = mlp(subnetwork(params, part, k), jnp.asarray(data["x"]))
        np.testing.assert_allclose(logits, data[f"{scheme}/logits"][k], atol=1e-10, rtol=0)


@pytest.mark.parametrize("file", ["core_mlp_k2", "core_mlp_k3"])
def test_blocks_and_permutations_have_the_golden_counts(golden, file):
    data = golden(file)
    params, _ = golden_partition(data, "weight")
    blocks = partition(params, data["proportions"], scheme="weight")
    drawn = partition(params, data["proportions"], key=jax.random.key(0))
    for i in range(len(params)):
        np.testing.assert_array_equal(blocks.ids[i], data[f"weight/pid_{i}"])
        np.testing.assert_array_equal(
            np.bincount(drawn.ids[i].ravel()), np.bincount(data[f"random_weight/pid_{i}"].ravel())
        )


@pytest.mark.parametrize("scheme", ["random_weight", "weight", "layer"])
def test_the_ends_are_the_defaults_and_the_network(params, scheme):
    layers = {"hidden": 0, "middle": 1, "out": 2, "out/bias": 1} if scheme == "layer" else None
    part = partition(params, SHARES, scheme=scheme, default="zero", key=jax.random.key(0), layers=layers)
    assert equal(subnetwork(params, part, 3), params)
    assert equal(subnetwork(params, part, 0), jax.tree.map(jnp.zeros_like, params))
    assert int(partition_sizes(part).sum()) == sum(leaf.size for leaf in jax.tree.leaves(params))
    if scheme == "layer":
        assert partition_sizes(part).tolist() == [140, 403, 60]


def test_permutations_follow_the_key_and_differ_between_tensors(params):
    tree = {"a": jnp.zeros((8, 9)), "b": jnp.zeros((8, 9))}
    first, again, other = (partition(tree, SHARES, key=jax.random.key(seed)).ids for seed in (1, 1, 2))
    assert equal(first, again)
    assert not equal(first, other)
    assert not bool((first["a"] == first["b"]).all())


def test_trainable_view_has_the_subnetworks_values_and_its_own_partitions_gradient(params):
    part = partition(params, SHARES, key=jax.random.key(0), default="zero")
    weights = jax.tree.map(lambda w: w + 1, params)
    for k in (1, 2, 3):
        assert equal(trainable_view(weights, part, k), subnetwork(weights, part, k))
        traced = jax.jit(trainable_view)(weights, part, jnp.int32(k))
        assert equal(traced, subnetwork(weights, part, k))
        gradient = jax.grad(lambda w, k=k: sum(jnp.sum(x**2) for x in jax.tree.leaves(trainable_view(w, part, k))))(
            weights
        )
        expected = jax.tree.map(lambda i, w, k=k: jnp.where(i == k - 1, 2 * w, 0), part.ids, weights)
        assert equal(gradient, expected)


def test_vmapped_keys_make_the_partitions_of_a_loop(params):
    keys = jax.random.split(jax.random.key(5), 3)
    stacked = jax.jit(jax.vmap(lambda key: partition(params, SHARES, key=key)))(keys)
    for index, key in enumerate(keys):
        assert equal(
            jax.tree.map(lambda leaf, index=index: leaf[index], stacked.ids), partition(params, SHARES, key=key).ids
        )


def test_packing_is_undone_by_unpacking(params):
    part = partition(params, SHARES, key=jax.random.key(0))
    vectors = pack(params, part)
    assert [len(vector) for vector in vectors] == partition_sizes(part).tolist()
    assert equal(unpack(vectors, part), params)
    only_last = unpack([None, None, vectors[2]], part, jax.tree.map(jnp.zeros_like, params))
    assert equal(only_last, jax.tree.map(lambda i, w: jnp.where(i == 2, w, 0), part.ids, params))
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    ids = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(part.ids)])
    np.testing.assert_array_equal(vectors[1], flat[ids == 1])
    with pytest.raises(ValueError, match=r"partition 2 has \d+ scalars, but its vector has shape \(3,\)"):
        unpack([vectors[0], jnp.zeros(3), vectors[2]], part)
    with pytest.raises(ValueError, match="3 vectors are needed, one for each partition, but there are 1"):
        unpack(vectors[:1], part)
    with pytest.raises(ValueError, match="close over the Partition"):
        jax.jit(pack)(params, part)


def test_adapters_are_partitioned_and_what_was_pretrained_is_frozen():
    pretrained = {"dense": {"kernel": jnp.ones((5, 5)), "lora_a": jnp.ones((5, 4)), "lora_b": jnp.zeros((4, 5))}}
    part = partition(pretrained, (0.5, 0.5), scheme="adapter", key=jax.random.key(0))
    assert np.all(part.ids["dense"]["kernel"] == 255)
    assert partition_sizes(part).tolist() == [20, 20]
    moved = jax.tree.map(lambda w: w + 1, pretrained)
    assert bool((subnetwork(moved, part, 2)["dense"]["kernel"] == 1).all())
    assert bool((subnetwork(moved, part, 2)["dense"]["lora_a"] == 2).all())
    zeroed = partition(pretrained, (0.5, 0.5), scheme="adapter", key=jax.random.key(0), default="zero")
    assert bool((zeroed.default["dense"]["kernel"] == 1).all())
    assert bool((zeroed.default["dense"]["lora_a"] == 0).all())
    with pytest.raises(ValueError, match="give `only`, a function that is true for the path"):
        partition({"dense": {"kernel": jnp.ones((5, 5))}}, (0.5, 0.5), scheme="adapter", key=jax.random.key(0))


def test_nnx_states_keep_their_type():
    model = nnx.Sequential(nnx.Linear(4, 10, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(10, 3, rngs=nnx.Rngs(1)))
    graphdef, state, rest = nnx.split(model, nnx.Param, ...)
    part = partition(state, SHARES, key=jax.random.key(0), only=lambda path: path.startswith("layers/0/"))
    assert isinstance(subnetwork(state, part, 2), nnx.State)
    assert int(partition_sizes(part).sum()) == 50
    x = jnp.ones((2, 4))
    np.testing.assert_array_equal(nnx.merge(graphdef, subnetwork(state, part, 3), rest)(x), model(x))


def test_a_function_may_be_the_scheme(params):
    part = partition(params, (0.5, 0.5), scheme=lambda path, shape: int("out" in path))
    assert partition_sizes(part).tolist() == [540, 63]
    with pytest.raises(ValueError, match=r"the partition of hidden/bias must be an integer in 0..1, but is 2"):
        partition(params, (0.5, 0.5), scheme=lambda path, shape: 2)


def test_the_whole_network_is_one_partition(params):
    part = whole(params)
    assert partition_sizes(part).tolist() == [603]
    assert equal(subnetwork(params, part, 1), params)


def test_upload_of_the_average_client():
    assert abs(upload_fraction((0.7, 0.2, 0.1), (0.7, 0.2, 0.1)) - 0.77) < 1e-12
    assert abs(upload_fraction((0.9, 0.1), (0.9, 0.1)) - 0.91) < 1e-12
    with pytest.raises(ValueError, match="2 data proportions and 3 parameter proportions"):
        upload_fraction((0.9, 0.1), SHARES)


@pytest.mark.parametrize(
    ("proportions", "message"),
    [
        ((1.0,), "K >= 2 partitions are needed: with one chunk nothing is out of sample"),
        ((0.5, 0.4), r"must sum to 1, but \(0.5, 0.4\) sums to 0.9"),
        ((1.2, -0.2), r"must be positive, but they are \(1.2, -0.2\)"),
        ((1.0, 0.0), r"must be positive, but they are \(1.0, 0.0\)"),
    ],
)
def test_bad_proportions(params, proportions, message):
    with pytest.raises(ValueError, match=message):
        partition(params, proportions, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "edges"}, "scheme must be one of random_weight, weight, node, layer, adapter or a function"),
        ({}, r"draws permutations: give key=jax.random.key\(...\)"),
        ({"scheme": "layer"}, "scheme 'layer' needs layers="),
        ({"scheme": "layer", "layers": {"hidden": 0}}, "layers names no partition for middle/kernel"),
        (
            {"scheme": "layer", "layers": lambda path: 0},
            r"partition 2 of 3 owns no scalar: the sizes are \[603, 0, 0\]",
        ),
        ({"scheme": "weight", "default": "ones"}, "default must be 'init', 'zero' or a pytree like params"),
        ({"scheme": "weight", "default": [1.0]}, "default must have the structure of params"),
        ({"scheme": "weight", "only": lambda path: False}, "nothing is left to partition among hidden/bias"),
    ],
)
def test_bad_options(params, options, message):
    with pytest.raises(ValueError, match=message):
        partition(params, SHARES, **options)


def test_bad_sizes_and_ks(params):
    with pytest.raises(ValueError, match=r"partition 3 of 3 owns no scalar: the sizes are \[4, 1, 0\]"):
        partition([jnp.zeros(5)], (0.8, 0.15, 0.05), scheme="weight")
    part = partition(params, SHARES, scheme="weight")
    with pytest.raises(ValueError, match=r"k must be in 0..3, the number of active partitions, but is 4"):
        subnetwork(params, part, 4)
    with pytest.raises(ValueError, match=r"k must be in 1..3, the number of active partitions, but is 0"):
        trainable_view(params, part, 0)
    wrong = {**part.default, "out": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}}
    with pytest.raises(ValueError, match=r"default has shape \(2, 3\) at out/kernel, but params \(20, 3\)"):
        partition(params, SHARES, scheme="weight", default=wrong)
