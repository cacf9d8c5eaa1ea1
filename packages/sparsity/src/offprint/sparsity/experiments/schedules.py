"""How sparsity grows over a training: schedules that arrive, and the rounds of lottery tickets."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, equals, experiment, near
from offprint.sparsity import plots
from offprint.sparsity._schedule import (
    cosine_drop,
    cubic_schedule,
    cyclic_schedule,
    exponential_schedule,
    held,
    linear_schedule,
    update_steps,
)
from offprint.sparsity._ticket import lottery_ticket
from offprint.sparsity.experiments._mlp import init_mlp


@dataclass(frozen=True)
class SchedulesConfig:
    """Settings of the schedules."""

    sparsity: float = 0.9
    """Target."""
    begin: int = 1000
    """First update."""
    end: int = 10_000
    """Last update."""
    every: int = 700
    """Steps between updates; it does not divide the range."""
    drop: float = 0.3
    """Share of the weights that RigL replaces in its first update."""


@experiment("schedules", reproduces="Schedules: gradual pruning, lottery tickets and RigL's drop fraction")
def schedules(config: SchedulesConfig, run: Run) -> Iterator[Claim]:
    """Schedules end at their target whatever their steps are, and rounds of tickets leave what their paper says."""
    begin, end = config.begin, config.end
    curves = {
        "cubic": cubic_schedule(config.sparsity, begin, end),
        "linear": linear_schedule(config.sparsity, begin, end),
        "exponential": exponential_schedule(config.sparsity, begin, end),
        "cyclic": cyclic_schedule(config.sparsity, begin, end, 4),
    }
    in_force = {name: held(curve, begin, end, config.every) for name, curve in curves.items() if name != "cyclic"}
    steps = np.arange(0, end + begin, 10)
    run.figure(
        "schedules",
        plots.schedule(
            {name: (steps, curve(steps)) for name, curve in curves.items()},
            held={"cubic": (steps, in_force["cubic"](steps))},
        ),
        f"Schedules to {config.sparsity:g}; thin: what is in force between updates every {config.every} steps.",
    )
    yield Claim(
        "sparsity in force at the end, minus the target, with updates that do not divide the range",
        paper="0; schedules that end before their last step miss it (0.8993 for 0.9 in jaxpruner)",
        here={name: abs(float(curve(end)) - config.sparsity) for name, curve in in_force.items()},
        rule=near(0, 1e-12),
    )
    times = update_steps(begin, end, config.every)
    cubic = curves["cubic"](times)
    yield Claim(
        "share of the pruning that the first half of the cubic schedule does",
        paper="7/8: fast while weights are redundant, slow in the end (Zhu & Gupta, 2018)",
        here=float(curves["cubic"]((begin + end) / 2)) / config.sparsity,
        rule=near(0.875, 1e-12),
    )
    run.log(updates=times, cubic=cubic)
    drop = cosine_drop(end, config.drop)
    yield Claim(
        "RigL's drop fraction at the start, half-way and at the end, over its first value",
        paper="1, 1/2 and 0 along a cosine",
        here=[round(float(drop(at)) / config.drop, 9) for at in (0, end / 2, end)],
        rule=equals([1.0, 0.5, 0.0]),
    )
    yield from _tickets(run)


def _tickets(run: Run) -> Iterator[Claim]:
    """The counts of LeNet-300-100 with the output layer at half of the rate; no training changes them."""
    params = init_mlp(jax.random.key(0), (784, 300, 100, 10))
    tickets = lottery_ticket(
        lambda params, masks, start, stop: params, params, rounds=16, rate=0.2, output="fc3/kernel"
    )
    percents = {number: round(100 * tickets[number].density, 1) for number in (1, 3, 7, 9, 15, 16)}
    run.log(rounds=list(percents), percent_left=list(percents.values()))
    paper = {3: 51.3, 7: 21.1, 9: 13.5, 15: 3.6, 16: 2.9}
    yield Claim(
        "percent of LeNet-300-100 left after 3, 7, 9, 15 and 16 rounds of 20 % (output layer 10 %)",
        paper=", ".join(map(str, paper.values())),
        here=[percents[number] for number in paper],
        rule=equals(list(paper.values())),
    )
