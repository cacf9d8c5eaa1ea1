"""The program `offprint-network-partitioning`: learn hyperparameters on a table or on images of one's own."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from offprint.core.program import run_program
from offprint.core.train import CheckpointError
from offprint.network_partitioning import _command_actions as actions
from offprint.network_partitioning._command_training import Stopped

Method = Literal["partitioned", "none", "training", "augerino", "validation"]
Family = Literal["mask", "affine", "dropout", "none"]
Run = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class Source:
    """Examples: a table or images."""

    data: str
    """.csv with a header, numbers and the column --target; or .npz with x, (n, features), (n, height, width) or
    (n, height, width, channels), and y, (n,); if you like test_x, test_y and groups. toy: a generated table."""
    target: str = "label"
    """Column of a .csv file that is predicted."""
    groups: str | None = None
    """Column of a .csv file: rows with the same entry (a patient) stay together."""
    task: Literal["auto", "classes", "values"] = "auto"
    """auto: texts and whole numbers are classes, other numbers are values."""


@dataclass(frozen=True)
class Settings:
    """Network and training."""

    hyper: Family | None = None
    """What is learned beside the weights: mask (which columns are used), affine (how far images are moved), dropout
    (rates), none. By default mask for tables, affine for images."""
    generators: tuple[str, ...] = ()
    """affine: those that act, of translate_x translate_y rotate scale_x scale_y shear; all by default."""
    chunks: tuple[float, ...] = (0.8, 0.2)
    """Shares of the data in each shard, and of the weights in each partition."""
    scheme: Literal["random_weight", "weight", "node"] = "random_weight"
    """How weights are partitioned."""
    schedule: Literal["joint", "round_robin", "sampled"] = "joint"
    """Whether a step updates all partitions at once, one after the other, or one of them."""
    hidden: tuple[int, ...] = ()
    """Widths of hidden layers: 64 64 for tables; 16 32 64 for images, where all but the last are convolutions."""
    steps: int = 2000
    """Updates of the weights."""
    batch_size: int = 128
    """Examples in a batch."""
    lr: float = 1e-3
    """Rate of Adam for the weights; it falls to zero along a cosine."""
    hyper_lr: float | None = None
    """Rate of Adam for the hyperparameters: 0.01, with fewer than 1000 examples 0.005."""
    samples: int = 4
    """Draws of mask, map or dropout for each example in training."""
    test_samples: int = 16
    """The same in predictions."""
    finetune: int = 0
    """partitioned, validation: further updates of all weights on all data, with the hyperparameters held."""
    penalty: float = 0.01
    """augerino: strength of the reward for wide ranges."""


@dataclass(frozen=True)
class Fit:
    """Train a network and its hyperparameters; the same command goes on where it was stopped."""

    source: Annotated[Source, tyro.conf.arg(name="")]
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    out: Path
    """Folder of the run: config.json, history.csv, hyper.csv, weights.npz."""
    method: Method = "partitioned"
    """partitioned: hyperparameters out of sample, no validation data. none: leave them out. training: on the training
    loss. augerino: the same, with a reward for wide ranges. validation: on the last shard, kept from the weights."""
    seed: int = 0
    """Of network, shards, partition, batches and noise."""


@dataclass(frozen=True)
class Predict:
    """Predict new examples with a run."""

    run: Run
    """Folder that fit wrote."""
    data: str
    """As in fit; without the column --target, or y, nothing is scored."""
    out: Path
    """Write the predictions to this .csv file."""
    seed: int = 0
    """Of the noise."""


@dataclass(frozen=True)
class Compare:
    """Train the same network by several methods, on the same data and seeds, and test it on examples kept out."""

    source: Annotated[Source, tyro.conf.arg(name="")]
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    methods: tuple[Method, ...] = ()
    """By default all that there are for these hyperparameters."""
    test: float = 0.2
    """Share of the examples that is kept out, if the data has no test_x."""
    seeds: int = 3
    """Runs of each."""
    seed: int = 0
    """The first of them."""
    out: Path | None = None
    """Write every run to this .csv file."""
    plot: Path | None = None
    """Draw the scores to this image file."""


@dataclass(frozen=True)
class Plot:
    """Figures of a run."""

    run: Run
    """Folder that fit wrote."""
    what: Literal["hyper", "loss", "nll", "images"] = "hyper"
    """Hyperparameters or losses over the steps; loss of each subnetwork on each shard; images before and after."""
    data: str | None = None
    """images: where the data is now, if it was moved."""
    out: Path | None = None
    """Image file; by default in the folder of the run."""


Command = (
    Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
)

_RUN: dict[type, Any] = {
    Fit: actions.fit,
    Predict: actions.predict,
    Compare: actions.compare,
    Plot: actions.plot,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0, 1 for a training that broke off, 2 for input of no use."""
    return run_program(
        "offprint-network-partitioning",
        "Learn hyperparameters by gradient, in one training run, without validation data.",
        Command,
        _RUN,
        arguments,
        failures=(FloatingPointError, CheckpointError, Stopped),
    )


if __name__ == "__main__":
    sys.exit(main())
