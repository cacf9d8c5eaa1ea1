"""Eight simulated devices give what one gives, forward and backward; only moments travel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from offprint.moex import moment_exchange

DEVICES, SHAPE = 8, (16, 3, 2, 4)
X, COTANGENT = jax.random.normal(jax.random.key(1), (2, *SHAPE))
PERMUTATION = np.asarray(jax.random.permutation(jax.random.key(2), 16))
REPEATED = np.array([3, 3, 3, 3, 4, 5, 6, 15, 8, 0, 0, 11, 12, 13, 1, 2])
NORMS = ("pono", "gn2")


def forward_and_backward(x, swap_index, cotangent, **options):
    results = []
    for norm in NORMS:
        y, pull = jax.vjp(lambda x, norm=norm: moment_exchange(x, swap_index, norm, **options), x)
        results.append((y, pull(cotangent)[0]))
    return results


one_device = jax.jit(forward_and_backward)


@pytest.fixture(scope="module")
def mesh():
    return Mesh(np.array(jax.devices()), ("batch",))  # axes of type Auto


@pytest.fixture(scope="module")
def mapped(mesh):
    def local(x, swap_index, cotangent):
        return forward_and_backward(x, swap_index, cotangent, axis_name="batch")

    return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P("batch"), out_specs=P("batch")))


def assert_same(results, others):
    for pair, other in zip(results, others, strict=True):
        for a, b in zip(pair, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("swap_index", [PERMUTATION, REPEATED], ids=["permutation", "repeated"])
def test_a_permutation_across_devices(mapped, swap_index):
    assert_same(mapped(X, swap_index, COTANGENT), one_device(X, swap_index, COTANGENT))


def test_fixed_points_across_devices_keep_every_bit(mapped):
    for y, gradient in mapped(X, np.arange(16), COTANGENT):
        np.testing.assert_array_equal(y, X)
        np.testing.assert_array_equal(gradient, COTANGENT)


def test_only_moments_travel(mapped):
    text = mapped.lower(X, PERMUTATION, COTANGENT).as_text()
    sent = [line for line in text.splitlines() if "all_gather" in line and "->" in line]
    assert sent
    assert not any("2x3x2x4xf64" in line for line in sent)  # the features of a device


def test_a_sharded_batch_under_jit_needs_no_axis_name(mesh):
    sharding = NamedSharding(mesh, P("batch"))
    x, cotangent = (jax.device_put(array, sharding) for array in (X, COTANGENT))
    assert_same(one_device(x, PERMUTATION, cotangent), one_device(X, PERMUTATION, COTANGENT))


def test_vmap_with_a_name_is_the_same_map():
    split = [jnp.asarray(a).reshape(4, 4, *a.shape[1:]) for a in (X, REPEATED)]
    y = jax.vmap(lambda x, index: moment_exchange(x, index, axis_name="part"), axis_name="part")(*split)
    np.testing.assert_allclose(y.reshape(SHAPE), moment_exchange(X, REPEATED), rtol=0, atol=1e-12)
