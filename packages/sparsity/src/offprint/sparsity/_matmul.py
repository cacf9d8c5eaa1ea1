"""Products with sparse kernels whose gradients stay in the format."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse
from jaxtyping import Array, Float

from offprint.sparsity import _block_xla
from offprint.sparsity.formats import BlockELL, NMPacked

Sparse = BlockELL | NMPacked
BACKENDS = ("auto", "xla", "pallas", "interpret")


def matmul(
    x: Float[Array | np.ndarray, "*batch features"],
    W: Any,
    *,
    transpose: bool = False,
    backend: str = "auto",
) -> Float[Array, "*batch out"]:
    """y = x @ W, or x @ W.T, for a sparse kernel W (in, out).

    The gradient with respect to `W.values` has the shape of the stored values and is computed at the stored positions
    only (`sddmm`); that with respect to x is the transposed product. Differentiate through the values:

        jax.grad(lambda values: loss(sp.matmul(x, W.with_values(values))))(W.values)

    Derivatives are of first order and in reverse mode (`jax.custom_vjp`).

    Args:
        x: inputs, (..., in), or (..., out) for the transposed product.
        W: `BlockELL`; `NMPacked`, which takes less memory but outside of the GPU kernel is unpacked first and so is
            no faster than a dense array; a `jax.experimental.sparse.BCSR`, sorted anew at every call, so that
            `BlockELL` with blocks of (1, 1) is the faster unstructured format; or a dense array.
        transpose: multiply by W.T.
        backend: `xla`, `pallas` (the Triton kernels, on an NVIDIA GPU), `interpret` (those kernels simulated, for
            tests), or `auto`: `pallas` on a GPU wherever sides and types fit the kernel, else `xla`.

    Raises:
        TypeError: W is of a format without a product (convert it with `BlockELL.from_dense(W.to_dense())`).
        ValueError: x does not fit W, unknown backend, or a kernel that cannot run as asked.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, but is {backend!r}")
    if not isinstance(W, BlockELL | NMPacked | sparse.BCSR | jax.Array) and not hasattr(W, "__array__"):
        raise TypeError(
            f"matmul multiplies by BlockELL, NMPacked, BCSR or an array, but got {type(W).__name__}; convert it with "
            "BlockELL.from_dense(W.to_dense())"
        )
    features, out = W.shape[::-1] if transpose else W.shape
    x = jnp.asarray(x)
    if x.ndim < 1 or x.shape[-1] != features:
        name = "W.T" if transpose else "W"
        raise ValueError(f"x must have {features} features for {name} of shape {(features, out)}, but is {x.shape}")
    if isinstance(W, sparse.BCSR):
        rows = x.reshape(-1, features).T
        # BCSR is fast from the left only, so this is (W.T @ x.T).T; W.T is sorted anew at every call.
        return (W @ rows if transpose else _bcsr_transposed(W) @ rows).T.reshape(*x.shape[:-1], out)
    if not isinstance(W, BlockELL | NMPacked):
        return x @ (jnp.asarray(W).T if transpose else jnp.asarray(W))
    product = _block_product if isinstance(W, BlockELL) else _nm_product
    rows = x.reshape(-1, features)
    return product(transpose, _chosen(backend, W, rows), rows, W.values, W.with_values(None)).reshape(
        *x.shape[:-1], out
    )


def sddmm(
    x: Float[Array | np.ndarray, "*batch in"],
    dy: Float[Array | np.ndarray, "*batch out"],
    like: Sparse,
    *,
    backend: str = "auto",
) -> Float[Array, "..."]:
    """x.T @ dy at the positions that `like` stores, in the shape of its values: the gradient of `matmul` in W.

    Args:
        x: inputs of the layer.
        dy: gradient with respect to its outputs.
        like: the kernel; its values are not used.
        backend: see `matmul`.

    Raises:
        TypeError: a format without a product.
        ValueError: x or dy do not fit the kernel or each other.
    """
    if not isinstance(like, BlockELL | NMPacked):
        raise TypeError(f"sddmm samples at the positions of a BlockELL or NMPacked, but got {type(like).__name__}")
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, but is {backend!r}")
    if (x.shape[-1], dy.shape[-1]) != tuple(like.shape) or x.shape[:-1] != dy.shape[:-1]:
        raise ValueError(
            f"x and dy must be (..., {like.shape[0]}) and (..., {like.shape[1]}) with the same axes before, but are "
            f"{x.shape} and {dy.shape}"
        )
    x, dy = jnp.asarray(x).reshape(-1, x.shape[-1]), jnp.asarray(dy).reshape(-1, dy.shape[-1])
    if isinstance(like, NMPacked):
        return _nm_sddmm(x, dy, like)
    return _block_sddmm(_chosen(backend, like, x), x, dy, like)


def _bcsr_transposed(W: sparse.BCSR) -> sparse.BCSR:
    return sparse.BCSR.from_bcoo(W.to_bcoo().T.sort_indices())


def _chosen(backend: str, W: Sparse, x: Array) -> str:
    """The backend that runs, decided while tracing."""
    if backend == "xla" or (backend == "auto" and jax.default_backend() != "gpu"):
        return "xla"
    from offprint.sparsity import _block_kernel, _nm_kernel

    problem = _block_kernel.misfit(W, x) if isinstance(W, BlockELL) else _nm_kernel.misfit(W, x)
    if problem is None:
        return "pallas" if backend == "auto" else backend
    if backend == "auto":
        return "xla"
    raise ValueError(f"the {backend} backend cannot run this product: {problem}; use backend='auto'")


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _block_product(transpose: bool, backend: str, x: Array, values: Array, layout: BlockELL) -> Array:
    kernel = layout.with_values(values)
    height, width = kernel.block
    dtype = jnp.result_type(x, values)
    x = _block_xla.fill(x.astype(dtype), width if transpose else height)
    if backend == "xla":
        y = _block_xla.block_matmul(x, kernel.with_values(values.astype(dtype)), transpose)
    else:
        from offprint.sparsity import _block_kernel

        y = _block_kernel.block_matmul(x, kernel, transpose, interpret=backend == "interpret")
    return y[:, : kernel.shape[0] if transpose else kernel.shape[1]]


def _block_sddmm(backend: str, x: Array, dy: Array, layout: BlockELL) -> Array:
    dtype = jnp.result_type(x, dy)
    x, dy = (_block_xla.fill(a.astype(dtype), side) for a, side in zip((x, dy), layout.block, strict=True))
    if backend == "xla":
        return _block_xla.block_sddmm(x, dy, layout)
    from offprint.sparsity import _block_kernel

    return _block_kernel.block_sddmm(x, dy, layout, interpret=backend == "interpret")


def _block_forward(
    transpose: bool, backend: str, x: Array, values: Array, layout: BlockELL
) -> tuple[Array, tuple[Array, Array, BlockELL]]:
    return _block_product(transpose, backend, x, values, layout), (x, values, layout)


def _block_backward(
    transpose: bool, backend: str, saved: tuple[Array, Array, BlockELL], dy: Array
) -> tuple[Array, Array, None]:
    x, values, layout = saved
    dx = _block_product(not transpose, backend, dy, values, layout)
    dvalues = _block_sddmm(backend, *((dy, x) if transpose else (x, dy)), layout)
    return dx.astype(x.dtype), dvalues.astype(values.dtype), None


_block_product.defvjp(_block_forward, _block_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _nm_product(transpose: bool, backend: str, x: Array, values: Array, layout: NMPacked) -> Array:
    kernel = layout.with_values(values)
    if backend == "xla" or transpose:  # the transposed product reduces over the other axis: unpack
        return x @ (kernel.to_dense().T if transpose else kernel.to_dense())
    from offprint.sparsity import _nm_kernel

    return _nm_kernel.nm_matmul(x, kernel, interpret=backend == "interpret")


def _nm_sddmm(x: Array, dy: Array, layout: NMPacked) -> Array:
    """Picked from the dense product: every entry of a group may be stored, so nothing is saved by computing fewer."""
    places = layout.places()
    padded = jnp.pad(x, ((0, 0), (0, places.shape[1] * layout.m - x.shape[1])))
    product = (padded.T @ dy).reshape(places.shape[1], layout.m, -1)
    return jnp.take_along_axis(product[None], places[:, :, None], axis=2)[:, :, 0]


def _nm_forward(
    transpose: bool, backend: str, x: Array, values: Array, layout: NMPacked
) -> tuple[Array, tuple[Array, Array, NMPacked]]:
    return _nm_product(transpose, backend, x, values, layout), (x, values, layout)


def _nm_backward(
    transpose: bool, backend: str, saved: tuple[Array, Array, NMPacked], dy: Array
) -> tuple[Array, Array, None]:
    x, values, layout = saved
    dx = _nm_product(not transpose, backend, dy, values, layout)
    dvalues = _nm_sddmm(*((dy, x) if transpose else (x, dy)), layout)
    return dx.astype(x.dtype), dvalues.astype(values.dtype), None


_nm_product.defvjp(_nm_forward, _nm_backward)
