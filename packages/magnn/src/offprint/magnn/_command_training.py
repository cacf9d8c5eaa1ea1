"""How the program `offprint-magnn` makes models, trains them and tests them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from offprint.core.train import Interrupted
from offprint.magnn._config import TrainConfig
from offprint.magnn._graph import item_graph
from offprint.magnn._metrics import RankingMetrics, evaluate
from offprint.magnn._model import MAGNN
from offprint.magnn._recommend import recommend
from offprint.magnn._sequences import Sequences
from offprint.magnn._split import Split
from offprint.magnn._train import fit
from offprint.magnn.baselines import BPRMF, HGN, GRU4Rec, Popularity, SASRec

TITLES = {
    "magnn": "MA-GNN",
    "pop": "popularity",
    "bprmf": "BPR-MF",
    "hgn": "HGN",
    "gru4rec": "GRU4Rec",
    "sasrec": "SASRec",
}


class Stopped(Exception):
    """A training that was asked to end."""


@dataclass(frozen=True)
class Trained:
    """A model with the way that it came there."""

    model: Any
    history: list[dict[str, Any]]
    epoch: int | None
    """The epoch whose parameters were kept; None where nothing is trained."""


def train_config(settings: dict[str, Any]) -> TrainConfig:
    """The library's settings of a training."""
    same = ("lr", "weight_decay", "batch_size", "epochs", "T", "negatives", "loss", "regularizer", "eval_every")
    values = {name: settings[name] for name in same}
    if settings["protocol"] == "train_val":
        return TrainConfig(**values, train_on="train_val", select=None)
    return TrainConfig(**values, select=settings["select"], patience=settings["patience"])


def new_model(name: str, settings: dict[str, Any], known: Sequences, seed: int) -> Any:
    """An untrained model for what is trained on; `known` is what its graph, or its counts, are made of."""
    sizes, rngs = (known.num_users, known.num_items, settings["d"]), nnx.Rngs(seed)
    window = {"L": settings["L"], "max_long": settings["max_long"]}
    if name == "pop":
        return Popularity(known)
    if name == "bprmf":
        return BPRMF(*sizes, rngs=rngs)
    if name == "hgn":
        return HGN(*sizes, L=settings["L"], rngs=rngs)
    if name in ("gru4rec", "sasrec"):
        return (GRU4Rec if name == "gru4rec" else SASRec)(*sizes, **window, rngs=rngs)
    parts = {part: settings[part] for part in ("h", "m", "short_term", "long_term", "fusion", "cooccurrence")}
    graph: Any = "window" if settings["graph"] == "window" else None
    if graph is None and settings["short_term"] != "none":
        graph = item_graph(known, max_degree=settings["max_degree"])
    return MAGNN(*sizes, **parts, **window, graph=graph, rngs=rngs)


def train_model(name: str, settings: dict[str, Any], split: Split, seed: int, folder: Path | None = None) -> Trained:
    """Train by the protocol of the settings; with a folder, go on from the checkpoints there."""
    config = train_config(settings)
    known = split.train if settings["protocol"] == "select" else split.train_val
    if name == "pop":
        return Trained(new_model(name, settings, known, seed), [], None)
    key = jax.random.key(seed)

    def run(part: Sequences, config: TrainConfig, stage: str) -> Any:
        checkpoint = None if folder is None else folder / stage
        try:
            return fit(new_model(name, settings, part, seed), split, config, key, checkpoint=checkpoint)
        except Interrupted as stop:
            raise Stopped(str(stop)) from None

    first = run(split.train if config.train_on == "train" else split.train_val, config, "checkpoints")
    if settings["protocol"] != "refit":
        return Trained(first.model, first.history, first.best_epoch)
    again = run(split.train_val, config.refit(first.best_epoch), f"checkpoints-refit-{first.best_epoch}")
    return Trained(again.model, first.history, first.best_epoch)


def measure(model: Any, split: Split, ks: tuple[int, ...], part: str = "test") -> RankingMetrics:
    """Rank for the users who have items in that part, from all that came before it."""
    known, wanted = (split.train_val, split.test) if part == "test" else (split.train, split.val)
    users = np.flatnonzero(wanted.lengths).astype(np.int32)
    if len(users) == 0:
        raise ValueError(f"nobody has an item in the {part} part; make a split that has one")
    lists = recommend(model, known, max(ks), users=known.external_users(users))
    return evaluate(lists.items, wanted, ks, users)


def num_parameters(model: Any) -> int:
    """Trained numbers of a model."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
