"""Lottery tickets: small subnetworks that train as well as the whole, from their own initial values only."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, at_least, experiment
from offprint.sparsity import data, plots
from offprint.sparsity._ticket import lottery_ticket, ticket_control
from offprint.sparsity.experiments._lenet import Lab, Recipe, mnist


@dataclass(frozen=True)
class LotteryConfig:
    """Settings of the search for tickets in LeNet-300-100."""

    data: Literal["digits", "mnist"] = "digits"
    """scikit-learn's digits, 1000 for training, or all of MNIST."""
    epochs: int = 60
    """Of every training."""
    batch_size: int = 60
    """Images in a batch."""
    rate: float = 0.2
    """Share of the remaining weights that each round prunes; the output layer at half of it."""
    rounds: int = 14
    """Rounds."""
    every: int = 5
    """Controls are trained after every so many rounds, and after the last one."""
    seeds: int = 2
    """Initial values and orders of the images."""


class _Margins(NamedTuple):
    """What is asked for, in points of accuracy."""

    level: float
    """A ticket is as good as the dense network if it is at most so much worse."""
    gap: float
    """So much better than its control it must be."""


# On the digits one test image is 0.13 points, and two accuracies of about 97 % differ by 0.8 by chance.
_MARGINS = {"digits": _Margins(0.8, 0.5), "mnist": _Margins(0.1, 0.5)}


@experiment(
    "lottery",
    reproduces="The Lottery Ticket Hypothesis, LeNet-300-100: accuracy of tickets and of their controls",
    paper=LotteryConfig(data="mnist", epochs=50, rounds=15, every=3, seeds=1),
)
def lottery(config: LotteryConfig, run: Run) -> Iterator[Claim]:
    """With 5 % of its weights, at their initial values, a network learns as well as whole, but not with new values."""
    lab = _lab(config)
    found = [_search(lab, seed, config) for seed in range(config.seeds)]
    densities = found[0].densities
    tickets = np.array([one.tickets for one in found])
    controls = {name: np.array([one.controls[name] for one in found]) for name in found[0].controls}
    compared = _compared(config)
    run.log(densities=densities, tickets=tickets, compared=compared, controls=controls)
    run.figure(
        "hill",
        plots.occam(
            {"lottery ticket": (densities, tickets.T)}
            | {name: ([densities[number] for number in compared], values.T) for name, values in controls.items()},
            dense=tickets[:, 0].mean(),
        ),
        f"Test accuracy over the weights that are left, {config.data}, {config.seeds} seeds.",
    )
    margins, who = _MARGINS[config.data], f"{config.data}, mean of {config.seeds} seeds"
    small = np.flatnonzero(np.array(densities) <= 0.05) if min(densities) <= 0.05 else np.array([config.rounds])
    mean = tickets.mean(0)
    best = small[mean[small].argmax()]
    yield Claim(
        f"ticket with {100 * densities[best]:.1f} % of the weights ({mean[best]:.2f}) minus the dense network "
        f"({mean[0]:.2f}), points; {who}",
        paper="equal down to 3.6 % on MNIST",
        here=mean[best] - mean[0],
        rule=at_least(-margins.level),
    )
    yield Claim(
        f"best ticket of all rounds minus the dense network, points; {who}",
        paper="more than 0.3 at 13.5 % on MNIST",
        here=mean.max() - mean[0],
        rule=at_least(0),
    )
    for name, values in controls.items():
        yield Claim(
            f"ticket with {100 * densities[-1]:.1f} % of the weights minus {name}, points; {who}",
            paper="the control falls off early: at 5 % it is at least half a point worse on MNIST",
            here=mean[-1] - values[:, -1].mean(),
            rule=at_least(margins.gap),
        )


class _Found(NamedTuple):
    densities: list[float]
    tickets: list[float]
    controls: dict[str, list[float]]


def _search(lab: Lab, seed: int, config: LotteryConfig) -> _Found:
    train, params = lab.train_of(seed), lab.initial(seed)
    tickets = lottery_ticket(train, params, rounds=config.rounds, rate=config.rate, output="fc3/*")
    fresh, key = lab.initial(seed + 1000), jax.random.key(seed)
    controls: dict[str, list[float]] = {"its masks, new values": [], "random masks, its values": []}
    for number in _compared(config):
        anew = ticket_control(train, tickets[number], fresh)
        random = ticket_control(train, tickets[number], params, shuffle=jax.random.fold_in(key, number))
        for values, control in zip(controls.values(), (anew, random)):
            values.append(lab.accuracy(control.trained))
    return _Found(
        [ticket.density for ticket in tickets], [lab.accuracy(ticket.trained) for ticket in tickets], controls
    )


def _compared(config: LotteryConfig) -> list[int]:
    return sorted({*range(config.every, config.rounds, config.every), config.rounds})


def _lab(config: LotteryConfig) -> Lab:
    split = data.flat(data.digits(test=797) if config.data == "digits" else mnist())
    return Lab(split, Recipe((split.x.shape[1], 300, 100, 10), config.epochs, config.batch_size))
