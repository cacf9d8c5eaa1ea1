"""MovieLens-1M under the paper's protocol: MA-GNN beside simpler and later recommenders."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from offprint.core.experiments import Claim, Run, at_least, experiment, holds_when, ordered
from offprint.magnn import MAGNN, Sequences, TrainConfig, baselines, gather, last_windows, plots, split_ratio
from offprint.magnn.experiments import _movielens
from offprint.magnn.experiments._compare import (
    POPULARITY,
    Build,
    Outcomes,
    compare,
    histories,
    means,
    metrics,
    values,
)

FILMS = {
    "Three Colors: Blue": 307,
    "Three Colors: White": 308,
    "Three Colors: Red": 306,
    "Die Hard": 1036,
}
"""Films of the paper's case study by their MovieLens ids; the first three are one trilogy."""


@dataclass(frozen=True)
class MovieLensConfig:
    """Settings of the comparison on MovieLens-1M."""

    models: tuple[str, ...] = ("BPR-MF", "MA-GNN")
    """Of BPR-MF, HGN, GRU4Rec, SASRec, MA-GNN and "MA-GNN, window graph"; the first and MA-GNN are in the claims."""
    epochs: int = 8
    """Epochs on training and validation items together."""
    batch_size: int = 4096
    """Windows in a step."""
    d: int = 50
    """Size of the vectors."""
    h: int = 20
    """Dimensions of the attention."""
    m: int = 20
    """Memory units."""
    L: int = 5
    """Items in the short-term window."""
    T: int = 3
    """Targets."""
    max_long: int = 20
    """Items of the long-term history."""
    test_every: int = 4
    """Epochs between measurements of the test part for the curve; nothing is chosen by them."""
    seeds: int = 1
    """Of parameters, order and negatives."""
    resume: bool = False
    """Save every training, so that an interrupted comparison goes on."""


class Insight(NamedTuple):
    """What is kept of a trained MA-GNN."""

    gate: Float[np.ndarray, "users d"]
    memory: Float[np.ndarray, "films m"]
    """softmax(e_i^T K) of `FILMS`."""


@experiment(
    "movielens",
    reproduces="Table 2's protocol on MovieLens-1M, and the case study of the memory",
    paper=MovieLensConfig(
        models=("BPR-MF", "HGN", "GRU4Rec", "SASRec", "MA-GNN", "MA-GNN, window graph"),
        epochs=20,
        test_every=5,
        seeds=2,
        resume=True,
    ),
    long=True,
)
def movielens(config: MovieLensConfig, run: Run) -> Iterator[Claim]:
    """Full ranking of all unseen films: MA-GNN is far above matrix factorisation, and that above popularity."""
    sequences = _movielens.sequences()
    split = split_ratio(sequences)
    known = split.train_val

    def look(model: Any) -> Insight | None:
        return _insight(model, known) if isinstance(model, MAGNN) else None

    found = compare(
        models(config, sequences),
        split,
        TrainConfig(batch_size=config.batch_size, epochs=config.epochs, T=config.T, train_on="train_val", select=None),
        config.seeds,
        run,
        test_every=config.test_every,
        look=look,
        checkpoints=run.checkpoints if config.resume else None,
    )
    insights = {name: [outcome.insight for outcome in seeds] for name, seeds in found.items() if seeds[0].insight}
    _figures(found, insights, known, run)
    memory = [insight.memory for insight in insights["MA-GNN"]]
    yield from _claims(config, found, memory)


def models(config: MovieLensConfig, sequences: Sequences) -> dict[str, Build]:
    """The models of the comparison, each from a seed."""
    sizes = (sequences.num_users, sequences.num_items, config.d)
    L, longer = config.L, config.max_long

    def magnn(graph: Literal["window"] | None) -> Build:
        return lambda seed: MAGNN(*sizes, config.h, config.m, graph=graph, L=L, max_long=longer, rngs=nnx.Rngs(seed))

    known: dict[str, Build] = {
        "BPR-MF": lambda seed: baselines.BPRMF(*sizes, rngs=nnx.Rngs(seed)),
        "HGN": lambda seed: baselines.HGN(*sizes, L=L, rngs=nnx.Rngs(seed)),
        "GRU4Rec": lambda seed: baselines.GRU4Rec(*sizes, L=L, max_long=longer, rngs=nnx.Rngs(seed)),
        "SASRec": lambda seed: baselines.SASRec(*sizes, L=L, max_long=longer, rngs=nnx.Rngs(seed)),
        "MA-GNN": magnn(None),
        "MA-GNN, window graph": magnn("window"),
    }
    if unknown := set(config.models) - set(known):
        raise ValueError(f"models {', '.join(sorted(unknown))} are unknown; there are {', '.join(known)}")
    if missing := {"BPR-MF", "MA-GNN"} - set(config.models):
        raise ValueError(f"models must have {' and '.join(sorted(missing))}, which the claims are about")
    return {name: known[name] for name in config.models}


def _insight(model: MAGNN, known: Sequences) -> Insight:
    """The gate for every user at the end of what is known, and the memory's answer to the films."""
    batch = gather(known, last_windows(known, model.L, model.max_long), jnp.arange(known.num_users))
    gate = nnx.jit(lambda model, batch: model.parts(batch).gate)(model, batch)
    return Insight(np.asarray(gate), np.asarray(model.memory_weights(known.item_index(list(FILMS.values())))))


def _figures(found: Outcomes, insights: dict[str, list[Insight]], known: Sequences, run: Run) -> None:
    seeds = len(found["MA-GNN"])
    run.figure("metrics", plots.metric_by_k(metrics(found)), f"Test metrics of {seeds} seeds; all films are ranked.")
    run.figure(
        "curves",
        plots.training_curves(histories(found), {"loss": "loss", "test NDCG@10": "test_ndcg@10"}),
        "Loss for each target, and NDCG@10 on the test part, measured on the way; nothing is chosen by it.",
    )
    users = found[POPULARITY][0].metrics.users
    per_user = {
        name: np.mean([outcome.metrics.per_user["ndcg"][10] for outcome in outcomes], axis=0)
        for name, outcomes in found.items()
    }
    run.figure(
        "history",
        plots.metric_by_history(known.lengths[users], per_user),
        "NDCG@10 of users with short and long histories, fifths of the users with the standard error.",
    )
    gates = {name: np.stack([insight.gate for insight in seen]) for name, seen in insights.items()}
    run.figure(
        "gate",
        plots.gate_histogram({name: gate.reshape(-1, gate.shape[-1]) for name, gate in gates.items()}),
        "How much of the interest is taken from the last films, over all users and dimensions.",
    )
    run.figure(
        "memory",
        plots.memory_attention(insights["MA-GNN"][0].memory, list(FILMS)),
        "Which memory units four films address (seed 0). The paper shows a trilogy that is alike and a film that is "
        "not.",
    )


def _claims(config: MovieLensConfig, found: Outcomes, memory: list[np.ndarray]) -> Iterator[Claim]:
    titles = {"recall": "Recall@10", "ndcg": "NDCG@10"}
    best = "MA-GNN best of all on five data sets; MovieLens-1M is none of them"
    for metric, title in titles.items():
        yield Claim(
            f"{title} on MovieLens-1M after {config.epochs} epochs, mean of {config.seeds} seeds",
            paper=best,
            here=means(found, metric),
            rule=ordered("popularity < BPR-MF", "BPR-MF < MA-GNN"),
        )
    if config.epochs < 20:  # what follows is about a model that has been trained to the end
        return
    for (metric, title), least in zip(titles.items(), (0.088, 0.135), strict=True):
        yield Claim(
            f"{title} of MA-GNN on MovieLens-1M, mean of {config.seeds} seeds ({_listed(found, metric)})",
            paper=best,
            here=means(found, metric)["MA-GNN"],
            rule=at_least(least),
        )
    yield Claim(
        "MA-GNN over BPR-MF on MovieLens-1M, means of the seeds",
        paper=best,
        here={
            title: means(found, metric)["MA-GNN"] / means(found, metric)["BPR-MF"] for metric, title in titles.items()
        },
        rule=at_least(1.35),
    )
    yield Claim(
        "mean cosine of memory weights within the Three Colors trilogy, and to Die Hard (means of the seeds)",
        paper="the trilogy's patterns are alike, that of Die Hard differs",
        here=dict(zip(("trilogy", "Die Hard"), np.mean([memory_cosines(weights) for weights in memory], axis=0))),
        rule=holds_when("Die Hard < trilogy", lambda here: here["Die Hard"] < here["trilogy"]),
    )


def memory_cosines(weights: Float[np.ndarray, "films m"]) -> tuple[float, float]:
    """Mean cosine among the rows before the last, and of those to the last one."""
    rows = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    cosines = rows @ rows.T
    among = [cosines[pair] for pair in combinations(range(len(rows) - 1), 2)]
    return float(np.mean(among)), float(cosines[:-1, -1].mean())


def _listed(found: Outcomes, metric: str) -> str:
    return ", ".join(f"{value:.4f}" for value in values(found["MA-GNN"], metric))
