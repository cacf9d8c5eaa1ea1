"""The program `offprint-sparsity`: prune a checkpoint, report on one, sweep methods, measure sparse products."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from offprint.core.program import run_program

Criterion = Literal["magnitude", "magnitude-l2", "lamp", "random", "wanda", "sparsegpt", "obc"]
Number = float


@dataclass(frozen=True)
class Source:
    """A checkpoint."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """.npz file of arrays named by path (layers/0/kernel), .safetensors file, or folder that orbax wrote."""
    torch: bool = False
    """Kernels are laid out as in PyTorch, (out, in) and (out, in, height, width); they are written back so."""


@dataclass(frozen=True)
class Prune:
    """Prune a checkpoint in one shot, and write what is left, zeros included."""

    source: Annotated[Source, tyro.conf.arg(name="")]
    out: Path
    """Checkpoint to write, in a format of the same kinds; beside a file, NAME.masks.npz has the masks."""
    method: Criterion = "magnitude"
    """What ranks the weights; wanda, sparsegpt and obc need --calib."""
    sparsity: Annotated[float | None, tyro.conf.arg(aliases=["-s"])] = None
    """Share of the weights to remove; not for N:M patterns, which say it themselves."""
    pattern: str = "unstructured"
    """unstructured, 2:4, block16x16, channel, kernel-shape, head8, layer, ..."""
    scope: Literal["local", "global"] = "local"
    """Each kernel loses the same share, or all are ranked together."""
    budget: Literal["uniform", "uniform_plus", "er", "erk"] = "uniform"
    """Shares of the kernels, if local."""
    only: tuple[str, ...] = ()
    """Path patterns of what is pruned, such as '*/kernel'; kernels by default."""
    but: tuple[str, ...] = ()
    """Path patterns of what is not."""
    calib: Path | None = None
    """.npz with the inputs (rows, in) of each kernel under its path; or, with --model, with an array x."""
    model: str | None = None
    """MODULE:FUNCTION, called as function(params, x): what the calibration data is run through."""
    damp: float = 0.01
    """sparsegpt, obc: share of the mean diagonal that is added to the Hessian."""
    seed: int = 0
    """random: of the scores."""


@dataclass(frozen=True)
class Report:
    """What is in a checkpoint: density, N:M, bits in every storage format, multiplications."""

    source: Annotated[Source, tyro.conf.arg(name="")]
    bits: int = 32
    """Bits of a stored value."""
    model: str | None = None
    """MODULE:FUNCTION, called as function(params, x), for multiplications and effective sparsity."""
    input: str | None = None
    """Shape of x, such as 1x784."""
    out: Path | None = None
    """Write the table to this .csv file."""
    plot: Path | None = None
    """Draw the density of the kernels to this image file."""


@dataclass(frozen=True)
class Sweep:
    """Train and prune by several methods, at several sparsities and seeds, and compare."""

    config: Annotated[Path | None, tyro.conf.Positional] = None
    """.json, .toml or .yaml file: a mapping with a list `methods` (mappings as for from_config, or names), and any of
    the flags below; without it, magnitude, RigL, SET and static on handwritten digits."""
    sparsities: tuple[Number, ...] = (0.5, 0.8, 0.9, 0.95, 0.98)
    """Shares of the weights to remove."""
    seeds: int = 3
    """Runs of each, trained together."""
    steps: int = 600
    """Training steps of each."""
    hidden: tuple[int, ...] = (64, 32)
    """Units of the hidden layers."""
    batch_size: int = 64
    """Examples of a step."""
    learning_rate: float = 2e-3
    """Of Adam."""
    data: Path | None = None
    """.npz with x (n, ...) and y (n,), whole numbers, optionally test_x and test_y; digits by default."""
    out: Path | None = None
    """Write every run to this .csv file."""
    plot: Path | None = None
    """Draw accuracy against density to this image file."""


@dataclass(frozen=True)
class Bench:
    """Time products x @ W on this machine, dense and sparse, and say which format is the fastest."""

    shape: str = "2048x2048"
    """Of W: in x out."""
    batch: str = "1,16,256"
    """Rows of x, separated by commas."""
    patterns: str = "block64,block16,2:4,unstructured"
    """Separated by commas."""
    sparsities: tuple[Number, ...] = (0.5, 0.75, 0.9, 0.95, 0.99)
    """Shares of the weights that are zero; N:M patterns have their own."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of x and W."""
    repeats: int = 10
    """Timings of each, of which the median is given."""
    out: Path | None = None
    """Write the table to this .csv file."""
    plot: Path | None = None
    """Draw times against sparsity to this image file."""


@dataclass(frozen=True)
class Repro:
    """Run one of the package's experiments by the quick profile; `offprint run` has all options."""

    experiment: Annotated[str, tyro.conf.Positional]
    """Such as woodfisher-mnist, lenet-table, rn50-budgets."""


Command = (
    Annotated[Prune, tyro.conf.subcommand("prune")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Repro, tyro.conf.subcommand("repro")]
)


def _prune(command: Prune) -> None:
    from offprint.sparsity._command_prune import prune

    prune(command)


def _report(command: Report) -> None:
    from offprint.sparsity._command_report import report

    report(command)


def _sweep(command: Sweep) -> None:
    from offprint.sparsity._command_sweep import sweep

    sweep(command)


def _bench(command: Bench) -> None:
    from offprint.sparsity._command_bench import bench

    bench(command)


def _repro(command: Repro) -> None:
    from offprint.core.cli import main as offprint

    status = offprint(["run", f"sparsity/{command.experiment}"])
    if status:
        raise SystemExit(status)


_RUN: dict[type, Any] = {Prune: _prune, Report: _report, Sweep: _sweep, Bench: _bench, Repro: _repro}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0, 1 for a training that broke off, 2 for input of no use."""
    return run_program(
        "offprint-sparsity",
        "Prune checkpoints, report on them, compare methods, and time sparse products.",
        Command,
        _RUN,
        arguments,
        failures=(FloatingPointError,),
    )


if __name__ == "__main__":
    sys.exit(main())
