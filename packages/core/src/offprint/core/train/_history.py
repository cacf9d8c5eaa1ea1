"""What a run tells about itself: means over steps, evaluations, the check that all of it is finite."""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import jax.numpy as jnp
import numpy as np

from offprint.core.train._checkpoint import CheckpointFolder, to_json

State = TypeVar("State")
Row = dict[str, Any]


class NonFiniteError(FloatingPointError):
    """A metric that is NaN or infinite: it names the metric, the step, and the last good checkpoint."""


@dataclass(frozen=True)
class FitResult(Generic[State]):
    """What `fit` returns."""

    state: State
    """The state at the end."""
    step: int
    """Steps done, those before a resume included."""
    history: list[Row] = field(repr=False)
    """A row for every `log_every` steps and every evaluation: `step`, means of the metrics, evaluation."""
    stopped: str
    """Why the run ended: "num_steps", or the reason that a callback gave."""

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps at which the history holds `name`, and its values there.

        Raises:
            KeyError: if no row holds it; the names that there are are listed.
        """
        rows = [row for row in self.history if name in row]
        if not rows:
            names = sorted({key for row in self.history for key in row} - {"step"})
            raise KeyError(f"the history holds no {name!r}; it holds {', '.join(names) or 'no metrics'}")
        return np.array([row["step"] for row in rows]), np.array([row[name] for row in rows])


class RunningMeans:
    """Means of the metrics since the last row, in float64, so that a resumed run ends in the same rows."""

    def __init__(self, sums: dict[str, Any] | None = None, count: int = 0):
        self.sums = {name: np.asarray(value, np.float64) for name, value in (sums or {}).items()}
        self.count = count

    def add(self, metrics: dict[str, np.ndarray]) -> None:
        """Count the metrics of some steps, stacked along the first axis."""
        for name, values in metrics.items():
            terms = np.asarray(values, np.float64)
            if name in self.sums:
                terms = np.concatenate([self.sums[name][None], terms])
            self.sums[name] = np.cumsum(terms, axis=0)[-1]  # added in order: chunks do not change the rounding
        self.count += len(next(iter(metrics.values()), ()))

    def take(self) -> Row:
        """The means, which begin anew afterwards."""
        means = {name: (total / self.count).tolist() for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means

    def to_json(self) -> Row:
        """What must be remembered for an exact resume."""
        return {"sums": to_json(self.sums), "count": self.count}


def with_evaluation(row: Row, values: Row) -> Row:
    """`row` with the evaluated metrics.

    Raises:
        ValueError: if names clash.
    """
    if clash := sorted(values.keys() & row.keys()):
        raise ValueError(
            f"evaluate returns {', '.join(map(repr, clash))}, which the step's metrics hold too; "
            "give the evaluated ones names of their own"
        )
    return {**row, **to_json(values)}


def check_finite(metrics: dict[str, Any], first_step: int, folder: CheckpointFolder | None) -> None:
    """Refuse metrics (stacked over steps from `first_step` on) that hold NaN or infinity."""
    bad = {}
    for name, stacked in metrics.items():
        values = np.asarray(stacked)
        if jnp.issubdtype(values.dtype, jnp.inexact):
            wrong = ~np.isfinite(values.astype(np.float64)).reshape(len(values), -1).all(axis=1)
            if wrong.any():
                bad[name] = int(wrong.argmax())
    if not bad:
        return
    name = min(bad, key=lambda key: bad[key])
    if folder is None:
        advice = "no checkpoint was asked for, so there is none to go back to"
    elif steps := folder.steps():
        advice = f"the last good checkpoint is {folder.directory / str(steps[-1])}"
    else:
        advice = f"{folder.directory} holds no checkpoint yet"
    raise NonFiniteError(
        f"the metric {name!r} is {np.asarray(metrics[name])[bad[name]]} at step {first_step + bad[name]}; {advice}. "
        "A smaller learning rate, clipped gradients or checked data may help"
    )
