"""Arguments at the public boundary: converted once, checked once, with one clear error each.

Shapes and types are always checked; values (finite, not constant, ...) only where they are known, so
that every public function can be traced by `jax.jit`, `jax.vmap` and `jax.grad`.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from offprint.memory_capacity._network import check_count, check_matrix


def is_concrete(*arrays: Any) -> bool:
    """Whether the values of all the arrays are known, that is, whether none of them is being traced."""
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def real_array(name: str, value: ArrayLike) -> Array:
    """The value as a real floating-point array, or a `ValueError` that names it."""
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} is complex ({array.dtype}, shape {array.shape}); a real array is needed.")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    # NumPy: inside jax.jit an operation of JAX is traced even where its operand is known.
    if is_concrete(array) and (bad := int(np.sum(~np.isfinite(np.asarray(array))))):
        raise ValueError(f"{name} of shape {array.shape} has {bad} entries that are NaN or infinite.")
    return array


def network(A: ArrayLike, C: ArrayLike) -> tuple[Array, Array]:
    """A reservoir matrix (N, N) and its mask as a matrix (N, m), in one floating-point type."""
    matrix, mask = check_matrix(A), real_array("C", C)
    size = matrix.shape[0]
    if mask.ndim not in (1, 2) or mask.shape[0] != size:
        raise ValueError(
            f"C has shape {mask.shape} where A has shape {matrix.shape}; "
            f"a mask of shape ({size},), or ({size}, m) for m input channels, is needed."
        )
    dtype = jnp.result_type(matrix, mask)
    return matrix.astype(dtype), mask.reshape(size, -1).astype(dtype)


def drive(z: ArrayLike, channels: int) -> Array:
    """Input series as a matrix (T, channels)."""
    series = real_array("z", z)
    if series.ndim not in (1, 2) or series.shape[1:] not in ((), (channels,)):
        raise ValueError(
            f"z has shape {series.shape} where C has {channels} input channel(s); "
            f"(T, {channels}){' or (T,)' if channels == 1 else ''} is needed."
        )
    if series.ndim == 1 and channels != 1:
        raise ValueError(
            f"z has shape {series.shape} where C has {channels} input channels; (T, {channels}) is needed."
        )
    return series.reshape(series.shape[0], channels)


def samples(states: ArrayLike, inputs: ArrayLike) -> tuple[Array, Array]:
    """Measured states (T, N) and the scalar input series (T,) that drove them, in one floating-point type."""
    X, z = real_array("states", states), real_array("inputs", inputs)
    if X.ndim != 2:
        raise ValueError(f"states has shape {X.shape}; a matrix (T, N) of T samples of N neurons is needed.")
    if z.ndim == 2 and z.shape[1] == 1:
        z = z[:, 0]
    if z.ndim != 1:
        raise ValueError(
            f"inputs has shape {z.shape}; one channel (T,) is needed. For several channels use jax.vmap over them."
        )
    if X.shape[0] != z.shape[0] and X.shape[1] == z.shape[0]:
        raise ValueError(
            f"states has shape {X.shape} and inputs {z.shape}: the states seem to be transposed. "
            "Pass states.T, so that row t is the state that input t drove."
        )
    if X.shape[0] != z.shape[0]:
        raise ValueError(
            f"states has {X.shape[0]} samples and inputs has {z.shape[0]}; they must be the same samples. "
            "After simulate(A, C, z, washout=w) pass z[w:]."
        )
    if is_concrete(z) and z.size and np.ptp(np.asarray(z)) == 0:
        raise ValueError(f"inputs is constant (all {z.size} values are {np.asarray(z)[0]:g}): its variance is zero.")
    dtype = jnp.result_type(X, z)
    return X.astype(dtype), z.astype(dtype)


def enough_samples(n_samples: int, n_neurons: int, dropped: int) -> None:
    """Refuses a regression on as many neurons as samples, where every capacity is 1 by interpolation."""
    if n_samples + dropped < n_neurons:
        raise ValueError(
            f"states has shape ({n_samples + dropped}, {n_neurons}), more neurons than samples: "
            "if it is transposed, pass states.T; rows are samples, columns are neurons."
        )
    if n_samples <= n_neurons + 1:
        raise ValueError(
            f"{n_samples} samples are left after {dropped} are used as history, for {n_neurons} neurons: "
            "the regression interpolates and every capacity is 1. Many more samples than neurons are needed."
        )


def one_of(name: str, value: str, allowed: Iterable[str]) -> str:
    """The value, if it is one of the allowed ones."""
    names = list(allowed)
    if value not in names:
        raise ValueError(f"{name}={value!r} is unknown; one of {', '.join(map(repr, names))} is needed.")
    return value


def count(name: str, value: int, least: int = 1) -> int:
    """A whole number that is at least `least`, which is 1 for most."""
    return check_count(name, value, least)


def fraction(name: str, value: Any) -> Any:
    """A number, or a scalar array, in (0, 1]."""
    if is_concrete(value) and not 0 < float(value) <= 1:
        raise ValueError(f"{name}={value!r}; a number in (0, 1] is needed.")
    return value
