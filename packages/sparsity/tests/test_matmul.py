"""Products with sparse kernels and their gradients, against dense arrays in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import sparse

from offprint.sparsity import _block_xla
from offprint.sparsity._matmul import matmul, sddmm
from offprint.sparsity.formats import CSR, BlockELL, NMPacked

IN, OUT, BATCH = 40, 56, 11  # the batch is above the one up to which tables are multiplied at once


def block_sparse(rng, block, density=0.3):
    """A kernel with zeros in whole blocks, an empty column of blocks and an empty row."""
    keep = rng.random((-(-IN // block[0]), -(-OUT // block[1]))) < density
    keep[:, 1] = keep[2] = False
    mask = np.kron(keep, np.ones(block, bool))[:IN, :OUT]
    return np.where(mask, rng.normal(size=(IN, OUT)), 0), mask


def kernels():
    rng = np.random.default_rng(0)
    for block in ((8, 8), (3, 5), (1, 1)):
        array, mask = block_sparse(rng, block)
        yield f"block{block}", array, mask, BlockELL.from_dense(array, mask, block=block)
    mask = (np.argsort(rng.random((IN // 4, 4, OUT)), axis=1) < 2).reshape(IN, OUT)
    array = np.where(mask, rng.normal(size=(IN, OUT)), 0)
    yield "nm", array, mask, NMPacked.from_dense(array, mask)


KERNELS = {name: rest for name, *rest in kernels()}


@jax.jit
def everything(x, dy, kernel):
    """All products with one kernel, and the gradients of both ways round."""

    def loss(x, values, transpose):
        y = matmul(x, kernel.with_values(values), transpose=transpose)
        return (y * (x_of[not transpose])).sum()

    x_of = {False: x, True: dy}
    gradients = {
        transpose: jax.grad(loss, (0, 1))(x_of[transpose], kernel.values, transpose) for transpose in (False, True)
    }
    return matmul(x, kernel), matmul(dy, kernel, transpose=True), sddmm(x, dy, kernel), gradients


@pytest.mark.parametrize("name", KERNELS)
def test_products_and_gradients(name):
    array, mask, kernel = KERNELS[name]
    rng = np.random.default_rng(1)
    x, dy = rng.normal(size=(BATCH, IN)), rng.normal(size=(BATCH, OUT))
    y, dx, dw, gradients = everything(x, dy, kernel)
    np.testing.assert_allclose(y, x @ array, atol=1e-12)
    np.testing.assert_allclose(dx, dy @ array.T, atol=1e-12)
    stored = np.asarray(kernel.with_values(dw).to_dense())
    np.testing.assert_allclose(stored, np.where(mask, x.T @ dy, 0), atol=1e-12)
    for transpose in (False, True):
        np.testing.assert_allclose(gradients[transpose][0], x @ array if transpose else dy @ array.T, atol=1e-12)
        np.testing.assert_allclose(gradients[transpose][1], dw, atol=1e-12)


def test_gradient_is_the_finite_difference():
    _, _, kernel = KERNELS["block(3, 5)"]
    rng = np.random.default_rng(2)
    x, direction = rng.normal(size=(BATCH, IN)), rng.normal(size=kernel.values.shape)

    @jax.jit
    def loss(values):
        return jnp.tanh(matmul(x, kernel.with_values(values))).sum()

    step = 1e-6
    values = np.asarray(kernel.values)
    difference = (loss(values + step * direction) - loss(values - step * direction)) / (2 * step)
    np.testing.assert_allclose((jax.jit(jax.grad(loss))(values) * direction).sum(), difference, rtol=1e-7)


def test_small_batch_vmap_and_leading_axes():
    array, _, kernel = KERNELS["block(8, 8)"]
    rng = np.random.default_rng(3)
    few, many = rng.normal(size=(2, 3, IN)), rng.normal(size=(2, 3, BATCH, IN))
    stack = rng.normal(size=(2, *kernel.values.shape))

    @jax.jit
    def products(few, many, stack):
        def by_values(x, values):
            return matmul(x, kernel.with_values(values))

        one_by_one = KERNELS["block(1, 1)"][2]
        unstructured = jax.vmap(lambda x: matmul(x, one_by_one))(many[0]), matmul(few, one_by_one)
        return matmul(few, kernel), matmul(few[0, 0], kernel), jax.vmap(by_values)(many, stack), unstructured

    found, one, mapped, unstructured = products(few, many, stack)
    np.testing.assert_allclose(found, few @ array, atol=1e-12)
    np.testing.assert_allclose(one, few[0, 0] @ array, atol=1e-12)
    for product, x in zip(unstructured, (many[0], few), strict=True):
        np.testing.assert_allclose(product, x @ KERNELS["block(1, 1)"][0], atol=1e-12)
    dense = np.stack([np.asarray(kernel.with_values(values).to_dense()) for values in stack])
    np.testing.assert_allclose(mapped, many @ dense[:, None], atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_types_are_those_of_dense_products(name):
    _, _, kernel = KERNELS[name]
    x = np.ones((BATCH, IN), np.float32)

    def types(x, values):
        y, pull = jax.vjp(lambda x, v: matmul(x, kernel.with_values(v)), x, values)
        return y, *pull(y)

    shapes = jax.eval_shape(types, x, kernel.values.astype(np.float32))
    assert [shape.dtype for shape in shapes] == [np.float32] * 3
    half = jax.eval_shape(types, x.astype(jnp.bfloat16), kernel.values.astype(jnp.bfloat16))
    assert [shape.dtype for shape in half] == [jnp.bfloat16] * 3
    shapes = jax.eval_shape(types, x.astype(jnp.bfloat16), kernel.values.astype(np.float32))
    assert [shape.dtype for shape in shapes] == [np.float32, jnp.bfloat16, np.float32]


def test_dense_and_bcsr():
    array, _, _ = KERNELS["block(3, 5)"]
    x, dy = np.ones((2, 3, IN)), np.ones((4, OUT))
    bcsr = sparse.BCSR.fromdense(array)
    products = jax.jit(lambda x, dy, w, s: (matmul(x, w), matmul(x, s), matmul(dy, w, transpose=True)))
    found = (*products(x, dy, array, bcsr), matmul(dy, bcsr, transpose=True))
    for product, expected in zip(found, (x @ array, x @ array, dy @ array.T, dy @ array.T), strict=True):
        np.testing.assert_allclose(product, expected, atol=1e-12)


def test_sharded_over_the_batch():
    """Eight devices, each with a part of the batch: the same product, and nothing travels."""
    array, _, kernel = KERNELS["block(8, 8)"]
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    placed = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = np.random.default_rng(4).normal(size=(96, IN))
    product = jax.jit(matmul, in_shardings=(placed, None), out_shardings=placed).lower(x, kernel).compile()
    assert not any(name in product.as_text() for name in ("all-gather", "all-reduce", "all-to-all", "permute"))
    np.testing.assert_allclose(product(jax.device_put(x, placed), kernel), x @ array, atol=1e-12)


def test_steps_divide_the_lines_of_a_table():
    for count in (1, 2, 3, 7, 16, 18, 64):
        step = _block_xla._step(count)
        assert count % step == 0
        assert step <= 4
        assert step < count or count == 1


KERNEL = BlockELL.from_dense(np.ones((32, 16)), block=(16, 16))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: matmul(np.ones((2, 16)), KERNEL), ValueError, "x must have 32 features for W of shape"),
        (lambda: matmul(np.ones((2, 32)), KERNEL, transpose=True), ValueError, "x must have 16 features for W.T"),
        (lambda: matmul(np.float64(1.0), KERNEL), ValueError, "x must have 32 features"),
        (lambda: matmul(np.ones((2, 32)), KERNEL, backend="cuda"), ValueError, "backend must be one of auto"),
        (lambda: matmul(np.ones((2, 4)), CSR.from_dense(np.eye(4))), TypeError, "convert it with BlockELL"),
        (lambda: matmul(np.ones((2, 32)), KERNEL, backend="interpret"), ValueError, "the type here is float64"),
        (lambda: sddmm(np.ones((2, 32)), np.ones((2, 32)), KERNEL), ValueError, r"must be \(..., 32\)"),
        (lambda: sddmm(np.ones((2, 32)), np.ones((3, 16)), KERNEL), ValueError, "the same axes before"),
        (lambda: sddmm(np.ones((2, 4)), np.ones((2, 4)), np.eye(4)), TypeError, "but got ndarray"),
        (lambda: sddmm(np.ones((2, 32)), np.ones((2, 16)), KERNEL, backend="x"), ValueError, "backend must be"),
    ],
)
def test_bad_input(call, error, message, unchecked_types):
    with pytest.raises(error, match=message):
        call()
