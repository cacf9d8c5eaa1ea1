"""What the experiments on trained networks share: sweeps that are trained once, their exponents and their figures."""

from collections.abc import Callable

import jax
import numpy as np

from offprint.core.experiments import Run
from offprint.resnet_scaling import SweepConfig, SweepResult, TrainTest, data, plots, train_sweep
from offprint.resnet_scaling._classify import ScalingReport, classify_scaling

PUBLISHED = SweepConfig(
    delta="shared",
    init="xavier-depth",
    initial_sd=0.01,
    learning_rate=1e-2,
    batch_size=32,
    num_epochs=60,
    epsilon=1e-3,
)
"""The set-up of the reduced re-runs: that of the shipped experiment, with more epochs."""

_TRAINED: dict[tuple, SweepResult] = {}
"""Sweeps of this process: several experiments look at the same networks."""


def synthetic() -> TrainTest:
    """The synthetic task of every experiment."""
    return data.synthetic_ode(jax.random.key(0))


def sweep_of(
    run: Run,
    config: SweepConfig,
    task: Callable[[], TrainTest],
    depths: tuple[int, ...],
    seeds: int,
) -> SweepResult:
    """The sweep, trained here or by an experiment before; depths that a run had finished are taken from its folder."""
    key = config, task, depths, seeds
    if key not in _TRAINED:
        folder = run.checkpoints / f"{config.activation}-{config.shuffle}"  # an experiment may need several sweeps
        _TRAINED[key] = train_sweep(config, task(), depths, range(seeds), folder=folder)
    sweep = _TRAINED[key]
    for record in sweep.records:
        run.log(
            depth=record.depth,
            epochs=record.epochs.tolist(),
            final_losses=[float(row[~np.isnan(row)][-1]) if (~np.isnan(row)).any() else None for row in record.losses],
            converged=record.converged.tolist(),
            test_losses=record.test_losses[:, 1].tolist(),
            seconds=record.seconds,
            compile_seconds=record.compile_seconds,
        )
    return sweep


def report_of(run: Run, sweep: SweepResult, title: str) -> ScalingReport:
    """Exponents and regime of a sweep, logged and drawn."""
    report = classify_scaling(sweep)
    run.log(
        alpha=report.alpha,
        beta=report.beta,
        hurst=report.hurst,
        regime=report.regime,
        slopes={name: {"slope": fit.slope, "se": fit.se, "ci": fit.ci} for name, fit in report.slopes.items()},
    )
    span = f"{title}; L = {report.depths[0]} to {report.depths[-1]}, medians over {report.seeds} seeds."
    run.figure("norms", plots.scaling(report), f"Statistics of the trained weights against the depth: {span}")
    run.figure("losses", plots.losses(sweep), f"Training loss by depth, and the ε that ends the training: {span}")
    run.figure("hidden-states", plots.hidden_states(sweep), f"Norms of hidden states and of their increments: {span}")
    return report
