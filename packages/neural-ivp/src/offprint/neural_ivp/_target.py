"""What a network is fitted to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from offprint.neural_ivp._functional import Functional

Target = Callable[[Array], Array]
"""From a point (d,) to the fields (k,)."""


@dataclass(frozen=True)
class _At:
    """A network as a function of its weights, the time and a point."""

    apply: Functional

    def __call__(self, theta: Array, t: Array, x: Array) -> Array:
        return self.apply(theta, x, t)


def snapshot(apply: Functional, theta: Float[Array | np.ndarray, " p"], t: Any = 0.0) -> Partial:
    """x -> u(x, t; θ) as a target: a refit to it does not compile anew for other weights or times.

    Args:
        apply: the network.
        theta: its weights.
        t: the time.
    """
    return Partial(_At(apply), jnp.asarray(theta), jnp.asarray(t, jnp.result_type(float)))


def as_target(target: Target) -> Partial:
    """The target as a pytree, so that it can be an argument of a compiled function."""
    return target if isinstance(target, Partial) else Partial(target)


def target_values(target: Partial, x: Float[Array, "n d"], n_fields: int) -> Float[Array, "n k"]:
    """The target at the points.

    Raises:
        ValueError: it does not have the network's number of fields.
    """
    values = jax.vmap(target)(x)
    if values.shape != (len(x), n_fields):
        raise ValueError(
            f"the target must map a point of shape {x.shape[1:]} to the {n_fields} fields of the network, shape "
            f"({n_fields},), but gives {values.shape[1:]}"
        )
    return values


def check_finite_target(x: Float[Array, "n d"], values: Float[Array, "n k"]) -> None:
    """Raises: ValueError: with the first point where the target is NaN or infinite."""
    if isinstance(values, jax.core.Tracer):
        return
    bad = ~np.isfinite(np.asarray(values)).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"the target of the fit is {np.asarray(values)[first].tolist()} at x={np.asarray(x)[first].tolist()} "
            f"({int(bad.sum())} of {len(x)} points are not finite); it must be finite in the whole domain"
        )
