"""Several ways of training one network, seed by seed, with all that is the same compiled once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from offprint.core.experiments import Run
from offprint.moex import Mixing
from offprint.moex._train import Outcome, Training

Outcomes = dict[str, list[Outcome]]


def compare(
    training: Training,
    network: Callable[[int], nnx.Module],
    ways: Mapping[str, Mixing],
    seeds: int,
    run: Run | None = None,
    *,
    evaluations: int = 5,
    checkpoints: Path | None = None,
    mesh: Any = None,
) -> Outcomes:
    """The outcomes of every way of training, one for each seed; network, order and augmentation go by the seed.

    Args:
        training: data and recipe.
        network: seed -> network.
        ways: name -> what is mixed.
        seeds: how many.
        run: where every outcome is logged.
        evaluations: test errors measured in a run.
        checkpoints: folder with one folder for each run, from which an interrupted comparison goes on.
        mesh: devices that share every batch.
    """
    found: Outcomes = {}
    for name, mixing in ways.items():
        found[name] = []
        for seed in range(seeds):
            folder = None if checkpoints is None else checkpoints / f"{name.replace(' ', '-')}-{seed}"
            outcome = training.run(
                network(seed), mixing, jax.random.key(seed), evaluations=evaluations, checkpoint=folder, mesh=mesh
            )
            found[name].append(outcome)
            if run is not None:
                row = {key: value for key, value in outcome._asdict().items() if key != "result"}
                run.log(way=name, seed=seed, **row)
    return found


def values(outcomes: list[Outcome], name: str, scale: float | int = 1) -> list[float]:
    """A figure of every seed."""
    return [scale * getattr(outcome, name) for outcome in outcomes]


def ratios(above: list[Outcome], below: list[Outcome], name: str) -> list[float]:
    """A figure of one way of training over that of another, seed by seed."""
    return [a / b for a, b in zip(values(above, name), values(below, name), strict=True)]


def error_points(way: list[Outcome], base: list[Outcome]) -> list[float]:
    """Test error minus that of the base, in percentage points, seed by seed."""
    return [100 * (a - b) for a, b in zip(values(way, "error"), values(base, "error"), strict=True)]


def sampling_error(base: list[Outcome], examples: int) -> float:
    """Standard error, in points, of a difference of two test errors on so many examples, were they independent."""
    error = float(np.mean(values(base, "error")))
    return 100 * float(np.sqrt(2 * error * (1 - error) / examples))


def curves(outcomes: Outcomes) -> dict[str, dict[str, list[Any]]]:
    """Training loss and test metrics of every run, for `plots.training_curves`."""
    quantities = {"training loss": "loss", "test error": "error", "test NLL": "nll"}
    return {
        label: {way: [outcome.result.series(name) for outcome in seeds] for way, seeds in outcomes.items()}
        for label, name in quantities.items()
    }
