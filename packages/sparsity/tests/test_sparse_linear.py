"""The NNX layer whose kernel is stored in a sparse format."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from offprint.sparsity.nnx._sparse_linear import SparseLinear

RNG = np.random.default_rng(0)
MASKS = {
    "block": np.kron(RNG.random((4, 3)) < 0.4, np.ones((8, 8), bool)),
    "nm": np.arange(32)[:, None] % 4 < np.full((1, 24), 2),
}


@pytest.mark.parametrize("format", MASKS)
def test_same_as_the_masked_linear_in_output_and_gradient(format):
    linear = nnx.Linear(32, 24, rngs=nnx.Rngs(0))
    linear.bias[...] = jnp.arange(24, dtype=jnp.float32)
    mask = MASKS[format]
    layer = SparseLinear.from_linear(linear, mask, format=format, block=(8, 8))
    x = RNG.normal(size=(2, 5, 32)).astype(np.float32)

    @nnx.jit
    def both(layer, linear, x):
        linear.kernel[...] = linear.kernel[...] * mask
        grads = nnx.grad(lambda m, x: (m(x) ** 2).sum())(layer, x), nnx.grad(lambda m, x: (m(x) ** 2).sum())(linear, x)
        return layer(x), linear(x), grads

    ours, theirs, (grads, dense_grads) = both(layer, linear, x)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(layer.dense(), linear.kernel[...], atol=1e-7)
    gradient = layer.weight().with_values(grads["values"][...]).to_dense()
    np.testing.assert_allclose(gradient, dense_grads["kernel"][...] * mask, atol=1e-2, rtol=1e-4)


def test_trains_with_parameters_of_the_stored_size():
    layer = SparseLinear(32, 24, mask=MASKS["block"], block=(8, 8), use_bias=False, rngs=nnx.Rngs(1))
    assert jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(layer, nnx.Param))) == {
        "values": (MASKS["block"].sum() // 64, 8, 8)
    }
    optimizer = nnx.Optimizer(layer, optax.adam(1e-2), wrt=nnx.Param)
    x = RNG.normal(size=(16, 32)).astype(np.float32)

    @nnx.jit
    def step(layer, optimizer):
        loss, grads = nnx.value_and_grad(lambda m: ((m(x) - 1) ** 2).mean())(layer)
        optimizer.update(layer, grads)
        return loss

    losses = [float(step(layer, optimizer)) for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert not np.asarray(layer.dense())[~MASKS["block"]].any()
    graph, state = nnx.split(layer)
    np.testing.assert_array_equal(nnx.merge(graph, state).dense(), layer.dense())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csr"}, "format must be one of block, nm"),
        ({"mask": np.ones((32, 25), bool)}, "the shape of the kernel"),
        ({"format": "nm", "mask": np.ones((32, 24), bool)}, "make it with the pattern NM"),
    ],
)
def test_bad_input(options, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        SparseLinear(32, 24, **{"mask": MASKS["block"], "rngs": nnx.Rngs(0), **options})
