"""The published data sets, regenerated from their seed, and the least error that can be reached on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from offprint.core.experiments import Claim, Rule, Run, between, experiment, holds_when
from offprint.core.plots import COLORS, new_figure
from offprint.mgrn import data


@dataclass(frozen=True)
class GeneratorConfig:
    """Settings of the regeneration."""

    pairs: tuple[int, ...] = tuple(range(1, 11))
    """Published data sets, 1 to 10."""
    shown: int = 300
    """Steps of the first one that the figure shows."""


@experiment("generator", reproduces="Theoretical minimum of Table 1", x64=True)
def generator(config: GeneratorConfig, run: Run) -> Iterator[Claim]:
    """All ten data sets of the simulation study come out of their seed, to the published theoretical minima."""
    split = data.published_split()
    minima: dict[int, tuple[float, float]] = {}
    first = None
    for number, pair in enumerate(islice(data.matlab_pairs(), max(config.pairs, default=0)), start=1):
        if number in config.pairs:
            first = pair if first is None else first
            validation, test = (float(data.theoretical_mse(pair, 5, part)) for part in (split.validation, split.test))
            minima[number] = validation, test
            explained = 1 - test / float(np.asarray(pair.target)[split.test.start + 5 : split.test.stop + 5].var())
            run.log(pair=number, validation_minimum=validation, test_minimum=test, explained_on_test=explained)
    if first is None:
        raise ValueError(f"pairs must hold a number from 1 to 10, got {config.pairs}")
    run.figure(
        "series",
        _figure(first, config.shown),
        f"First {config.shown} steps of data set {min(minima)}: what is forecast, with its conditional mean, and two "
        "of the parameters that the models read.",
    )
    for part, name in enumerate(("validation", "test")):
        published = {number: data.PUBLISHED_MINIMUM[number - 1][part] for number in minima}
        yield Claim(
            f"theoretical minimum MSE on {name}, by data set",
            paper=", ".join(f"{value:.4f}" for value in published.values()),
            here={str(number): minima[number][part] for number in minima},
            rule=_all_within(published, 5.1e-5),
        )
    if len(minima) == len(data.PAIRS):
        mean = float(np.mean([test for _, test in minima.values()]))
        yield Claim("mean theoretical minimum on test", paper=21.64, here=mean, rule=between(21.635, 21.645))


def _all_within(published: dict[int, float], tolerance: float) -> Rule:
    return holds_when(
        f"each within {tolerance:g} of the published value, which has 4 decimals",
        lambda here: all(abs(here[str(number)] - value) <= tolerance for number, value in published.items()),
    )


def _figure(pair: data.SimulatedPair, steps: int):
    figure, (upper, lower) = new_figure(2, 1, size=(6.4, 4.6))
    time = np.arange(1, steps)
    upper.plot(time, np.asarray(pair.target)[1:steps], color=COLORS[5], linewidth=0.8, label="100 y1 y2")
    expected = np.asarray(pair.conditional_mean)[: steps - 1]
    upper.plot(time, expected, color=COLORS[1], label="its conditional mean, one step before")
    upper.legend(frameon=False, fontsize=8)
    for column, color in (("beta1", COLORS[0]), ("gamma1", COLORS[2])):
        values = np.asarray(pair.series)[1:steps, pair.columns.index(column)]
        lower.plot(time, values, color=color, label=column)
    lower.set(xlabel="step")
    lower.legend(frameon=False, fontsize=8)
    return figure
