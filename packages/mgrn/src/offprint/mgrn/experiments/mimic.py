"""MIMIC-III (Table 2): four clinical tasks, on the user's own licensed copy of the benchmark."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Rule, Run, Unavailable, experiment, holds_when
from offprint.mgrn import data, plots
from offprint.mgrn.data._mimic import MimicTask
from offprint.mgrn.experiments._clinical import TASKS, Settings, Trial, bootstrap, measured, train_trial

# Mean and 95 % interval over resamples of the test set.
PUBLISHED = {
    "in-hospital-mortality": {"AUC-ROC": (0.862, 0.843, 0.880), "AUC-PR": (0.523, 0.469, 0.575)},
    "decompensation": {"AUC-ROC": (0.911, 0.908, 0.913), "AUC-PR": (0.347, 0.338, 0.358)},
    "length-of-stay": {"kappa": (0.447, 0.445, 0.449), "MAD": (124.6, 124.1, 125.0)},
    "phenotyping": {"macro AUC": (0.779, 0.774, 0.783), "micro AUC": (0.826, 0.823, 0.830)},
}


@dataclass(frozen=True)
class MimicConfig:
    """Settings of the clinical tasks; each task's own are those of the paper."""

    folder: str = ""
    """The data of YerevaNN/mimic3-benchmarks: a folder with one folder for every task."""
    tasks: tuple[MimicTask, ...] = ("in-hospital-mortality", "phenotyping", "length-of-stay", "decompensation")
    trials: int = 3
    """Networks for every task; the one that is best on validation is tested."""
    epochs: int = 0
    """At most; 0 for each task's own number."""
    resamples: int = 0
    """Of the test set, for the interval; 0 for the paper's 10000 or 1000."""


@experiment("mimic", reproduces="Table 2", long=True)
def mimic(config: MimicConfig, run: Run) -> Iterator[Claim]:
    """Mortality, decompensation, length of stay and phenotypes from 17 clinical channels, a group for each."""
    if not config.folder:
        raise Unavailable(
            "MIMIC-III is given out by PhysioNet to credentialed users alone: build the benchmark's data with "
            "YerevaNN/mimic3-benchmarks, and name their folder by `offprint run mgrn/mimic --folder PATH`"
        )
    for task in config.tasks:
        yield from _one_task(task, config, run)


def _one_task(task: MimicTask, config: MimicConfig, run: Run) -> Iterator[Claim]:
    settings = TASKS[task]
    loaded = data.load_mimic(config.folder, task, settings.steps)
    trials = []
    for seed in range(config.trials):
        trial = train_trial(settings, loaded, jax.random.key(seed), config.epochs or settings.epochs)
        for row in trial.history:
            run.log(task=task, seed=seed, **row)
        trials.append(trial)
    best = max(trials, key=lambda trial: trial.score)
    run.figure(
        f"{task}-learning-curves",
        plots.learning_curves(best.history),
        f"{task}: loss by epoch of the trial that is best on validation; the mark is the epoch with the least loss.",
    )
    for name, (mean, low, high) in _tested(settings, loaded, best, config).items():
        paper, paper_low, paper_high = PUBLISHED[task][name]
        run.log(task=task, metric=name, mean=mean, low=low, high=high)
        yield Claim(
            f"{task}: {name} on test, mean and 95 % interval over resamples",
            paper=f"{paper:g} ({paper_low:g}, {paper_high:g})",
            here={"mean": mean, "low": low, "high": high},
            rule=_overlaps(paper_low, paper_high),
        )


def _tested(
    settings: Settings, loaded: data.MimicData, best: Trial, config: MimicConfig
) -> dict[str, tuple[float, float, float]]:
    test = loaded.test
    resamples = config.resamples or settings.resamples

    def metrics(rows: np.ndarray) -> dict[str, float]:
        return measured(settings.kind, best.test_probabilities[rows], test.y[rows], test.remaining[rows])

    return bootstrap(metrics, len(test.y), resamples, np.random.default_rng(0))


def _overlaps(low: float, high: float) -> Rule:
    return holds_when(
        f"the interval and the paper's, {low:g} to {high:g}, overlap",
        lambda here: here["low"] <= high and here["high"] >= low,
    )
