"""Fitting the network to a function: the initial condition, or the present solution at a restart."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._samplers import Sampler, Uniform
from offprint.neural_ivp._target import Target, as_target, check_finite_target, target_values

ERROR_POINTS = 10_000


@dataclass(frozen=True)
class FitReport:
    """How well a fit went, measured on fresh uniform points."""

    rms: float
    """√(mean over points of the sum over fields of (u - target)²)."""
    relative: float
    """`rms` divided by that of the target itself."""
    fields: tuple[float, ...]
    """The rms error of each field."""
    steps: int
    """Steps done."""
    history: tuple[float, ...]
    """The relative error on the points of each step (or of each row of the log, with Adam)."""


@runtime_checkable
class Fit(Protocol):
    """A way to fit: `fit(apply, theta, target, key, t=...)` gives new weights and a report."""

    def __call__(
        self, apply: Functional, theta: Float[Array, " p"], target: Target, key: PRNGKeyArray, *, t: Any = 0.0
    ) -> tuple[Float[Array, " p"], FitReport]: ...


@partial(jax.jit, static_argnames=("apply", "sampler"))
def _values_at(
    apply: Functional, sampler: Sampler, theta: Array, target: Partial, key: PRNGKeyArray, t: Any
) -> tuple[Array, Array, Array]:
    x, _ = sampler.sample(key, apply, theta, t)
    return x, target_values(target, x, apply.n_fields), apply.values(theta, x, t)


class FitError(NamedTuple):
    """The error of a network as an approximation of a function."""

    rms: float
    relative: float
    fields: tuple[float, ...]


def fit_error(
    apply: Functional, theta: Float[Array, " p"], target: Target, key: PRNGKeyArray, *, t: Any = 0.0
) -> FitError:
    """RMS and relative error of u(·, t; θ) against a target on 10 000 uniform points.

    Args:
        apply: the network.
        theta: its weights.
        target: from a point (d,) to the fields (k,).
        key: where the points are drawn from.
        t: the time.

    Returns:
        The rms error (see `FitReport`), the relative one, which is the rms error itself if the target is 0, and the
        rms error of each field.

    Raises:
        ValueError: the target has another number of fields, or is not finite at a point.
    """
    x, wanted, u = _values_at(apply, Uniform(ERROR_POINTS), theta, as_target(target), key, t)
    check_finite_target(x, wanted)
    fields = np.sqrt(np.mean((np.asarray(u) - np.asarray(wanted)) ** 2, axis=0, dtype=float))
    rms = float(np.linalg.norm(fields))
    size = float(np.sqrt(np.mean(np.sum(np.asarray(wanted, float) ** 2, axis=1))))
    return FitError(rms, rms / size if size > 0 else rms, tuple(fields.tolist()))


def report(
    apply: Functional, theta: Array, target: Partial, key: PRNGKeyArray, t: Any, steps: int, history: list[float]
) -> FitReport:
    """The report of a fit that ended with θ."""
    return FitReport(*fit_error(apply, theta, target, key, t=t), steps, tuple(history))


def check_positive(**settings: float | int | None) -> None:
    """Raises: ValueError: a setting that is given is not positive."""
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} of a fit must be positive, but is {value}")
