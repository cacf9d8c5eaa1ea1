"""Narrow networks: scheme "node" masked and sliced computes the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_partition import golden_partition, mlp

from offprint.network_partitioning._narrow import narrow
from offprint.network_partitioning._partition import partition, subnetwork


@pytest.mark.parametrize("file", ["core_mlp_k2", "core_mlp_k3"])
def test_sliced_networks_have_the_golden_logits(golden, file):
    data = golden(file)
    params, part = golden_partition(data, "node")
    for k in range(1, part.num + 1):
        small = narrow(params, part, k)
        np.testing.assert_allclose(mlp(small, data["x"]), data["node/logits"][k], atol=1e-10, rtol=0)
        for layer in range(1, len(data["sizes"]) - 1):
            assert small[2 * layer - 1].shape == (np.sum(data[f"node/unit_{layer}"] < k),)


@pytest.mark.parametrize("file", ["core_mlp_k2", "core_mlp_k3"])
def test_ids_follow_the_golden_rule(golden, file):
    data = golden(file)
    params, _ = golden_partition(data, "node")
    part = partition(params, data["proportions"], scheme="node")
    before = np.zeros(data["sizes"][0], int)
    for layer in range(1, len(data["sizes"])):
        unit = np.asarray(part.ids[2 * layer - 1])
        counts = np.bincount(data[f"node/unit_{layer}"], minlength=part.num)
        np.testing.assert_array_equal(np.bincount(unit, minlength=part.num), counts)
        np.testing.assert_array_equal(part.ids[2 * layer - 2], np.maximum(before[:, None], unit))
        before = unit
    assert all(not value.any() for value in part.default)


class ConvNet(nnx.Module):
    """Two convolutions with batch norm, flattened, two dense layers; the names are not in the network's order."""

    def __init__(self, rngs):
        self.zeroth = nnx.Conv(2, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.conv = nnx.Conv(8, 6, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(96, 10, rngs=rngs)
        self.a_head = nnx.Linear(10, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.gelu(self.norm(self.zeroth(x)))
        x = nnx.sigmoid(self.conv(x)).reshape(len(x), -1)
        return self.a_head(jnp.cos(self.dense(x)))


ORDER = ["zeroth", "norm", "conv", "dense", "a_head"]


def test_convolutions_are_sliced_too():
    graphdef, params, rest = nnx.split(ConvNet(nnx.Rngs(0)), nnx.Param, ...)
    params = jax.tree.map(lambda w: w + 0.1, params)
    x = jax.random.normal(jax.random.key(1), (3, 4, 4, 2))
    part = partition(params, (0.5, 0.3, 0.2), scheme="node", layers=ORDER)
    for k in (1, 2, 3):
        small = narrow(params, part, k, layers=ORDER)
        masked = nnx.merge(graphdef, subnetwork(params, part, k), rest)(x)
        sliced_rest = jax.tree.map(lambda leaf, n=small["norm"]["scale"].shape[0]: leaf[:n], rest)
        np.testing.assert_allclose(nnx.merge(graphdef, small, sliced_rest)(x), masked, atol=1e-12, rtol=0)
    assert narrow(params, part, 1, layers=ORDER)["dense"]["kernel"].shape == (48, 5)
    assert [leaf.shape for leaf in jax.tree.leaves(small)] == [leaf.shape for leaf in jax.tree.leaves(params)]


def test_the_order_is_found_where_the_shapes_or_names_tell():
    by_shape = {"out": {"w": jnp.zeros((7, 2))}, "first": {"w": jnp.zeros((3, 5))}, "mid": {"w": jnp.zeros((5, 7))}}
    part = partition(by_shape, (0.6, 0.4), scheme="node")
    np.testing.assert_array_equal(part.ids["out"]["w"][:, 0], [0, 0, 0, 0, 1, 1, 1])
    by_name = {f"layer{i}": {"w": jnp.zeros((5, 5))} for i in (0, 2, 10)}
    part = partition(by_name, (0.6, 0.4), scheme="node")
    assert int(part.ids["layer10"]["w"][:, 4].max()) == 1
    np.testing.assert_array_equal(part.ids["layer10"]["w"][:3], 0)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"attention": {"query": jnp.zeros((4, 4))}}, "cannot trace attention/query; take scheme='random_weight'"),
        ({"a": {"w": jnp.zeros((5, 5))}, "b": {"w": jnp.zeros((5, 5))}}, "the layers a, b: several orders fit"),
        (
            {"a": {"w": jnp.zeros((5, 4))}, "b": {"w": jnp.zeros((3, 5, 9))}},
            "the layers a, b: they do not form one chain",
        ),
        ([jnp.zeros((5, 4)), jnp.zeros((5, 4))], r"cannot trace 1: its shape \(5, 4\) does not take the 4 units"),
        ({"a": {"v": jnp.zeros((5, 5)), "w": jnp.zeros((5, 5))}}, r"cannot trace a: it needs one kernel"),
        ({"a": {"v": jnp.zeros(3), "w": jnp.zeros((5, 5))}}, r"the shapes are \(3,\), \(5, 5\)"),
    ],
)
def test_what_cannot_be_traced_is_named(tree, message):
    with pytest.raises(ValueError, match=message):
        partition(tree, (0.5, 0.5), scheme="node")


def test_bad_orders_and_partitions():
    params = [jnp.ones((3, 4)), jnp.ones((4, 2))]
    with pytest.raises(ValueError, match=r"layers must name each of 0, 1 once, but is \['0'\]"):
        partition(params, (0.5, 0.5), scheme="node", layers=["0"])
    with pytest.raises(ValueError, match="takes `layers` as a sequence"):
        partition(params, (0.5, 0.5), scheme="node", layers={"0": 1})
    with pytest.raises(ValueError, match="leave `only` out"):
        partition(params, (0.5, 0.5), scheme="node", only=lambda path: path == "0")
    with pytest.raises(ValueError, match="only scheme='node' with default='zero' has narrow subnetworks"):
        narrow(params, partition(params, (0.5, 0.5), key=jax.random.key(0)), 1)
    with pytest.raises(ValueError, match=r"k must be in 1..2"):
        narrow(params, partition(params, (0.5, 0.5), scheme="node"), 0)
    biased = [jnp.ones((3, 4)), jnp.ones((4, 2)), jnp.ones(2)]
    without = partition(biased, (0.1, 0.9), scheme="node")
    with pytest.raises(ValueError, match="subnetwork 1 has no unit in 0: take larger proportions"):
        narrow(biased, without, 1)
