"""What happens between chunks of steps: logs, progress, early stopping, keeping the best."""

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from offprint.core.train._checkpoint import CheckpointFolder, to_json


@dataclass(frozen=True)
class Event:
    """What a callback is told, each time that metrics were averaged or an evaluation was made."""

    step: int
    """Steps done so far."""
    num_steps: int
    """Steps that the run will do."""
    row: dict[str, Any]
    """The row of the history: `step`, the metrics' means since the row before, and the evaluation if there was one."""
    _state: Callable[[], PyTree] = field(repr=False)

    @property
    def state(self) -> PyTree:
        """The present state. The loop reuses its memory: copy what you keep (`jax.tree.map(jnp.copy, ...)`)."""
        return self._state()


class Callback:
    """A base whose methods do nothing. A plain function of the event serves as a callback too."""

    def start(self, step: int, num_steps: int) -> None:
        """The run begins, or goes on, after `step` of `num_steps` steps."""

    def __call__(self, event: Event) -> str | None:
        """Called with every row of the history. A returned text ends the run, with that text as the reason."""

    def finish(self) -> None:
        """The run is over, also if it failed."""

    def memory(self) -> dict[str, Any]:
        """What must be remembered for an exact resume, as JSON-able values."""
        return {}

    def remember(self, memory: dict[str, Any]) -> None:
        """Take up what `memory` gave when the checkpoint was saved."""


class _Best:
    """Whether a metric is better than it ever was."""

    def __init__(self, metric: str, mode: str, min_delta: float | int = 0.0):
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', but is {mode!r}")
        self.metric, self.sign, self.min_delta = metric, 1.0 if mode == "min" else -1.0, min_delta
        self.value = math.inf

    def improved(self, row: dict[str, Any]) -> bool | None:
        """None if the row does not hold the metric (rows between evaluations)."""
        if self.metric not in row:
            return None
        value = self.sign * float(row[self.metric])
        if not value < self.value - self.min_delta:  # written so that NaN is no improvement
            return False
        self.value = value
        return True


class EarlyStopping(Callback):
    """End the run when `metric` has not improved for `patience` rows that hold it.

    Args:
        metric: a name of the history; rows without it do not count.
        patience: so many rows without improvement end the run.
        mode: "min" if smaller is better, "max" if larger is.
        min_delta: improvements up to this do not count.
    """

    def __init__(self, metric: str, patience: int, *, mode: str = "min", min_delta: float | int = 0.0):
        if patience < 1:
            raise ValueError(f"patience must be at least 1, but is {patience}")
        self.patience = patience
        self._best = _Best(metric, mode, min_delta)
        self._waited = 0

    def __call__(self, event: Event) -> str | None:
        improved = self._best.improved(event.row)
        if improved is None:
            return None
        self._waited = 0 if improved else self._waited + 1
        if self._waited < self.patience:
            return None
        return f"{self._best.metric} has not improved for {self.patience} evaluations"

    def memory(self) -> dict[str, Any]:
        return {"best": self._best.value, "waited": self._waited}

    def remember(self, memory: dict[str, Any]) -> None:
        self._best.value, self._waited = memory["best"], memory["waited"]


class BestCheckpoint(Callback):
    """Keep the state at which `metric` was best, in a folder of its own.

    Args:
        directory: the folder.
        metric: a name of the history.
        mode: "min" if smaller is better, "max" if larger is.
    """

    def __init__(self, directory: str | Path, metric: str, *, mode: str = "min"):
        self._folder = CheckpointFolder(directory, keep=1)
        self._best = _Best(metric, mode)

    def start(self, step: int, num_steps: int) -> None:
        self._folder.discard_after(step)

    def __call__(self, event: Event) -> str | None:
        if self._best.improved(event.row):
            self._folder.save(event.step, event.state, {"row": event.row})
        return None

    def restore(self, template: PyTree) -> PyTree:
        """The best state so far, in the structure of `template`.

        Raises:
            LookupError: if there is none yet, because no row held the metric.
        """
        found = self._folder.restore(template)
        if found is None:
            raise LookupError(f"no state was kept: no row of the history held the metric {self._best.metric!r}")
        return found[0]

    def memory(self) -> dict[str, Any]:
        return {"best": self._best.value}

    def remember(self, memory: dict[str, Any]) -> None:
        self._best.value = memory["best"]


class JsonlLog(Callback):
    """Append every row of the history to a file, one JSON object a line.

    After a resume the file is what the undisturbed run would have written: rows beyond the checkpoint are
    removed when the run goes on from it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def start(self, step: int, num_steps: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if step and self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    break  # a line that the interruption cut short: all that follows is written anew
                if row["step"] <= step:
                    kept.append(line + "\n")
        temporary = self.path.with_name(self.path.name + ".part")
        temporary.write_text("".join(kept))
        os.replace(temporary, self.path)

    def __call__(self, event: Event) -> str | None:
        with self.path.open("a") as file:
            file.write(json.dumps(to_json(event.row)) + "\n")
        return None


class TensorBoard(Callback):
    """Write the history's scalars for TensorBoard. Needs `offprint-core[tensorboard]`."""

    def __init__(self, directory: str | Path):
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise ImportError('TensorBoard needs an extra: pip install "offprint-core[tensorboard]"') from error
        self.directory = str(directory)
        self._writer: Any = None

    def start(self, step: int, num_steps: int) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(self.directory, purge_step=step + 1 if step else None)

    def __call__(self, event: Event) -> str | None:
        for name, value in event.row.items():
            if name == "step":
                continue
            for i, scalar in enumerate(jax.tree.leaves(to_json(value))):
                tag = name if isinstance(value, int | float) else f"{name}/{i}"
                self._writer.add_scalar(tag, scalar, event.step)
        return None

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.close()


class ProgressBar(Callback):
    """A bar with the newest metrics on the terminal; silent where standard error is none."""

    def __init__(self, description: str = "training"):
        self.description = description
        self._bar: Any = None

    def start(self, step: int, num_steps: int) -> None:
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}", style="dim"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self.description, total=num_steps, completed=step, metrics="")
        self._bar.start()

    def __call__(self, event: Event) -> str | None:
        if self._bar is not None:
            shown = {k: v for k, v in event.row.items() if k != "step" and isinstance(v, int | float)}
            text = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
            self._bar.update(self._task, completed=event.step, metrics=text)
        return None

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class FunctionCallback(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Event], str | None]):
        self._function = function

    def __call__(self, event: Event) -> str | None:
        reason = self._function(event)
        if not (reason is None or isinstance(reason, str)):
            raise TypeError(f"a callback returns None, or a text to end the run with that reason, not {reason!r:.80}")
        return reason
