"""The classifiers on the graphs as they are: what every augmentation is compared with."""

from collections.abc import Iterator
from dataclasses import dataclass

from offprint.core.experiments import Claim, Run, experiment, near
from offprint.gaug import NodeConfig, paper_config, plots
from offprint.gaug.experiments._runs import TITLES, DatasetName, Gnn, mean, percent, published, spread, train
from offprint.gaug.experiments._table import REPORTED, reported_mean

BANDS = {("cora", "gcn"): (81.4, 0.7), ("air-usa", "gcn"): (56.2, 0.8)}
"""Middle and half width of what the mean must lie in; for other rows the paper's mean and 2.5 points."""


@dataclass(frozen=True)
class OriginalConfig:
    """Settings of the classifiers without augmentation."""

    datasets: tuple[DatasetName, ...] = ("cora", "air-usa")
    """Data sets; they are looked for in the folder that OFFPRINT_DATA names."""
    gnns: tuple[Gnn, ...] = ("gcn",)
    """Classifiers."""
    epochs: int = 200
    """Updates."""
    seeds: int = 10
    """Runs of each."""


@experiment(
    "original",
    reproduces="Table of results, rows without augmentation",
    paper=OriginalConfig(gnns=("gcn", "gsage", "gat", "jknet"), seeds=30),
    long=True,
)
def original(config: OriginalConfig, run: Run) -> Iterator[Claim]:
    """Without augmentation the classifiers score as reported."""
    problems = [published(name) for name in config.datasets]
    panels: dict[str, dict[str, list[float]]] = {}
    for problem in problems:
        for gnn in config.gnns:
            cfg = paper_config(problem.name, gnn, "original")
            assert isinstance(cfg, NodeConfig)
            found = percent(
                train(problem, gnn, NodeConfig(config.epochs, lr=cfg.lr), range(config.seeds), run, "original")
            )
            panels.setdefault(f"{problem.name}: test F1, %", {})[TITLES[gnn]] = found
            middle, width = BANDS.get((problem.name, gnn), (reported_mean(problem.name, gnn, "original"), 2.5))
            yield Claim(
                f"{problem.name}, {TITLES[gnn]}: mean test F1 in % of {config.seeds} seeds ({spread(found)})",
                paper=REPORTED[problem.name, gnn, "original"],
                here=mean(found),
                rule=near(middle, width),
            )
    run.figure("f1", plots.bars(panels), f"Classifiers on the given graphs, {config.seeds} seeds.")
