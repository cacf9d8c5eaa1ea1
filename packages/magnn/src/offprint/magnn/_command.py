"""The program `offprint-magnn`: from a log of interactions to recommendations, their test and their explanation."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from offprint.core.program import run_program
from offprint.core.train import CheckpointError
from offprint.magnn import _command_actions as actions
from offprint.magnn._config import Negatives, Regularizer
from offprint.magnn._loss import Loss
from offprint.magnn._model import Cooccurrence, Fusion, LongTerm, ShortTerm

ModelName = Literal["magnn", "pop", "bprmf", "hgn", "gru4rec", "sasrec"]
File = Annotated[Path, tyro.conf.Positional]
Data = Annotated[str, tyro.conf.Positional]
TopK = Annotated[int, tyro.conf.arg(aliases=["-k"])]


@dataclass(frozen=True)
class Settings:
    """Model, training and split; the defaults are the paper's."""

    L: int = 5
    """Items in the short-term window."""
    T: int = 3
    """Items after it that a window is trained to predict."""
    d: int = 50
    """Size of the vectors."""
    h: int = 20
    """Dimensions of the attention (magnn)."""
    m: int = 20
    """Memory units (magnn)."""
    max_long: int = 20
    """Earlier items that the long-term part looks at."""
    graph: Literal["global", "window"] = "global"
    """Item graph of all users' training sequences, or of each window by itself (magnn)."""
    max_degree: int | None = None
    """Keep so many neighbours of an item in the global graph (magnn)."""
    short_term: ShortTerm = "mean"
    """Short-term interest (magnn)."""
    long_term: LongTerm = "memory"
    """Long-term interest (magnn)."""
    fusion: Fusion = "gate"
    """How the two are joined (magnn)."""
    cooccurrence: Cooccurrence = "bilinear"
    """Term of recent items and candidate (magnn)."""
    epochs: int = 20
    """Passes over the training windows, at most."""
    batch_size: int = 4096
    """Windows in a step, at most."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 1e-3
    """Weight of the penalty."""
    regularizer: Regularizer = "coupled"
    """How it enters: in Adam's gradients, as the squares of what a batch uses, or as AdamW has it."""
    loss: Loss = "bpr"
    """What is minimised."""
    negatives: Negatives = "per_window"
    """Fresh negatives for every window, or 50 sets for each user and epoch."""
    eval_every: int = 5
    """Epochs between evaluations on the validation part."""
    select: str = "ndcg@10"
    """Metric by which the best of them is kept."""
    patience: int | None = None
    """Evaluations without improvement that end the training."""
    protocol: Literal["select", "refit", "train_val"] = "select"
    """select: train on the training part, keep the epoch that is best on the validation part; refit: then once more on
    both parts for as many epochs; train_val: --epochs on both parts, as in the paper."""
    test: float = 0.2
    """Share of every user's items, the latest, that is the test part."""
    val: float = 0.1
    """Share of the rest, the latest, that is the validation part."""
    leave_last: int | None = None
    """Instead of shares: so many items for the test part, and as many for the validation part."""
    seed: int = 0
    """Of parameters, order and negatives."""


@dataclass(frozen=True)
class Prepare:
    """Turn a log of interactions into sequences, and say what every step removed."""

    log: File
    """.csv with a line of column names, or .npz with an array for each column."""
    out: Path
    """Write the sequences to this .npz file."""
    user: str = "user"
    """Column of the users' ids."""
    item: str = "item"
    """Column of the items' ids."""
    time: str = "time"
    """Column of the times."""
    rating: str = "rating"
    """Column of the ratings."""
    delimiter: str = ","
    """Character between the cells of a .csv file."""
    min_rating: float | None = None
    """Lowest rating that counts as an interaction."""
    min_user: int = 1
    """Interactions that a user needs."""
    min_item: int = 1
    """Interactions that an item needs."""
    iterative: bool = False
    """Repeat both until nothing more is removed (k-core)."""
    dedup: Literal["first", "last", "none"] = "first"
    """Which of a user's repeated items stays."""
    preset: Literal["hgn_cds"] | None = None
    """A published filter in place of the thresholds."""
    min_length: int = 3
    """Drop users with fewer items."""
    strict: bool = False
    """Refuse a log with such users instead."""
    rating_scale: tuple[float, float] | None = None
    """Lowest and highest possible rating; others are refused."""


@dataclass(frozen=True)
class Train:
    """Train a model; the same command goes on where it was stopped."""

    data: Data
    """.npz that prepare wrote, or movielens-1m, movielens-100k, markov."""
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    out: Path
    """Folder of the run: sequences, checkpoints, history.csv and the model."""
    model: ModelName = "magnn"
    """MA-GNN or a baseline."""
    plot: Path | None = None
    """Draw loss and validation metrics to this image file."""


@dataclass(frozen=True)
class Evaluate:
    """Rank the whole catalogue for every user and compare with what came next; popularity stands beside it."""

    run: File
    """Folder that train wrote."""
    part: Literal["test", "val"] = "test"
    """Part of the split that is to be predicted, from all that came before it."""
    ks: str = "5,10,15,20"
    """Lengths of the lists."""
    out: Path | None = None
    """Write the metrics to this .csv file."""
    per_user: Path | None = None
    """Write every user's metrics to this .csv file."""


@dataclass(frozen=True)
class Recommend:
    """The best next items of some users, of all users, or of somebody new; all known items are looked at."""

    run: File
    """Folder that train wrote."""
    user: tuple[str, ...] = ()
    """Ids of users in the log."""
    history: str | None = None
    """Items of somebody new, oldest first, by their ids in the log: 3,5,9."""
    k: TopK = 10
    """Length of the lists."""
    include_seen: bool = False
    """Let items come back that the user had before."""
    out: Path | None = None
    """Write the lists to this .csv file; without --user and --history those of all users."""


@dataclass(frozen=True)
class Compare:
    """Train several models on the same split and test them in the same way."""

    data: Data
    """As in train."""
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    models: str = "pop,bprmf,hgn,gru4rec,sasrec,magnn"
    """Models, separated by commas."""
    seeds: int = 1
    """Trainings of each, from --seed on."""
    ks: str = "5,10,15,20"
    """Lengths of the lists."""
    out: Path | None = None
    """Write all metrics to this .csv file."""
    plot: Path | None = None
    """Draw recall and NDCG against K to this image file."""


@dataclass(frozen=True)
class Explain:
    """Why MA-GNN recommends what it does: terms of the scores, attention, memory, gate."""

    run: File
    """Folder that train wrote."""
    user: str | None = None
    """Id of a user in the log."""
    history: str | None = None
    """Items of somebody new, oldest first: 3,5,9."""
    k: TopK = 10
    """Items to explain."""
    out: Path | None = None
    """Write the terms of the scores to this .csv file."""
    plot: Path | None = None
    """Draw the memory units that the user's latest items address to this image file."""


@dataclass(frozen=True)
class Export:
    """Query and item vectors for a vector index: scores are users @ items.T + bias."""

    run: File
    """Folder that train wrote."""
    out: Path
    """Write users, items, bias, user_ids and item_ids to this .npz file."""


Command = (
    Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Recommend, tyro.conf.subcommand("recommend")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Explain, tyro.conf.subcommand("explain")]
    | Annotated[Export, tyro.conf.subcommand("export")]
)

_RUN: dict[type, Any] = {
    Prepare: actions.prepare_log,
    Train: actions.train,
    Evaluate: actions.evaluate_run,
    Recommend: actions.recommend_items,
    Compare: actions.compare,
    Explain: actions.explain,
    Export: actions.export,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0, 1 for a training that broke off, 2 for input of no use."""
    return run_program(
        "offprint-magnn",
        "MA-GNN: recommend the next items from a log of interactions.",
        Command,
        _RUN,
        arguments,
        failures=(FloatingPointError, CheckpointError, actions.Stopped),
    )


if __name__ == "__main__":
    sys.exit(main())
