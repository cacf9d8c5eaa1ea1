"""Input masks: the laws by which the input weights C of a recurrent network are drawn.

Every law is a function `law(key, N, *, channels=None, normalise=True, dtype=None, ...)`. It returns C of
shape (N,), or (N, channels) for an input of several channels; each column has Euclidean norm 1 unless
`normalise=False`. The memory of a linear network with distinct eigenvalues does not depend on the mask
(Ballarin, Grigoryeva and Ortega 2024); that of the common numerical estimates does.

All are jittable with N static. Errors: `ValueError` for N < 1, channels < 1, a density outside (0, 1].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.memory_capacity import _arguments as arguments

Mask = Float[Array, "N"] | Float[Array, "N channels"]


def normal(
    key: PRNGKeyArray,
    N: int,
    *,
    channels: int | None = None,
    normalise: bool = True,
    dtype: DTypeLike | None = None,
) -> Mask:
    """Independent standard normal entries."""
    return _finish(jax.random.normal(key, _shape(N, channels), _float(dtype)), normalise)


def uniform(
    key: PRNGKeyArray,
    N: int,
    *,
    channels: int | None = None,
    normalise: bool = True,
    dtype: DTypeLike | None = None,
) -> Mask:
    """Independent entries uniform on (-1, 1)."""
    C = jax.random.uniform(key, _shape(N, channels), _float(dtype), minval=-1, maxval=1)
    return _finish(C, normalise)


def sparse(
    key: PRNGKeyArray,
    N: int,
    *,
    density: float | int = 0.1,
    channels: int | None = None,
    normalise: bool = True,
    dtype: DTypeLike | None = None,
) -> Mask:
    """Standard normal at `round(density * N)` neurons (at least one) drawn for each channel, else zero."""
    shape, density = _shape(N, channels), arguments.fraction("density", density)
    weights, places = jax.random.split(key)
    # The neurons whose draws rank first: a set of that size, uniform among all.
    ranks = jnp.argsort(jnp.argsort(jax.random.uniform(places, shape), axis=0), axis=0)
    chosen = ranks < max(1, round(density * N))
    return _finish(jax.random.normal(weights, shape, _float(dtype)) * chosen, normalise)


def signs(
    key: PRNGKeyArray,
    N: int,
    *,
    channels: int | None = None,
    normalise: bool = True,
    dtype: DTypeLike | None = None,
) -> Mask:
    """Entries of one size and random sign, the mask of the simple cycle reservoir."""
    return _finish(jax.random.rademacher(key, _shape(N, channels), _float(dtype)), normalise)


def ones(
    key: PRNGKeyArray | None,
    N: int,
    *,
    channels: int | None = None,
    normalise: bool = True,
    dtype: DTypeLike | None = None,
) -> Mask:
    """All entries equal. The key is unused."""
    return _finish(jnp.ones(_shape(N, channels), _float(dtype)), normalise)


def unit_vector(
    key: PRNGKeyArray | None,
    N: int,
    *,
    index: int = 0,
    channels: int | None = None,
    normalise: bool = True,
    dtype: DTypeLike | None = None,
) -> Mask:
    """Input to one neuron: `index` for the first channel, the next neurons for the next. The key is unused."""
    shape = _shape(N, channels)
    if not 0 <= index < N:
        raise ValueError(f"index={index} for N={N}; an index from 0 to {N - 1} is needed.")
    C = jnp.zeros((N, channels or 1), _float(dtype))
    column = np.arange(channels or 1)
    return _finish(C.at[(index + column) % N, column].set(1).reshape(shape), normalise)


LAWS: dict[str, Callable[..., Array]] = {
    law.__name__: law for law in (normal, uniform, sparse, signs, ones, unit_vector)
}
"""The laws by name, each callable as `law(key, N)`."""


def _shape(N: int, channels: int | None) -> tuple[int, ...]:
    size = arguments.count("N", N)
    return (size,) if channels is None else (size, arguments.count("channels", channels))


def _float(dtype: DTypeLike | None) -> np.dtype:
    return np.dtype(jnp.result_type(float) if dtype is None else dtype)


def _finish(C: Mask, normalise: bool) -> Mask:
    return C / jnp.linalg.norm(C, axis=0, keepdims=C.ndim > 1) if normalise else C
