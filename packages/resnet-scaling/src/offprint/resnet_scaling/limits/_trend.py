"""The trends Ā and b̄ of the weights, as functions of the rescaled layer t = k/L."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

Trend = Callable[[Any], Any] | Array | np.ndarray
"""A function of t in [0, 1], or an array of N values at t = k/N, taken as linear in between."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Curve:
    """A trend as a pytree: a program compiled for one curve serves every array of that shape, and the same function."""

    values: Any  # (N, ...), or None; JAX also puts other leaves in, as it does in every pytree
    function: Callable[[Any], Any] | None = field(metadata={"static": True})
    dtype: Any = field(metadata={"static": True})

    def __call__(self, t: Array) -> Array:
        if self.function is not None:
            return jnp.asarray(self.function(t), self.dtype)
        # Linear in between, constant from the last value on: the layers of a network, A_k at k/L, are such an array.
        last = self.values.shape[0] - 1
        place = jnp.clip(t * (last + 1), 0, last)
        left = jnp.floor(place).astype(int)
        weight = (place - left).astype(self.dtype)
        return (1 - weight) * self.values[left] + weight * self.values[jnp.minimum(left + 1, last)]


def as_curve(trend: Trend, name: str, shape: tuple[int, ...], dtype: Any) -> Curve:
    """The trend as a function of t with values of `shape` and `dtype`.

    Raises:
        ValueError: where the values have another shape.
    """
    if callable(trend):
        what, found = f"{name}(0)", jnp.shape(trend(jnp.zeros((), dtype)))
    elif trend.ndim == 0 or trend.shape[0] < 1:
        raise ValueError(f"{name} must be a function of t or hold at least one value, got shape {trend.shape}")
    else:
        what, found = f"each entry of {name}", tuple(trend.shape[1:])
    if found != shape:
        raise ValueError(f"{what} must have shape {shape} to match a width of {shape[-1]}, got shape {found}")
    return Curve(None, trend, dtype) if callable(trend) else Curve(jnp.asarray(trend, dtype), None, dtype)


def as_floating(x: ArrayLike) -> Array:
    """An array of floating-point numbers, of the dtype that it has if that is one."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
