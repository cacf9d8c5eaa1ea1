"""The program `offprint-neural-ivp`: solve an initial-value problem, go on with a run, look into it, compare."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from offprint.core.program import run_program
from offprint.core.train import CheckpointError
from offprint.neural_ivp import _command_actions as actions

Folder = Annotated[Path, tyro.conf.Positional]
Preset = Literal["paper", "ednn", "neural-galerkin", "rsng"]


@dataclass(frozen=True)
class Settings:
    """What is solved, and how. A flag overrides the file, and --set overrides both."""

    problem: str | None = None
    """One that `problems` lists (advection), or your own: FILE.py, with a Problem named problem, or FILE.py:NAME."""
    config: Path | None = None
    """TOML file with the sections problem, ic, domain, time, network, fit, linear, ode, sampler, restart, solve."""
    end: float | None = None
    """Last time: 0.5."""
    outputs: int | None = None
    """Output times after 0, evenly spaced: 5."""
    width: int | None = None
    """Units of each hidden layer: 30, with a preset that of the preset."""
    points: int | None = None
    """Points of each projection: 4000, with a preset those of the preset."""
    restart_every: float | None = None
    """Fit a new network whenever so much time has gone by."""
    seed: int | None = None
    """Of network, points, sketches and fits: 0."""
    set: tuple[str, ...] = ()
    """Any other settings, such as linear.kind=pcg linear.rank=300 ode.norm=function."""

    def flags(self) -> dict[str, Any]:
        """Settings by their names in the file; None where a flag was not given."""
        return {
            "problem.name": self.problem,
            "time.end": self.end,
            "time.outputs": self.outputs,
            "network.width": self.width,
            "sampler.n": self.points,
            "restart.kind": None if self.restart_every is None else "every",
            "restart.dt": self.restart_every,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Run:
    """Solve a problem; the same command goes on where it was stopped."""

    settings: Annotated[Settings, tyro.conf.arg(name="")]
    preset: Preset | None = None
    """Start from the settings of the paper, or of a method that it is compared with."""
    out: Path = Path("run")
    """Folder: solution.npz, history.csv, outputs.csv, figures."""
    figures: bool = True
    """Draw them."""


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped."""

    run: Folder
    """Its folder."""
    figures: bool = True
    """Draw them."""


@dataclass(frozen=True)
class Plot:
    """Figures of a finished run, into its folder."""

    run: Folder
    """Its folder."""
    what: Literal["all", "solution", "errors", "residual", "history", "animation"] = "all"
    """Slices beside the reference; error over time; residual with restarts; steps and iterations; a GIF, not in all."""
    axes: tuple[int, int] = (0, 1)
    """Coordinates that a slice shows, where there are more than two; the others are in the middle of the box."""
    field: int = 0
    """Which field is shown."""
    frames: int = 40
    """Of the animation."""


@dataclass(frozen=True)
class Diagnose:
    """The linear systems of a finished run: spectrum, effective dimension, iterations, residuals on fresh points."""

    run: Folder
    """Its folder; spectrum.csv, diagnose.csv and spectrum.png are written there."""
    points: int | None = None
    """Points of the projection: those of the run."""
    rank: int = 200
    """Of the preconditioner."""
    mu: float | None = None
    """Relative regularisation: that of the run."""


@dataclass(frozen=True)
class Compare:
    """The same problem by several methods."""

    settings: Annotated[Settings, tyro.conf.arg(name="")]
    methods: str = "neural-ivp,ednn,neural-galerkin"
    """Methods, separated by commas; neural-ivp has the settings given, and there are also paper and rsng. The flags and
    sections for the problem, times, width, points and seed go for all."""
    out: Path | None = None
    """Write every output of every method to this .csv file."""
    plot: Path | None = None
    """Draw errors and residuals over time to this image file."""


@dataclass(frozen=True)
class Problems:
    """The problems that are known by name, and their settings."""


Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Resume, tyro.conf.subcommand("resume")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
    | Annotated[Diagnose, tyro.conf.subcommand("diagnose")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Problems, tyro.conf.subcommand("problems")]
)

_RUN: dict[type, Any] = {
    Run: actions.run,
    Resume: actions.resume,
    Plot: actions.plot,
    Diagnose: actions.diagnose_run,
    Compare: actions.compare,
    Problems: actions.list_problems,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0, 1 for a run that broke off, 2 for input of no use."""
    return run_program(
        "offprint-neural-ivp",
        "Neural-IVP: initial-value PDEs with networks whose weights move in time.",
        Command,
        _RUN,
        arguments,
        failures=(actions.Stopped, CheckpointError, RuntimeError),
    )


if __name__ == "__main__":
    sys.exit(main())
