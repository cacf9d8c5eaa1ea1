"""The program `offprint-resnet-scaling`: depth sweeps, checkpoints, limits and the phase diagram from the shell."""

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from offprint.core.data import DataError
from offprint.core.program import UsageError, run_program

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from offprint.resnet_scaling._classify import ScalingReport


@dataclass(frozen=True)
class Sweep:
    """Train networks of growing depth from several seeds, and classify how their weights scale."""

    data: Literal["ode", "mnist"] = "ode"
    """The synthetic process, or MNIST reduced to 25 features."""
    activation: Literal["tanh", "relu", "identity"] = "tanh"
    """σ."""
    delta: Literal["shared", "multi", "none"] = "shared"
    """One multiplier for all layers, one for each, or none."""
    min_depth: int = 8
    """Smallest depth L."""
    max_depth: int = 512
    """Largest depth L."""
    base: float = 2.0
    """Depths are the whole parts of its powers; the paper's sweeps have 1.26 and 1.2."""
    seeds: int = 3
    """Networks of each depth."""
    epochs: int = 60
    """At most; training ends when the loss is below epsilon."""
    epsilon: float = 1e-3
    """Loss that is small enough."""
    learning_rate: float = 1e-2
    """Of Adam."""
    samples: int = 1024
    """Training samples."""
    folder: Path | None = None
    """Keep finished depths here; the same command goes on from there after an interruption."""
    out: Path | None = None
    """Write slopes and intervals to this .csv file."""
    plot: Path | None = None
    """Draw statistics against depth to this image file (.png, .pdf, .svg)."""


@dataclass(frozen=True)
class Analyze:
    """Find the sequences of layers in your checkpoints, and tell how rough they are and how they scale with depth."""

    checkpoints: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """.npz files or folders of orbax: one, or networks of several depths."""
    select: str = "*"
    """Pattern of the groups to look at, for example "blocks.*.mlp.*"."""
    stacked: str | None = None
    """Pattern of the arrays that stack layers along their first axis."""
    normalise: bool = False
    """Divide each layer by its norm before its roughness is taken."""
    norm: Literal["fro", "spectral"] = "fro"
    """Norm of a layer in the sweep over depths."""


@dataclass(frozen=True)
class Limit:
    """How fast random networks with given exponents approach their limit, a neural ODE, a linear ODE or an SDE."""

    kind: Annotated[Literal["ode", "sde"], tyro.conf.Positional]
    """Smooth weights (ode), or Brownian increments around a trend (sde)."""
    activation: Literal["tanh", "relu", "identity"] = "tanh"
    """σ."""
    alpha: float = 1.0
    """Of the multiplier L^-alpha (ode)."""
    beta: float = 0.0
    """Of the weights L^-beta Ā(k/L) (ode)."""
    noise: float = 0.5
    """Scale of the Brownian motions (sde)."""
    paths: int = 256
    """Paths that the error is averaged over (sde)."""
    dim: int = 3
    """Width d."""
    max_depth: int = 4096
    """Largest depth; powers of two from 32 on."""
    seed: int = 0
    """Of trend and noise."""
    plot: Path | None = None
    """Draw the errors to this image file."""


@dataclass(frozen=True)
class Phase:
    """Phase diagram of random initialisations: where |h_L - h_0| / |h_0| vanishes or explodes with depth."""

    depth: int = 1000
    """L."""
    width: int = 40
    """d."""
    hursts: str = "0.2,0.5,0.8"
    """Hurst exponents, separated by commas."""
    betas: str = "0,0.25,0.5,0.75,1"
    """Scalings L^-beta, separated by commas."""
    repeats: int = 5
    """Networks for each pair."""
    seed: int = 0
    """Of the weights."""
    plot: Path | None = None
    """Draw the diagram to this image file."""


Command = (
    Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Analyze, tyro.conf.subcommand("analyze")]
    | Annotated[Limit, tyro.conf.subcommand("limit")]
    | Annotated[Phase, tyro.conf.subcommand("phase")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0; 1 where data is missing; 2 for input that it can't work with."""
    return run_program(
        "offprint-resnet-scaling",
        "How trained weights of deep residual networks scale with depth.",
        Command,
        _RUN,
        arguments,
        failures=(DataError,),
    )


def _sweep(command: Sweep) -> None:
    import jax

    from offprint.resnet_scaling import SweepConfig, classify_scaling, data, train_sweep

    if command.out is not None and command.out.suffix != ".csv":
        raise UsageError(f"--out {command.out} has an unknown format; .csv is needed")
    config = SweepConfig(
        delta=command.delta,
        init="xavier-depth",
        initial_sd=0.01,
        activation=command.activation,
        learning_rate=command.learning_rate,
        batch_size=32,
        num_epochs=command.epochs,
        epsilon=command.epsilon,
        remat="auto",
    )
    depths = data.depth_grid(command.min_depth, command.max_depth, command.base)
    if len(depths) < 4:
        raise UsageError(f"the depths are {', '.join(map(str, depths))}; at least 4 are needed to classify")
    if command.data == "ode":
        examples = data.synthetic_ode(jax.random.key(0), command.samples)
    else:
        examples = data.mnist25(jax.random.key(0), command.samples)
    with Console(stderr=True).status("training") as status:
        sweep = train_sweep(
            config,
            examples,
            depths,
            range(command.seeds),
            folder=command.folder,
            progress=lambda record: status.update(f"depth {record.depth} done in {record.seconds:.1f} s"),
        )
    report = classify_scaling(sweep)
    _print_table("depths", _depth_rows(sweep))
    _print_report(report)
    if command.out is not None:
        _write_slopes(command.out, report)
    _save(command.plot, lambda plots: plots.scaling(report))


def _depth_rows(sweep: Any) -> list[dict[str, Any]]:
    rows = []
    for record in sweep.records:
        finals = [row[~np.isnan(row)][-1] for row in record.losses if (~np.isnan(row)).any()]
        rows.append(
            {
                "L": record.depth,
                "loss": float(np.median(finals)) if finals else float("nan"),
                "epochs": float(np.median(record.epochs)),
                "converged": f"{int(record.converged.sum())} of {record.converged.size}",
                "seconds": record.seconds,
            }
        )
    return rows


def _analyze(command: Analyze) -> None:
    from offprint.core.data import DataError
    from offprint.resnet_scaling import analyze

    if not command.checkpoints:
        raise UsageError("no checkpoint is named")
    several = len(command.checkpoints) > 1
    source: Any = dict(enumerate(command.checkpoints)) if several else command.checkpoints[0]
    try:
        found = analyze(
            source,
            select=command.select,
            stacked=command.stacked,
            normalise=command.normalise,
            norm=command.norm,
        )
    except DataError as error:
        raise UsageError(str(error)) from None
    rows = [
        {
            "group": name,
            "layers": one.layers,
            "verdict": one.verdict,
            "increment ratio": one.increment_ratio,
            "hurst": float("nan") if one.hurst is None else one.hurst.slope,
            "participation": one.participation,
            "largest": one.largest_share,
        }
        for name, by_depth in found.roughness.items()
        for one in by_depth.values()
    ]
    _print_table("layer sequences", rows)
    for name, report in found.sweeps.items():
        _print_report(report, name)
    for name, why in found.skipped.items():
        warnings.warn(f"not analysed: {name}: {why}", stacklevel=1)


def _limit(command: Limit) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)  # distances at large depths are below the rounding of single precision
    import jax.numpy as jnp

    from offprint.resnet_scaling import limits, weights

    if command.max_depth < 128:
        raise UsageError(f"--max-depth {command.max_depth}: at least 128 is needed, for three depths from 32 on")
    key_A, key_b, key_x, key_noise = jax.random.split(jax.random.key(command.seed), 4)
    d = command.dim
    A_bar, b_bar = weights.smooth(key_A, 256, (d, d)), weights.smooth(key_b, 256, (d,))
    depths = [2**n for n in range(5, int(np.log2(command.max_depth)) + 1)]
    if command.kind == "ode":
        title = f"smooth weights, alpha {command.alpha:g}, beta {command.beta:g}, {command.activation}"
        rate = limits.convergence_rate(
            A_bar,
            b_bar,
            jax.random.normal(key_x, (d,)),
            depths,
            alpha=command.alpha,
            beta=command.beta,
            activation=command.activation,
        )
    else:
        title = f"trend and Brownian noise of scale {command.noise:g}, {command.activation}"
        rate = limits.strong_convergence_rate(
            A_bar,
            b_bar,
            jnp.broadcast_to(jax.random.normal(key_x, (d,)), (command.paths, d)),
            depths,
            scale_A=command.noise,
            scale_b=command.noise,
            activation=command.activation,
            key=key_noise,
        )
    rows = [{"L": int(L), "distance": float(error)} for L, error in zip(rate.depths, rate.errors)]
    _print_table(f"distance from the limit at t = 1: {title}", rows)
    Console().print(f"distance ~ L^{-rate.rate:.2f}")
    _save(command.plot, lambda plots: plots.limit_errors({title: (rate.depths, rate.errors)}))


def _phase(command: Phase) -> None:
    import jax

    from offprint.resnet_scaling import phase_diagram

    diagram = phase_diagram(
        jax.random.key(command.seed),
        _numbers("hursts", command.hursts),
        _numbers("betas", command.betas),
        depth=command.depth,
        width=command.width,
        repeats=command.repeats,
    )
    rows = [
        {"H": float(H), **{f"β={beta:g}": float(value) for beta, value in zip(diagram.betas, row)}, "critical β": edge}
        for H, row, edge in zip(diagram.hursts, diagram.median, diagram.critical_betas.tolist())
    ]
    _print_table(f"median log10 of |h_L - h_0| / |h_0|, L = {command.depth}, d = {command.width}", rows)
    _save(command.plot, lambda plots: plots.phase_diagram(diagram))


_RUN: dict[type, Any] = {Sweep: _sweep, Analyze: _analyze, Limit: _limit, Phase: _phase}


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--{name} {text!r} is not a list of numbers separated by commas") from None


def _print_report(report: "ScalingReport", title: str = "slopes of log statistic on log L") -> None:
    rows = [
        {"statistic": name, "slope": fit.slope, "se": fit.se, "from": fit.ci[0], "to": fit.ci[1]}
        for name, fit in report.slopes.items()
    ]
    _print_table(title, rows)
    console = _console()
    console.print(f"{report.regime}: {report.reason}", markup=False)
    console.print(
        f"alpha {report.alpha:.2f}, beta {report.beta:.2f}, Hypothesis {report.hypothesis}; limit: {report.limit}",
        markup=False,
    )


def _console() -> Console:
    """Wide enough for every table where the output is a file or a pipe."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for key in rows[0]:
        table.add_column(key, justify="left" if isinstance(rows[0][key], str) else "right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    _console().print(table, soft_wrap=False)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("[", r"\[")


def _write_slopes(path: Path, report: "ScalingReport") -> None:
    lines = ["statistic,slope,se,low,high"]
    lines += [f"{name},{fit.slope},{fit.se},{fit.ci[0]},{fit.ci[1]}" for name, fit in report.slopes.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _save(path: Path | None, draw: "Callable[[Any], Figure]") -> None:
    if path is None:
        return
    from offprint.resnet_scaling import plots

    draw(plots).savefig(path)


if __name__ == "__main__":
    sys.exit(main())
