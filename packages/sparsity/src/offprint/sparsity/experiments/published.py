"""What others have published about ResNet-50 on ImageNet, in one picture."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from offprint.core.experiments import Claim, Run, at_least, at_most, between, experiment, near
from offprint.sparsity import data, plots

_BEST = {
    "magnitude": {50: 76.5, 70: 76.4, 80: 75.6, 90: 73.9, 95: 70.6, 98: 57.9},
    "random": {50: 74.6, 70: 72.2, 80: 70.2, 90: 65.0, 95: 58.1, 98: 44.0},
}
"""Top-1 accuracy of the best run at each sparsity, in percent, to one decimal."""


@dataclass(frozen=True)
class PublishedConfig:
    """Settings of the comparison."""

    percents: tuple[int, ...] = (50, 70, 80, 90, 95, 98)
    """Sparsities at which the best runs are compared."""
    chance: float = 1.0
    """Accuracy in percent that counts as chance: of 1000 classes it is 0.1."""


@experiment("published", reproduces="ResNet-50 on ImageNet, rebuilt from published runs")
def published(config: PublishedConfig, run: Run) -> Iterator[Claim]:
    """Random, magnitude, variational, STR and RigL pruning of ResNet-50: accuracy over sparsity and over training."""
    best = {name: [_best(name, percent) for percent in config.percents] for name in (*_BEST, "variational dropout")}
    rigl = _rigl()
    for name, values in best.items():
        run.log(method=name, sparsity_percent=config.percents, top1=values)
    _figures(config, best, rigl, run)
    for name, table in _BEST.items():
        paper = {f"{percent} %": table[percent] for percent in config.percents if percent in table}
        here = {
            f"{percent} %": _best(name, percent) - table[percent] for percent in config.percents if percent in table
        }
        yield Claim(
            f"best {name} run at each sparsity minus the table of the survey's sources, points",
            paper=", ".join(f"{key}: {value}" for key, value in paper.items()),
            here=here,
            rule=near(0, 0.06),
        )
    yield Claim(
        "best magnitude run minus best random run, points, at " + ", ".join(f"{one} %" for one in config.percents),
        paper="magnitude is better everywhere, the more so the sparser",
        here=np.subtract(best["magnitude"], best["random"]),
        rule=at_least(1.5),
    )
    yield Claim(
        "best variational dropout minus best magnitude run at 98 % (sparsities rounded), points",
        paper="variational dropout is better at the highest sparsities",
        here=_best("variational dropout", 98) - _best("magnitude", 98),
        rule=at_least(5),
    )
    regularised = data.resnet50_runs("L0")
    yield Claim(
        "best L0 run with at least half of the weights removed, top-1 in percent",
        paper="never better than chance",
        here=regularised["top1"][regularised["sparsity"] >= 0.5].max(),
        rule=at_most(config.chance),
    )
    yield Claim(
        "RigL (ERK, 90 %), five times the usual training minus once, points",
        paper="2 to 3 points, 3.4 in the table of its authors",
        here=rigl["erk", 0.9][5] - rigl["erk", 0.9][1],
        rule=between(2, 4),
    )


def _best(method: str, percent: int) -> float:
    runs = data.resnet50_runs(method)
    return float(runs["top1"][np.rint(100 * runs["sparsity"]) == percent].max())


def _rigl() -> dict[tuple[str, float], dict[float, float]]:
    """(distribution, sparsity) -> length of training -> top-1 accuracy, of ResNet-50 with label smoothing."""
    table = data.rigl_table()
    found: dict[tuple[str, float], dict[float, float]] = {}
    for row in np.flatnonzero((table["model"] == "resnet50") & (table["label_smoothing"] == "yes")):
        where = str(table["distribution"][row]), float(table["sparsity"][row])
        found.setdefault(where, {})[float(table["training_length"][row])] = float(table["top1"][row])
    return found


def _figures(config: PublishedConfig, best: dict, rigl: dict, run: Run) -> None:
    table, sparsities = data.str_table(), np.asarray(config.percents) / 100
    dense = data.resnet50_runs("dense")["top1"].mean()
    soft = (table["model"] == "resnet50") & (table["sparsity"] > 0)
    points = {"STR": (table["sparsity"][soft], table["top1"][soft])}
    for kind in ("erk", "uniform"):
        for length in (1, 5):
            rows = [
                (where[1], lengths[length]) for where, lengths in rigl.items() if where[0] == kind and length in lengths
            ]
            points[f"RigL {kind} {length}x"] = [one for one, _ in sorted(rows)], [one for _, one in sorted(rows)]
    run.figure(
        "resnet50",
        plots.tradeoff(
            {name: (sparsities, values) for name, values in best.items()},
            dense=dense,
            published=points,
            ylabel="top-1 accuracy, %",
        ),
        "ResNet-50 on ImageNet: best run at each sparsity (lines) and the tables of STR and RigL (points).",
    )
    flops = data.rigl_table()
    chosen = (flops["model"] == "resnet50") & (flops["label_smoothing"] == "yes") & (flops["distribution"] == "erk")
    run.figure(
        "training-flops",
        plots.training_flops(
            {
                f"RigL ERK {100 * sparsity:g} %": (
                    flops["train_flops"][chosen & (flops["sparsity"] == sparsity)],
                    flops["top1"][chosen & (flops["sparsity"] == sparsity)],
                )
                for sparsity in (0.8, 0.9, 0.95, 0.99)
            },
            dense=(1, 76.8),
        ),
        "What longer sparse training gives for its operations, as RigL's authors publish it.",
    )
    layers = data.resnet50_layers()
    names = {
        "erk": "ERK",
        "str_90.23": "STR",
        "variational_dropout": "variational",
        "global_magnitude": "global magnitude",
    }
    run.figure(
        "layers",
        plots.layer_density({shown: 1 - layers[name] for name, shown in names.items()}),
        "Density of every layer of ResNet-50 at about 90 % sparsity: what methods agree on, and what they do not.",
    )
    reports = data.survey81()
    here = ~np.isnan(reports["kept_params"]) & ~np.isnan(reports["top1_change"]) & (reports["kept_params"] > 0)
    marks = {
        name: (
            1 - reports["kept_params"][here & (reports["model"] == name)],
            reports["top1_change"][here & (reports["model"] == name)],
        )
        for name in ("ResNet-50", "VGG-16", "AlexNet", "CaffeNet", "ResNet-56")
    }
    run.figure(
        "papers",
        plots.tradeoff({}, dense=0, published=marks, ylabel="change of top-1 accuracy, points"),
        "Change of accuracy over the weights kept, as 81 papers report it (Blalock et al., 2020): few share a setting.",
    )
