"""Exclusive or: how often and how fast a network of four hidden neurons learns it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from offprint.core.experiments import Claim, Run, at_least, between, experiment
from offprint.forward_propagation import FittedSeeds, convergence_epoch, fit_seeds, plots, recipe
from offprint.forward_propagation.data import xor as bits
from offprint.forward_propagation.experiments._runs import (
    encoded_test,
    figure_of_activity,
    first_times,
    keys,
    mean,
    model_of,
)


@dataclass(frozen=True)
class XorConfig:
    """Settings of the XOR experiment."""

    seeds: int = 1000
    """Networks, trained in one program."""
    epochs: int = 100
    """Epochs, each an update with the four points."""
    official_gradient: bool = False
    """Also train them with the authors' incomplete gradient."""


@experiment(
    "xor", reproduces="XOR: histogram of the epochs of convergence", paper=XorConfig(official_gradient=True), x64=True
)
def xor(config: XorConfig, run: Run) -> Iterator[Claim]:
    """Nearly every network learns XOR within 100 epochs, after 17 or 18 of them in the mean."""
    results = {"exact": _fit(config, True)}
    if config.official_gradient:
        results["authors' code"] = _fit(config, False)
    epochs = {name: convergence_epoch(result.accuracy) for name, result in results.items()}
    for name, found in epochs.items():
        done = found[np.isfinite(found)]
        run.log(
            gradient=name,
            seeds=config.seeds,
            converged=done.size,
            epochs=np.quantile(done, [0, 0.5, 1]) if done.size else [],
        )
    run.figure(
        "convergence",
        plots.convergence_histogram({f"{name} gradient": found for name, found in epochs.items()}),
        f"{config.seeds} networks 2-4-2: first epoch in which all four points are right before the update.",
    )
    _pictures(results["exact"], epochs["exact"], run)
    for name, found in epochs.items():
        done = found[np.isfinite(found)]
        yield Claim(
            f"{name} gradient: share of {config.seeds} runs that converge within {config.epochs} epochs",
            paper="0.995 (995 of 1000)",
            here=done.size / found.size,
            rule=at_least(0.985),
        )
        yield Claim(
            f"{name} gradient: mean epoch of convergence",
            paper=17.52,
            here=mean(done) if done.size else float("nan"),
            rule=between(16, 19),
        )


def _fit(config: XorConfig, exact: bool) -> FittedSeeds:
    settings = recipe("xor", epochs=config.epochs, reset_coupling=exact)
    return fit_seeds(bits(), bits(), settings, keys(config.seeds), dtype="float64")


def _pictures(result: FittedSeeds, epochs: Any, run: Run) -> None:
    """Of the first network that learnt it, or of the first."""
    settings = recipe("xor")
    seed = int(np.isfinite(epochs).argmax())
    model, encoded = model_of(result, seed), encoded_test(bits(), bits(), settings, "float64")
    t = first_times(model, encoded, settings)
    run.log(seed=seed, first_spikes=t)
    shown = result.loss[:50]
    run.figure(
        "loss",
        plots.training_curves({"loss": {f"mean of {len(shown)} runs": shown}}, window=1),
        "Loss of the four points, before each update.",
    )
    figure_of_activity(run, model, encoded, settings, 1)
