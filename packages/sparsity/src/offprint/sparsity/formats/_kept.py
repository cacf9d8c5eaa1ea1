"""What every format starts from: the positions that a mask keeps, known on the host."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LIMIT = 2**31
"""Positions are int32, so an array must have fewer entries than this."""


def kept(dense: Any, mask: Any, name: str) -> np.ndarray:
    """The mask as booleans of NumPy; without one, where `dense` is not zero.

    The values may be traced, the mask not: how many entries a format holds is the shape of its arrays.
    """
    if mask is None:
        if isinstance(dense, jax.core.Tracer):
            raise ValueError(
                f"{name}.from_dense needs to know which entries are zero: give it a mask that is not traced, or "
                "call it outside of jit, vmap and grad"
            )
        mask = np.asarray(dense) != 0
    elif isinstance(mask, jax.core.Tracer):
        raise ValueError(f"{name}.from_dense needs a mask that is known, not one traced by jit, vmap or grad")
    found = np.asarray(mask)
    if found.shape != tuple(dense.shape):
        raise ValueError(f"the mask must have the shape {tuple(dense.shape)} of the array, but has {found.shape}")
    if found.ndim == 0:
        raise ValueError(f"{name}.from_dense needs an array of at least one axis, but got a number")
    if found.size >= LIMIT:
        raise ValueError(f"{name} holds arrays of fewer than 2^31 entries, but this has {found.size}")
    return found != 0


def matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of an array seen as a matrix: the last axis is the columns."""
    columns = shape[-1]
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows, columns


def kernel_matrix(dense: Any, name: str) -> None:
    """Raise unless `dense` is a dense kernel (in, out)."""
    if dense.ndim != 2:
        raise ValueError(
            f"{name} holds kernels of a dense layer, (in, out), but got shape {tuple(dense.shape)}; reshape a "
            "convolution's kernel to (height * width * in, out) for storage"
        )


def on_host(dense: Any) -> tuple[Any, Any]:
    """The values and the module that computes with them: NumPy unless they are traced, so nothing is compiled."""
    return (dense, jnp) if isinstance(dense, jax.core.Tracer) else (np.asarray(dense), np)


def at(dense: Any, flat: np.ndarray) -> jax.Array:
    """The entries at flat row-major positions."""
    return jnp.asarray(on_host(dense)[0].reshape(-1)[flat])


def value_bits(values: Any, bits: int | None) -> int:
    """`bits`, or those of the type of the values."""
    return 8 * np.dtype(values.dtype).itemsize if bits is None else bits
