"""How ResNet-50 spends its weights: layer budgets, their multiply-adds and sizes, against RigL's published table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from offprint.core.experiments import Claim, Run, at_most, equals, experiment, near
from offprint.sparsity import data, plots
from offprint.sparsity._budget import density_map
from offprint.sparsity._metrics import training_flops
from offprint.sparsity.experiments._resnet50 import resnet50_shapes

_UNSTORED = 27_560  # biases: folded batch normalisation and classifier, 4 bytes each
_ERK = {0.8: 0.4138, 0.9: 0.2418, 0.95: 0.1217, 0.965: 0.0852}
_UNIFORM = {0.8: 0.2231, 0.9: 0.1260, 0.95: 0.0774, 0.965: 0.0628}


@dataclass(frozen=True)
class Rn50BudgetsConfig:
    """Settings of the budgets of ResNet-50."""

    side: int = 224
    """Height and width of the images."""
    points: int = 40
    """Sparsities in the figure, from 50 to 99 %."""


@experiment("rn50-budgets", reproduces="Layer budgets of ResNet-50: RigL's multiply-adds and sizes")
def rn50_budgets(config: Rn50BudgetsConfig, run: Run) -> Iterator[Claim]:
    """Erdős-Rényi and uniform budgets give the multiply-adds and megabytes of the table of RigL's authors."""
    net = _Network(config.side)
    yield Claim("weights", 25_502_912, net.params, equals(25_502_912))
    yield Claim("multiply-adds at 224x224", 4_089_184_256, net.macs, equals(4_089_184_256))
    erk = {sparsity: net.budget(sparsity, "erk") for sparsity in (*_ERK, 0.99)}
    uniform = {sparsity: net.budget(sparsity, "uniform_plus") for sparsity in _UNIFORM}
    first = net.budget(0.99, "erk", but=("conv1",))
    _figures(net, erk, config, run)
    for name, found, expected in (("ERK", erk, _ERK), ("uniform, first convolution dense", uniform, _UNIFORM)):
        shares = {sparsity: net.mac_share(found[sparsity]) for sparsity in expected}
        run.log(budget=name, mac_share=shares)
        yield Claim(
            f"share of the multiply-adds, {name}, at {_percents(expected)}, minus the values of the formula",
            paper=", ".join(f"{value:.4f}" for value in expected.values()),
            here=[shares[sparsity] - value for sparsity, value in expected.items()],
            rule=near(0, 6e-5),
        )
        table = {sparsity: _published(name, sparsity, "infer_flops") for sparsity in expected}
        yield Claim(
            f"share of the multiply-adds, {name}, minus RigL's table (two digits)",
            paper=", ".join(f"{value:g}" for value in table.values()),
            here=[shares[sparsity] - value for sparsity, value in table.items()],
            rule=near(0, 0.01),
        )
    yield Claim(
        "share of the multiply-adds of ERK at 99 %, plain and with the first convolution dense",
        paper="0.0243 and 0.0520; RigL's table has 0.05",
        here=[net.mac_share(erk[0.99]) - 0.0243, net.mac_share(first) - 0.0520],
        rule=near(0, 6e-5),
    )
    cases = {f"ERK {_percent(s)}": ("ERK", s, erk[s]) for s in (0.8, 0.9, 0.95)}
    cases["ERK 99 %, first convolution dense"] = ("ERK", 0.99, first)
    cases |= {f"uniform {_percent(s)}": ("uniform", s, uniform[s]) for s in (0.9, 0.95, 0.965)}
    sizes = {name: net.megabytes(budget) for name, (_, _, budget) in cases.items()}
    published = {name: _published(kind, sparsity, "megabytes") for name, (kind, sparsity, _) in cases.items()}
    run.log(megabytes=sizes, published=published)
    yield Claim(
        "megabytes as bitmap and float32 values, minus RigL's table",
        paper=", ".join(f"{name}: {value}" for name, value in published.items()),
        here={name: round(sizes[name] - published[name], 6) for name in sizes},
        rule=near(0, 0.002),
    )
    costs = _training_costs(net, {"erk": erk, "uniform": uniform})
    yield Claim(
        "training FLOPs of RigL over those of dense training, once and five times the usual length, minus its table",
        paper=", ".join(f"{name}: {table:g}" for name, (_, table) in costs.items()),
        here={name: cost - table for name, (cost, table) in costs.items()},
        rule=near(0, 0.02),
    )
    given = data.resnet50_layers()
    yield Claim(
        "largest difference of a layer's ERK sparsity at 90 % from the list that STR's authors publish (two digits)",
        paper="0, to rounding",
        here=np.abs(1 - np.array(list(erk[0.9].values())) - given["erk"]).max(),
        rule=at_most(0.011),
    )


class _Network:
    """Shapes of ResNet-50; budgets are `{layer: density}`."""

    def __init__(self, side: int):
        self.kernels, self.positions = resnet50_shapes(side)
        self.sizes = {name: prod(leaf["kernel"].shape) for name, leaf in self.kernels.items()}
        self.params = sum(self.sizes.values())
        self.macs = sum(size * self.positions[name] for name, size in self.sizes.items())

    def budget(self, sparsity: float, dist: Any, but: Sequence[str] = ()) -> dict[str, float]:
        """Densities in the order of the layers; those in `but` are dense and do not count, as in RigL's code."""
        rest = {name: leaf for name, leaf in self.kernels.items() if name not in but}
        densities = density_map(rest, sparsity, dist)
        return {name: float(densities[name]["kernel"]) if name in rest else 1.0 for name in self.kernels}

    def kept(self, budget: dict[str, float]) -> dict[str, int]:
        """Weights kept of each layer: the number removed is rounded down, as in RigL's code."""
        return {name: size - int(np.floor((1 - budget[name]) * size + 1e-6)) for name, size in self.sizes.items()}

    def mac_share(self, budget: dict[str, float]) -> float:
        return sum(count * self.positions[name] for name, count in self.kept(budget).items()) / self.macs

    def megabytes(self, budget: dict[str, float]) -> float:
        """Values in 4 bytes, a bit for every element of a layer that is not dense, and the biases."""
        bits = sum(size for name, size in self.sizes.items() if budget[name] < 1)
        return (4 * sum(self.kept(budget).values()) + bits / 8 + 4 * _UNSTORED) / 1e6


def _published(kind: str, sparsity: float, column: str) -> float:
    table = data.rigl_table()
    rows = (table["model"] == "resnet50") & (table["distribution"] == kind.split(",")[0].lower())
    return float(table[column][rows & (table["sparsity"] == sparsity)][0])


def _training_costs(net: _Network, budgets: dict[str, dict]) -> dict[str, tuple[float, float]]:
    """Case -> cost by the formula, with a dense gradient every 100 steps, and the table's."""
    table = data.rigl_table()
    costs = {}
    rows = (
        (table["model"] == "resnet50") & (table["label_smoothing"] == "yes") & np.isin(table["training_length"], (1, 5))
    )
    for row in np.flatnonzero(rows):
        kind, sparsity, length = (table[name][row].item() for name in ("distribution", "sparsity", "training_length"))
        if kind in budgets and sparsity in _ERK:
            share = net.mac_share(budgets[kind][sparsity])
            cost = length * training_flops("rigl", 1.0, share, every=100) / training_flops("dense", 1.0, 1.0)
            costs[f"{kind} {_percent(sparsity)}, {length:g}x"] = cost, float(table["train_flops"][row])
    return costs


def _figures(net: _Network, erk: dict[float, dict[str, float]], config: Rn50BudgetsConfig, run: Run) -> None:
    kinds = {"ERK": erk[0.9], "ER": net.budget(0.9, "er"), "uniform": net.budget(0.9, "uniform_plus")}
    run.figure(
        "densities",
        plots.layer_density({name: list(budget.values()) for name, budget in kinds.items()}),
        "Density of the 54 layers of ResNet-50 at 90 % sparsity.",
    )
    sparsities = 1 - np.geomspace(0.5, 0.01, config.points)
    shares = {
        "ERK": [100 * net.mac_share(net.budget(float(s), "erk")) for s in sparsities],
        "uniform": [100 * net.mac_share(net.budget(float(s), "uniform_plus")) for s in sparsities],
    }
    run.figure(
        "multiply-adds",
        plots.tradeoff({name: (sparsities, values) for name, values in shares.items()}, ylabel="multiply-adds left, %"),
        "What budgets of the same number of weights cost to compute.",
    )


def _percent(sparsity: float) -> str:
    return f"{100 * sparsity:g} %"


def _percents(sparsities: dict[float, float]) -> str:
    return ", ".join(_percent(one) for one in sparsities)
