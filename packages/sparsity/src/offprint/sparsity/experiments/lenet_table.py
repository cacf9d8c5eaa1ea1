"""When and how to prune LeNet-300-100: many ways to the same sparsity."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import PyTree

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment, ordered
from offprint.sparsity import plots
from offprint.sparsity._apply import apply
from offprint.sparsity._at_init import prune_at_init
from offprint.sparsity._mask import make_masks
from offprint.sparsity._ticket import Ticket, lottery_ticket, ticket_control
from offprint.sparsity.experiments._lenet import Lab, Recipe, mnist_test_split
from offprint.sparsity.experiments._mlp import apply_mlp, cross_entropy
from offprint.sparsity.methods import GMP, SET, RigL, Static
from offprint.sparsity.scores import magnitude

DENSE = (96.63, 0.20)
REFERENCE: dict[int, dict[str, tuple[float, float]]] = {
    90: {
        "one-shot magnitude": (91.68, 0.63),
        "one-shot + 5 epochs": (96.48, 0.10),
        "GMP": (96.95, 0.15),
        "lottery ticket": (96.57, 0.40),
        "ticket, new values": (95.98, 0.38),
        "RigL": (95.92, 0.39),
        "SET": (95.95, 0.08),
        "static ERK": (95.38, 0.22),
        "static uniform": (94.48, 0.30),
        "SNIP": (95.65, 0.6),
        "GraSP": (94.18, 0.6),
        "SynFlow": (95.13, 0.6),
        "magnitude at init": (95.45, 0.6),
    },
    98: {
        "one-shot magnitude": (48.2, 5.1),
        "one-shot + 5 epochs": (94.47, 0.43),
        "GMP": (96.35, 0.25),
        "lottery ticket": (96.12, 0.25),
        "ticket, new values": (94.27, 0.05),
        "RigL": (93.85, 0.68),
        "SET": (93.90, 0.39),
        "static ERK": (93.15, 0.24),
        "static uniform": (74.8, 11.7),
        "SNIP": (93.43, 0.6),
        "GraSP": (92.10, 0.6),
        "SynFlow": (93.73, 0.6),
        "magnitude at init": (93.13, 0.6),
    },
}
"""Mean and standard deviation of three seeds, by another implementation at the full setting."""

_KINDS = {
    "from trained weights": (
        "one-shot magnitude",
        "one-shot + 5 epochs",
        "GMP",
        "lottery ticket",
        "ticket, new values",
    ),
    "by a criterion before training": ("SNIP", "GraSP", "SynFlow", "magnitude at init"),
    "from random masks": ("RigL", "SET", "static ERK", "static uniform"),
}

Table = dict[str, list[float]]


@dataclass(frozen=True)
class LenetTableConfig:
    """Settings of the table. The network learns 8000 images, so that methods differ."""

    percents: tuple[int, ...] = (98,)
    """Sparsities in percent; of 90 and 98 the reference is known."""
    train: int = 8000
    """Training images: the first ones of MNIST's test set."""
    test: int = 2000
    """Test images: the last ones of it."""
    hidden: tuple[int, int] = (300, 100)
    """Units of the hidden layers."""
    epochs: int = 15
    """Of every training, as of the reference."""
    fine_tuning: int = 5
    """Epochs after one-shot pruning."""
    seeds: int = 3
    """Initial values and orders of the images."""
    at_init: bool = False
    """Also SNIP, GraSP, SynFlow and magnitude before the first step."""
    synflow_rounds: int = 30
    """Rounds of SynFlow."""


@experiment(
    "lenet-table",
    reproduces="When to prune: LeNet-300-100 on MNIST, schedules and criteria compared",
    paper=LenetTableConfig(percents=(90, 98), at_init=True),
    long=True,
)
def lenet_table(config: LenetTableConfig, run: Run) -> Iterator[Claim]:
    """Pruning while training beats tickets, tickets beat one-shot, growing masks beat static ones."""
    split = mnist_test_split(config.train, config.test)
    lab = Lab(split, Recipe((784, *config.hidden, 10), config.epochs))
    seeds = range(config.seeds)
    dense = [lab.masked(lab.initial(seed), lab.full_masks(lab.initial(seed)), lab.order(seed)) for seed in seeds]
    accuracies = [lab.accuracy(params) for params in dense]
    run.log(method="dense", percent=0, accuracy=accuracies)
    if _is_full(config):
        yield Claim(
            f"dense accuracy ({_listing(accuracies)}): distance from the reference over 3 deviations + 0.3 points",
            paper=f"{DENSE[0]} ± {DENSE[1]:.2f}",
            here=_distance(accuracies, DENSE),
            rule=at_most(1),
        )
    for percent in config.percents:
        table, hills = _rows(lab, dense, percent, config)
        for name, values in table.items():
            run.log(method=name, percent=percent, accuracy=values)
        reference = REFERENCE.get(percent, {}) if _is_full(config) else {}
        run.figure(
            f"table-{percent}",
            plots.comparison(table, published=reference, dense=float(np.mean(accuracies))),
            f"Test accuracy at {percent} % sparsity: {config.seeds} seeds (dots, mean) and the reference (diamonds).",
        )
        run.figure(
            f"tickets-{percent}",
            plots.occam({"lottery ticket": hills}, dense=float(np.mean(accuracies))),
            "Accuracy of the tickets of every round of iterative magnitude pruning.",
        )
        yield from _order_claims(table, percent)
        yield from _reference_claims(table, reference, percent)


def _rows(lab: Lab, dense: list[PyTree], percent: int, config: LenetTableConfig) -> tuple[Table, tuple]:
    """Accuracies of every method, one for each seed; densities and accuracies of the tickets."""
    sparsity, seeds = percent / 100, range(config.seeds)
    epoch, tune = lab.epoch, config.fine_tuning * lab.epoch
    masks = [make_masks(magnitude(params), sparsity, scope="global") for params in dense]
    cut = [apply(params, mask) for params, mask in zip(dense, masks)]
    tuned = [lab.masked(params, mask, lab.order(seed)[:tune]) for seed, params, mask in zip(seeds, cut, masks)]
    begin, end = max(1, config.epochs // 7) * epoch, max(1, 2 * config.epochs // 3) * epoch
    gradual = lab.while_training(GMP(sparsity, begin=begin, end=end, every=max(1, epoch // 4), scope="global"), seeds)
    tickets = [_tickets(lab, seed, sparsity) for seed in seeds]
    anew = [ticket_control(lab.train_of(seed), tickets[seed][-1], lab.initial(seed + 1000)).trained for seed in seeds]
    growing = max(1, 3 * config.epochs // 4)
    rigl = RigL(sparsity, every=epoch, end=growing * epoch + 1)
    params: dict[str, list[PyTree]] = {
        "one-shot magnitude": cut,
        "one-shot + 5 epochs": tuned,
        "GMP": gradual,
        "lottery ticket": [found[-1].trained for found in tickets],
        "ticket, new values": anew,
        "RigL": lab.between_epochs(rigl, seeds, growing),
        "SET": lab.between_epochs(SET(sparsity, every=epoch), seeds, config.epochs - 1),
    }
    for seed in seeds:
        for name, mask in _first_masks(lab, seed, sparsity, config).items():
            params.setdefault(name, []).append(lab.masked(lab.initial(seed), mask, lab.order(seed)))
    table = {name: [lab.accuracy(one) for one in found] for name, found in params.items()}
    densities = [ticket.density for ticket in tickets[0]]
    return table, (densities, np.array([[lab.accuracy(t.trained) for t in found] for found in tickets]).T)


def _tickets(lab: Lab, seed: int, sparsity: float) -> list[Ticket]:
    """Tickets by one ranking over all layers, about half of the weights in each of 4 (90 %) or 6 (98 %) rounds."""
    rounds = 4 if sparsity <= 0.9 else 6
    rate = 1 - (1 - sparsity) ** (1 / rounds)
    return lottery_ticket(lab.train_of(seed), lab.initial(seed), rounds=rounds, rate=rate, scope="global")


def _first_masks(lab: Lab, seed: int, sparsity: float, config: LenetTableConfig) -> dict[str, PyTree]:
    """Masks that are there before the first step and stay."""
    masks = {
        "static ERK": lab.first_masks(Static(sparsity), seed),
        "static uniform": lab.first_masks(Static(sparsity, dist="uniform"), seed),
    }
    if config.at_init:
        batch, rounds = lab.probe(), config.synflow_rounds
        prune = partial(prune_at_init, params=lab.initial(seed), sparsity=sparsity)
        masks |= {
            "SNIP": prune("snip", loss_fn=cross_entropy, batch=batch),
            "GraSP": prune("grasp", logits_fn=apply_mlp, batch=batch),
            "SynFlow": prune("synflow", apply_fn=apply_mlp, input_shape=(1, lab.x.shape[1]), rounds=rounds),
            "magnitude at init": prune("magnitude"),
        }
    return masks


def _is_full(config: LenetTableConfig) -> bool:
    """Whether the setting is that of the reference."""
    full = LenetTableConfig()
    return all(
        getattr(config, name) == getattr(full, name) for name in ("train", "test", "hidden", "epochs", "fine_tuning")
    )


def _order_claims(table: Table, percent: int) -> Iterator[Claim]:
    mean = {name: float(np.mean(values)) for name, values in table.items()}
    if percent < 95:
        return  # all methods are within their deviations of one another
    yield Claim(
        f"at {percent} %: schedules that begin dense, means",
        paper="GMP > lottery ticket > one-shot + fine-tuning",
        here={"GMP": mean["GMP"], "ticket": mean["lottery ticket"], "tuned": mean["one-shot + 5 epochs"]},
        rule=ordered("GMP > ticket > tuned"),
    )
    yield Claim(
        f"at {percent} %: a ticket's own values against new ones, means",
        paper="the ticket is better",
        here={"ticket": mean["lottery ticket"], "new": mean["ticket, new values"]},
        rule=ordered("ticket > new"),
    )
    yield Claim(
        f"at {percent} %: one-shot + fine-tuning minus a ticket with new values, points",
        paper="at least -0.3",
        here=mean["one-shot + 5 epochs"] - mean["ticket, new values"],
        rule=at_least(-0.3),
    )
    yield Claim(
        f"at {percent} %: masks that grow against static ones of the same densities, means",
        paper="RigL and SET are at least as good as static ERK",
        here={"RigL": mean["RigL"], "SET": mean["SET"], "static": mean["static ERK"]},
        rule=ordered("RigL >= static", "SET >= static"),
    )
    yield Claim(
        f"at {percent} %: static ERK minus static uniform, points",
        paper="more than 10",
        here=mean["static ERK"] - mean["static uniform"],
        rule=at_least(10),
    )


def _reference_claims(table: Table, reference: dict[str, tuple[float, float]], percent: int) -> Iterator[Claim]:
    for kind, names in _KINDS.items():
        rows = [name for name in names if name in table and name in reference]
        if rows:
            yield Claim(
                f"at {percent} %, {kind}: distance of the means from the reference over 3 deviations + 0.3 points",
                paper=", ".join(f"{name} {reference[name][0]}" for name in rows),
                here={name: _distance(table[name], reference[name]) for name in rows},
                rule=at_most(1),
            )


def _distance(values: list[float], reference: tuple[float, float]) -> float:
    mean, deviation = reference
    return abs(float(np.mean(values)) - mean) / (3 * deviation + 0.3)


def _listing(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
