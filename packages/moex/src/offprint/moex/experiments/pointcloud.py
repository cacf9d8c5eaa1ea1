"""Moment exchange on point clouds: generated solids, or the user's copy of ModelNet."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np
from flax import nnx

from offprint.core.data import DataError
from offprint.core.experiments import Claim, Run, Unavailable, at_most, between, experiment
from offprint.moex import Mixing, MoEx, plots
from offprint.moex._recipe import MODELNET
from offprint.moex._train import Training
from offprint.moex.data import SOLIDS, CloudData, modelnet, solids
from offprint.moex.experiments._compare import compare, curves, error_points, sampling_error, values
from offprint.moex.models import PointNet2


@dataclass(frozen=True)
class PointCloudConfig:
    """Settings of the experiment on point clouds."""

    modelnet: str = ""
    """Your copy of ModelNet10 or ModelNet40: see `offprint.moex.data.modelnet`. Empty: generated solids."""
    train: int = 1600
    """Generated training clouds."""
    test: int = 300
    """Generated test clouds."""
    points: int = 96
    """Points of a cloud."""
    noise: float = 0.01
    """Of the generated clouds, whose radius is 1."""
    stretch: float = 0.1
    """Of the generated clouds along the axes, up to this share."""
    width: float = 0.25
    """Factor of the layer widths of PointNet++."""
    dropout: float = 0.2
    """Rate in the classifier, whose layers are narrow here."""
    neighbours: int = 16
    """Places in a ball."""
    radii: tuple[float, float] = (0.4, 0.8)
    """Of the balls of the two set abstractions."""
    epochs: int = 10
    """Epochs."""
    learning_rate: float = 2e-3
    """Of Adam."""
    p: float = 0.5
    """Probability of an exchange in a batch, as in the official script."""
    lam: float = 0.9
    """Weight of the content's label, as in the official script."""
    seeds: int = 1
    """Of network, order and plans."""


@experiment(
    "pointcloud",
    reproduces="ModelNet with PointNet++",
    paper=PointCloudConfig(
        modelnet="ModelNet40",
        points=1024,
        width=1.0,
        neighbours=64,
        radii=(0.2, 0.4),
        epochs=200,
        learning_rate=1e-3,
        seeds=3,
    ),
    long=True,
)
def pointcloud(config: PointCloudConfig, run: Run) -> Iterator[Claim]:
    """PointNet++ with the moments of the first set abstraction exchanged over the points."""
    clouds = _clouds(config)
    training = Training(
        (clouds.train_points, clouds.train_labels),
        (clouds.test_points, clouds.test_labels),
        len(clouds.classes),
        replace(MODELNET, epochs=config.epochs, learning_rate=config.learning_rate),
        prepare=lambda key, x: x,
        standard=lambda x: x,
    )

    def network(seed: int) -> nnx.Module:
        return PointNet2(
            len(clouds.classes),
            moex=MoEx("in"),
            radii=config.radii,
            neighbours=config.neighbours,
            width=config.width,
            dropout=config.dropout,
            rngs=nnx.Rngs(seed),
        )

    ways = {"off": Mixing(), "MoEx": Mixing(p=config.p, lam=config.lam)}
    checkpoints = run.checkpoints if config.modelnet else None
    found = compare(training, network, ways, config.seeds, run, evaluations=10, checkpoints=checkpoints)
    run.figure("curves", plots.training_curves(curves(found)), f"PointNet++ on {clouds.name}, {config.seeds} seeds.")
    off, moex = found["off"], found["MoEx"]
    if config.modelnet:
        yield Claim(
            "mean test error with MoEx minus that without, in points",
            paper="-0.77 on ModelNet10 (6.02 to 5.25), -0.38 on ModelNet40 (9.16 to 8.78); as reported, unchecked",
            here=np.mean(error_points(moex, off)),
            rule=at_most(0),
        )
        return
    yield Claim(
        f"mean test error on {len(SOLIDS)} solids, %",
        paper="no such set in the paper; chance is 83",
        here={way: np.mean(values(outcomes, "error", 100)) for way, outcomes in found.items()},
        rule=at_most(20),
    )
    noise = sampling_error(off, config.test)
    yield Claim(
        f"mean test error with MoEx minus that without, in points (sampling error of one run {noise:.1f})",
        paper="-0.4 to -0.8 on ModelNet (as reported, unchecked): below what so few clouds can show",
        here=np.mean(error_points(moex, off)),
        rule=between(-5, 5),
    )


def _clouds(config: PointCloudConfig) -> CloudData:
    if not config.modelnet:
        return solids(
            jax.random.key(0), config.train, config.test, config.points, noise=config.noise, stretch=config.stretch
        )
    try:
        return modelnet(config.modelnet, config.points)
    except FileNotFoundError as error:
        raise Unavailable(
            f"ModelNet may not be handed on; {config.modelnet!r} is not there. Get it from its authors "
            "(modelnet.cs.princeton.edu) and name its folder with --modelnet FOLDER"
        ) from error
    except DataError as error:
        raise Unavailable(f"ModelNet cannot be used: {error}") from error
