"""The GPU kernels: simulated against NumPy, and lowered for CUDA, which needs no device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.sparsity._block_kernel import misfit
from offprint.sparsity._matmul import matmul, sddmm
from offprint.sparsity.formats import BlockELL, NMPacked


def kernel_of(block, dtype):
    rng = np.random.default_rng(0)
    keep = rng.random((3, 4)) < 0.4
    keep[:, 1] = False
    array = np.kron(keep, np.ones(block)) * rng.normal(size=(3 * block[0], 4 * block[1]))
    array = array[:-5, :-3].astype(dtype)  # the last blocks stand over the edge
    return array, BlockELL.from_dense(array, block=block)


@pytest.mark.parametrize(("block", "batch"), [((16, 32), 37), ((64, 16), 5)])
def test_block_kernels(block, batch):
    array, kernel = kernel_of(block, np.float32)
    rng = np.random.default_rng(1)
    x, dy = (rng.normal(size=(batch, side)).astype(np.float32) for side in array.shape)

    @jax.jit
    def products(x, dy, kernel):
        y, pull = jax.vjp(lambda x, v: matmul(x, kernel.with_values(v), backend="interpret"), x, kernel.values)
        return y, *pull(dy), sddmm(x, dy, kernel, backend="xla")

    y, dx, dw, expected = products(x, dy, kernel)
    np.testing.assert_allclose(y, x @ array, atol=1e-4)
    np.testing.assert_allclose(dx, dy @ array.T, atol=1e-4)
    np.testing.assert_allclose(dw, expected, atol=1e-4)


@pytest.mark.parametrize(("n", "m", "rows"), [(2, 4, 510), (3, 5, 640)])
def test_nm_kernel(n, m, rows):
    rng = np.random.default_rng(2)
    mask = (np.argsort(rng.random((-(-rows // m), m, 64)), axis=1) < n).reshape(-1, 64)[:rows]
    array = np.where(mask, rng.normal(size=mask.shape), 0).astype(np.float32)
    kernel = NMPacked.from_dense(array, mask, n=n, m=m)
    x = rng.normal(size=(3, rows)).astype(np.float32)
    y = jax.jit(lambda x, w: matmul(x, w, backend="interpret"))(x, kernel)
    np.testing.assert_allclose(y, x @ array, atol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_kernels_lower_for_cuda(dtype):
    """Lowering runs Pallas's rules for Triton; whether Triton compiles the result only a GPU can tell."""

    def step(x, dy, block, nm):
        y, pull = jax.vjp(lambda x, v: matmul(x, block.with_values(v), backend="pallas"), x, block.values)
        return y, *pull(dy), matmul(x, nm, backend="pallas")

    array = np.zeros((512, 128), dtype)
    array[:64] = 1
    block = BlockELL.from_dense(array, block=(64, 64))
    nm = NMPacked.from_dense(array, np.arange(512)[:, None] % 2 + np.zeros((1, 128)) == 0)
    x, dy = np.ones((100, 512), dtype), np.ones((100, 128), dtype)
    lowered = jax.jit(step).trace(x, dy, block, nm).lower(lowering_platforms=("cuda",))
    assert lowered.as_text().count("__gpu$xla.gpu.triton") == 4  # forward, dx, dW, n:m


def test_what_the_kernels_do_not_take():
    x = jnp.ones((2, 16), np.float32)
    for block, dtype, message in (
        ((8, 16), np.float32, "sides of 16, 32"),
        ((16, 48), np.float32, "sides of 16, 32"),
        ((256, 16), np.float32, "sides of 16, 32"),
        ((16, 16), np.float64, "float64"),
    ):
        kernel = BlockELL.from_dense(np.ones((16, 16), dtype), block=block)
        assert message in misfit(kernel, x)
    nm = NMPacked.from_dense(np.eye(64, dtype=np.float32))
    with pytest.raises(ValueError, match="multiple of 128, but are 16; use backend='auto'"):
        matmul(np.ones((2, 64), np.float32), nm, backend="pallas")
