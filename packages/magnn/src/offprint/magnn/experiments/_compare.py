"""Several models on one split, seed by seed, ranked on the test part."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from offprint.core.experiments import Run
from offprint.core.train import Callback, Event
from offprint.magnn import RankingMetrics, Split, TrainConfig, baselines, evaluate, fit, recommend

KS = (5, 10, 15, 20)
POPULARITY = "popularity"

Build = Callable[[int], Any]
"""seed -> model."""


class Outcome(NamedTuple):
    """What a training came to."""

    metrics: RankingMetrics
    """On the test part, ranked from all that comes before it."""
    history: list[dict[str, Any]]
    """A row for each epoch as in `Fitted.history`, with test metrics where they were measured on the way."""
    insight: Any = None
    """What `look` returned."""


Outcomes = dict[str, list[Outcome]]


def compare(
    models: Mapping[str, Build],
    split: Split,
    config: TrainConfig,
    seeds: int,
    run: Run,
    *,
    test_every: int | None = None,
    look: Callable[[Any], Any] | None = None,
    checkpoints: Path | None = None,
) -> Outcomes:
    """Train every model with every seed, all in the same way; popularity, which is not trained, comes first.

    Args:
        models: name -> how it is made.
        split: the data.
        config: of training.
        seeds: how many; parameters, order and negatives go by the seed.
        run: where every outcome is logged.
        test_every: also measure the test part every so many epochs, for a curve; nothing is chosen by it.
        look: called with every trained model; what it returns is kept, the model is not.
        checkpoints: folder with one folder for each training, from which an interrupted comparison goes on.
    """
    found: Outcomes = {POPULARITY: [Outcome(ranked(baselines.Popularity(split.train_val), split), [])]}
    _log(run, POPULARITY, 0, found[POPULARITY][0])
    for name, build in models.items():
        found[name] = []
        for seed in range(seeds):
            folder = None if checkpoints is None else checkpoints / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}-{seed}"
            curve = TestCurve(split, config.epochs, test_every)
            trained = fit(
                build(seed), split, config, jax.random.key(seed), checkpoint=folder, progress=False, callbacks=[curve]
            )
            history = [row | curve.rows.get(str(row["epoch"]), {}) for row in trained.history]
            insight = None if look is None else look(trained.model)
            found[name].append(Outcome(ranked(trained.model, split), history, insight))
            _log(run, name, seed, found[name][-1])
    return found


def ranked(model: Any, split: Split) -> RankingMetrics:
    """Metrics of a model on the test part, ranked from all that comes before it."""
    return evaluate(recommend(model, split.train_val, max(KS)).items, split.test, KS)


class TestCurve(Callback):
    """Test metrics at several epochs of a training, remembered when it goes on from a checkpoint."""

    __test__ = False  # for pytest, which would take the name for a test

    def __init__(self, split: Split, epochs: int, every: int | None):
        self.split, self.epochs, self.every = split, epochs, every
        self.rows: dict[str, dict[str, float]] = {}

    def __call__(self, event: Event) -> None:
        epoch = event.step * self.epochs // event.num_steps
        if self.every is not None and (epoch % self.every == 0 or epoch == self.epochs):
            metrics = ranked(event.state.model, self.split)
            self.rows[str(epoch)] = {"test_recall@10": metrics.recall[10], "test_ndcg@10": metrics.ndcg[10]}

    def memory(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def remember(self, memory: dict[str, Any]) -> None:
        self.rows = dict(memory["rows"])


def values(outcomes: list[Outcome], metric: str, k: int = 10) -> list[float]:
    """A metric of every seed."""
    return [getattr(outcome.metrics, metric)[k] for outcome in outcomes]


def means(outcomes: Outcomes, metric: str, k: int = 10) -> dict[str, float]:
    """The seeds' mean of a metric for every model."""
    return {name: float(np.mean(values(seeds, metric, k))) for name, seeds in outcomes.items()}


def histories(outcomes: Outcomes) -> dict[str, list[list[dict[str, Any]]]]:
    """Histories of what was trained, for `plots.training_curves`."""
    return {name: [outcome.history for outcome in seeds] for name, seeds in outcomes.items() if seeds[0].history}


def metrics(outcomes: Outcomes) -> dict[str, list[RankingMetrics]]:
    """Test metrics of every seed, for `plots.metric_by_k`."""
    return {name: [outcome.metrics for outcome in seeds] for name, seeds in outcomes.items()}


def _log(run: Run, model: str, seed: int, outcome: Outcome) -> None:
    for row in outcome.history:
        run.log(model=model, seed=seed, **row)
    run.log(model=model, seed=seed, **outcome.metrics.as_dict("test_"))
