"""When to restart: to fit the present solution with a network of fresh random weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LIMITS = {"residual": "rho_fresh", "d_eff": "d_eff", "cg_iters": "cg_iters"}
"""What `Restart.when` may watch, and under which name the history has it."""


@dataclass(frozen=True)
class Restart:
    """A policy for restarts (make one by `never`, `every`, `at`, `when` or `wallclock`).

    A restart resets the spectrum of M, and with it what the evolution has lost in conditioning, at the price of the
    error of one more fit: few restarts with a good fit serve best.

    Args:
        times: restart at these times.
        interval: restart whenever so much time of the problem has gone by.
        limits: pairs of a name and the value above which to restart.
        share: time for refits over time for steps.
        wait: time of the problem that must have gone by since the last restart, or the start, before a limit counts;
            a twentieth of the whole if None.
        tolerance: a refit whose relative error is above this is thrown away, with a warning.
    """

    times: tuple[float, ...] = ()
    interval: float | int | None = None
    limits: tuple[tuple[str, float | int], ...] = ()
    share: float | int | None = None
    wait: float | int | None = None
    tolerance: float | int = 0.05

    def __post_init__(self) -> None:
        given = {"interval": self.interval, "share": self.share, "tolerance": self.tolerance, **dict(self.limits)}
        for name, value in given.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} of a restart must be positive, but is {value}")

    @classmethod
    def never(cls) -> "Restart":
        """No restarts."""
        return cls()

    @classmethod
    def every(cls, dt: float | int, *, tolerance: float | int = 0.05) -> "Restart":
        """At t0 + dt, t0 + 2 dt, ..."""
        return cls(interval=dt, tolerance=tolerance)

    @classmethod
    def at(cls, times: Sequence[float | int], *, tolerance: float | int = 0.05) -> "Restart":
        """At the given times: a step ends exactly there."""
        return cls(times=tuple(sorted(float(t) for t in times)), tolerance=tolerance)

    @classmethod
    def when(
        cls,
        *,
        residual: float | int | None = None,
        d_eff: float | int | None = None,
        cg_iters: float | int | None = None,
        wait: float | int | None = None,
        tolerance: float | int = 0.05,
    ) -> "Restart":
        """When something has grown too large, looked at after every accepted step.

        Args:
            residual: the relative residual rho on fresh points.
            d_eff: the effective dimension of M at the regularisation in use.
            cg_iters: iterations of the conjugate gradients, the most of the stages.
            wait: see the class.
            tolerance: see the class.

        Raises:
            ValueError: if no limit is given, or one is not positive.
        """
        limits = {"residual": residual, "d_eff": d_eff, "cg_iters": cg_iters}
        given = tuple((name, value) for name, value in limits.items() if value is not None)
        if not given:
            raise ValueError(f"Restart.when needs at least one limit of {', '.join(limits)}")
        return cls(limits=given, wait=wait, tolerance=tolerance)

    @classmethod
    def wallclock(cls, frac: float | int = 0.5, *, tolerance: float | int = 0.05) -> "Restart":
        """When the steps since the last restart have taken 1/frac times as long as a refit takes on average.

        The policy of the authors' code (frac = 0.5). When it restarts depends on the machine and its load, so that
        two runs with the same key differ.
        """
        return cls(share=frac, tolerance=tolerance)

    def due(self, t0: float, t1: float) -> list[float]:
        """The times strictly between t0 and t1 at which a restart is known to happen."""
        times = [t for t in self.times if t0 < t < t1]
        if self.interval is not None:
            count = int(np.ceil((t1 - t0) / self.interval - 1e-9)) - 1
            times += [t0 + i * self.interval for i in range(1, count + 1)]
        return sorted(set(times))

    def fires(self, row: Mapping[str, Any], since: float, span: float, ratio: float) -> str | None:
        """Why to restart after the step that `row` of the history tells of, or None.

        Args:
            row: a row of the history.
            since: time of the problem since the last restart.
            span: the whole time of the problem.
            ratio: time of the clock since the last restart over the mean time of a fit.
        """
        if self.share is not None and ratio > 1 / self.share:
            return f"the steps have taken {ratio:.3g} times as long as a fit"
        if since < (span / 20 if self.wait is None else self.wait):
            return None
        for name, limit in self.limits:
            if (value := row[LIMITS[name]]) > limit:
                return f"{name} {value:.4g} is above {limit:.4g}"
        return None
