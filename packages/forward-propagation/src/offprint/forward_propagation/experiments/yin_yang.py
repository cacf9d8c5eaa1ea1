"""Yin-Yang: the authors' learning curve, and the accuracy with a larger learning rate."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from offprint.core.experiments import Claim, Run, at_least, between, experiment
from offprint.forward_propagation import FittedSeeds, Recipe, fit_seeds, plots, recipe
from offprint.forward_propagation._train import Examples
from offprint.forward_propagation.data import yin_yang_data
from offprint.forward_propagation.experiments._runs import (
    encoded_test,
    figure_of_activity,
    first_times,
    keys,
    mean,
    model_of,
    near_step,
    pair,
    percent,
    spread,
)

CHECKPOINTS = ((330, 1.07, 1.08, "1.076 at 340"), (990, 0.98, 1.04, "1.005 at 1020"))
"""Step, range of the loss that is expected there, and the loss of the authors' stored curve nearby."""


@dataclass(frozen=True)
class YinYangConfig:
    """Settings of the experiment on Yin-Yang."""

    train: int = 5000
    """Training points; 1000 more are the test set."""
    tuned_seeds: int = 2
    """Networks 5-120-3 with the larger learning rate, which falls to 0."""
    tuned_epochs: int = 40
    """Epochs of these."""
    official_seeds: int = 1
    """Networks 5-120-3 with the authors' settings, learning rate, sign and bias."""
    official_epochs: int = 12
    """Epochs of these: the loss is looked at near step 330, with 31 near 990 too, and the accuracy with 300."""
    wide_seeds: int = 0
    """Networks 5-200-3 with the larger learning rate."""
    wide_epochs: int = 300
    """Epochs of these."""


@experiment(
    "yin-yang",
    reproduces="Yin-Yang: loss and test accuracy of exact gradients",
    paper=YinYangConfig(tuned_seeds=4, official_seeds=10, official_epochs=300, wide_seeds=4),
    long=True,
)
def yin_yang(config: YinYangConfig, run: Run) -> Iterator[Claim]:
    """The authors' learning curve is repeated; with a larger learning rate 40 epochs give over 94.5 %."""
    train, test = pair(yin_yang_data(config.train))
    yield from _tuned(config, train, test, run)
    yield from _official(config, train, test, run)
    if config.wide_seeds:
        yield from _wide(config, train, test, run)


def _tuned(config: YinYangConfig, train: Examples, test: Examples, run: Run) -> Iterator[Claim]:
    settings = recipe("yin-yang-tuned", epochs=config.tuned_epochs)
    result = fit_seeds(train, test, settings, keys(config.tuned_seeds), evaluations=_evaluations(settings))
    found = _log(result, "tuned", run)
    _curves(result, settings, "curves", run)
    _maps(result, settings, train, test, run)
    yield Claim(
        f"learning rate 5e-3 falling to 0, {config.tuned_epochs} epochs: mean test accuracy, %, of "
        f"{config.tuned_seeds} seeds ({spread(found)})",
        paper=93.6,
        here=mean(found),
        rule=at_least(94.5),
    )
    yield Claim(
        f"learning rate 5e-3 falling to 0, {config.tuned_epochs} epochs: test accuracy, %, of every seed",
        paper=93.6,
        here=found,
        rule=at_least(93),
    )


def _official(config: YinYangConfig, train: Examples, test: Examples, run: Run) -> Iterator[Claim]:
    settings = recipe("yin-yang-120-official", epochs=config.official_epochs)
    result = fit_seeds(
        train, test, settings, keys(config.official_seeds, offset=100), evaluations=_evaluations(settings)
    )
    found = _log(result, "official", run)
    _curves(result, settings, "curves-official", run)
    window = result.loss.shape[1] // config.official_epochs
    for step, low, high, stored in CHECKPOINTS:
        if step + window > result.loss.shape[1]:
            break
        losses = near_step(result.loss, step, window)
        run.log(step=step, losses=losses)
        yield Claim(
            f"the authors' settings: loss around step {step}, mean of {config.official_seeds} seeds and an epoch",
            paper=stored,
            here=mean(losses),
            rule=between(low, high),
        )
    if config.official_epochs >= 300:
        yield Claim(
            f"the authors' settings, {config.official_epochs} epochs: mean test accuracy, %, of "
            f"{config.official_seeds} seeds ({spread(found)})",
            paper=93.6,
            here=mean(found),
            rule=at_least(93.5),
        )


def _wide(config: YinYangConfig, train: Examples, test: Examples, run: Run) -> Iterator[Claim]:
    settings = recipe("yin-yang-tuned", sizes=(5, 200, 3), epochs=config.wide_epochs)
    result = fit_seeds(train, test, settings, keys(config.wide_seeds, offset=200), evaluations=_evaluations(settings))
    found = _log(result, "wide", run)
    yield Claim(
        f"200 hidden neurons, learning rate 5e-3 falling to 0, {config.wide_epochs} epochs: mean test accuracy, %, of "
        f"{config.wide_seeds} seeds ({spread(found)})",
        paper="93.6 with 120",
        here=mean(found),
        rule=at_least(97.5),
    )


def _evaluations(settings: Recipe) -> int:
    """Ten, or as many as divide the epochs."""
    return max(number for number in range(1, 11) if settings.epochs % number == 0)


def _log(result: FittedSeeds, name: str, run: Run) -> list[float]:
    found = percent(result.test_accuracy[:, -1])
    run.log(
        settings=name,
        test=found,
        test_loss=result.test_loss[:, -1],
        silent=result.silent[:, -34:].mean(1),
        accuracy_while_training=result.test_accuracy.mean(0),
    )
    return found


def _curves(result: FittedSeeds, settings: Recipe, name: str, run: Run) -> None:
    steps = result.loss.shape[1] // settings.epochs
    seeds = {f"seed {seed}": seed for seed in range(min(4, len(result.loss)))}
    panels = {
        "training loss": {label: result.loss[seed] for label, seed in seeds.items()},
        "training accuracy": {label: result.accuracy[seed] for label, seed in seeds.items()},
    }
    run.figure(
        name,
        plots.training_curves(panels, window=100, steps_per_epoch=steps),
        f"{settings.sizes[1]} hidden neurons, learning rate {settings.learning_rate:g}: batches before their update, "
        "and the moving average over 100.",
    )


def _maps(result: FittedSeeds, settings: Recipe, train: Examples, test: Examples, run: Run) -> None:
    """What the first network makes of the test set."""
    model, encoded = model_of(result), encoded_test(train, test, settings)
    t = first_times(model, encoded, settings)
    predicted = np.asarray(t.argmin(1))
    run.figure("classes", plots.predicted_classes(test[0], test[1], predicted), "Test set, the first seed.")
    run.figure(
        "latency",
        plots.latency_map(test[0], t, settings.t_max),
        "First spike time of each output neuron over the test set, the first seed; crosses: silent.",
    )
    run.figure(
        "first-spikes",
        plots.first_spike_histograms(t, test[1], settings.t_max, classes=("yin", "yang", "dot")),
        "First spikes of the output neurons on the test set, the first seed.",
    )
    figure_of_activity(run, model, encoded, settings)
