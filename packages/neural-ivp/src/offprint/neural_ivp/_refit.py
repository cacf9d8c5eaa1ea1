"""Fits of a run: of the initial condition, and of the present solution at each restart."""

import time
import warnings
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.neural_ivp._fit import Fit, fit_error
from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._head import head_tune
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._target import Target, snapshot

Record = dict[str, Any]
"""Of a fit: time `t`, `reason`, relative `error`, whether it was `kept`, and how many `seconds` it took."""


@dataclass(frozen=True)
class Fitter:
    """The fits of one run.

    Args:
        problem: the problem.
        apply: the network.
        fit: how to fit; None leaves the first weights as they are.
        tune_head: overwrite the last layer by ridge regression after each fit, where that lowers the error.
        key: the fit number i draws from it and i.
        tolerance: the largest relative error of a refit.
    """

    problem: Problem
    apply: Functional
    fit: Fit | None
    tune_head: bool
    key: PRNGKeyArray
    tolerance: float | int

    def first(self, theta: Float[Array, " p"], t: float) -> tuple[Float[Array, " p"], Record]:
        """The initial condition, fitted from the weights given."""
        began = time.monotonic()
        if self.fit is None:
            return theta, {"t": t, "reason": "as given", "error": None, "kept": True, "seconds": 0.0}
        theta, error = self._fitted(theta, self.problem.ic, jax.random.fold_in(self.key, 0), t)
        return theta, _record(t, "initial condition", error, True, began)

    def again(self, theta: Float[Array, " p"], t: float, number: int, reason: str) -> tuple[Float[Array, " p"], Record]:
        """The present solution u(., t; theta), fitted from new random weights.

        Args:
            theta: the present weights.
            t: the time.
            number: of the fit; 0 was the first one.
            reason: why, for the record.

        Returns:
            The new weights, or the old ones if the fit was not good enough; and the record.
        """
        assert self.fit is not None
        began = time.monotonic()
        draw, run = jax.random.split(jax.random.fold_in(self.key, number))
        fitted, error = self._fitted(self.apply.init(draw), snapshot(self.apply, theta, t), run, t)
        kept = bool(jnp.isfinite(fitted).all()) and error <= self.tolerance
        if not kept:
            warnings.warn(
                f"the refit at t = {t:.6g} has a relative error of {error:.3g}, above the tolerance "
                f"{self.tolerance:g}: the old weights are kept. A longer fit, or a larger network, is needed",
                stacklevel=2,
            )
        return (fitted if kept else theta), _record(t, reason, error, kept, began)

    def _fitted(self, theta: Array, target: Target, key: PRNGKeyArray, t: float) -> tuple[Array, float]:
        """The fit, and its relative error."""
        assert self.fit is not None
        theta, report = self.fit(self.apply, theta, target, key, t=t)
        if not self.tune_head:
            return theta, report.relative
        tune_key, test_key = jax.random.split(jax.random.fold_in(key, 1))
        tuned = head_tune(self.apply, theta, target, tune_key, t=t)
        before, after = (fit_error(self.apply, weights, target, test_key, t=t).relative for weights in (theta, tuned))
        return (tuned, after) if after < before else (theta, before)


def _record(t: float, reason: str, error: float, kept: bool, began: float) -> Record:
    seconds = time.monotonic() - began
    return {"t": t, "reason": reason, "error": float(error), "kept": kept, "seconds": seconds}
