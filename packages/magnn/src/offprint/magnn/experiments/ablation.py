"""What each part of the model is worth: parts left out, and other ways of putting them together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from flax import nnx

from offprint.core.experiments import Claim, Run, experiment, ordered
from offprint.magnn import MAGNN, Sequences, TrainConfig, plots, split_ratio
from offprint.magnn.data import markov_sessions
from offprint.magnn.experiments import _movielens
from offprint.magnn.experiments._compare import Build, compare, histories, means, values

VARIANTS: dict[str, dict[str, Any]] = {
    "P": {"short_term": "none", "long_term": "none", "cooccurrence": "none"},
    "P+S": {"long_term": "none", "cooccurrence": "none"},
    "P+S+H": {"cooccurrence": "none"},
    "P+S+H, concatenated": {"cooccurrence": "none", "fusion": "concat"},
    "P+S+H, GRU": {"cooccurrence": "none", "fusion": "gru"},
    "no long-term": {"long_term": "none"},
    "no memory": {"long_term": "attention"},
    "MA-GNN": {},
}
"""P, S, H and C of the paper are users' vectors, short-term and long-term interest, and co-occurrence; the model has
all of them."""


@dataclass(frozen=True)
class AblationConfig:
    """Settings of the ablation."""

    data: Literal["generated", "movielens"] = "generated"
    """"generated": a first-order Markov chain of items, without anything long-term. "movielens": MovieLens-1M."""
    variants: tuple[str, ...] = ("P", "P+S", "P+S+H", "P+S+H, concatenated", "MA-GNN")
    """Also "P+S+H, GRU", "no long-term" and "no memory"."""
    epochs: int = 10
    """Epochs on training and validation items together, the same for all."""
    batch_size: int = 256
    """Windows in a step."""
    d: int = 50
    """Size of the vectors."""
    seeds: int = 1
    """Of parameters, order and negatives."""
    resume: bool = False
    """Save every training, so that an interrupted comparison goes on."""


@experiment(
    "ablation",
    reproduces="The ablation table: user, short-term, long-term, co-occurrence, and three ways of fusion",
    paper=AblationConfig("movielens", tuple(VARIANTS), epochs=20, batch_size=4096, seeds=2, resume=True),
)
def ablation(config: AblationConfig, run: Run) -> Iterator[Claim]:
    """Parts left out, and fused in other ways, at equal epochs: the whole model is far above users' vectors alone."""
    sequences = markov_sessions() if config.data == "generated" else _movielens.sequences()
    split = split_ratio(sequences)
    found = compare(
        variants(config, sequences),
        split,
        TrainConfig(batch_size=config.batch_size, epochs=config.epochs, train_on="train_val", select=None),
        config.seeds,
        run,
        checkpoints=run.checkpoints if config.resume else None,
    )
    titles = {"recall": "Recall@10", "ndcg": "NDCG@10"}
    panels = {title: {name: values(seeds, metric) for name, seeds in found.items()} for metric, title in titles.items()}
    named = "a Markov chain" if config.data == "generated" else "MovieLens-1M"
    caption = f"Test metrics on {named} after {config.epochs} epochs, {config.seeds} seeds."
    run.figure("bars", plots.ablation_bars(panels), caption)
    run.figure("curves", plots.training_curves(histories(found), {"loss": "loss"}), "Loss for each target.")
    for metric, title in titles.items():
        measured = means(found, metric)
        yield Claim(
            f"{title} on {named}, against users' vectors alone",
            paper="short-term interest helps, and all parts together are best",
            here={name: measured[name] for name in ("P", "MA-GNN")},
            rule=ordered("P < MA-GNN"),
        )
        if config.data == "movielens":  # the chain has nothing long-term
            yield Claim(
                f"{title} on {named}, without long-term interest or its memory",
                paper="all parts together are best",
                here={name: measured[name] for name in ("no long-term", "no memory", "MA-GNN")},
                rule=ordered("no long-term <= MA-GNN", "no memory <= MA-GNN"),
            )


def variants(config: AblationConfig, sequences: Sequences) -> dict[str, Build]:
    """The variants, each from a seed."""
    if unknown := set(config.variants) - set(VARIANTS):
        raise ValueError(f"variants {', '.join(sorted(unknown))} are unknown; there are {', '.join(VARIANTS)}")
    needed = {"P", "MA-GNN"} | ({"no long-term", "no memory"} if config.data == "movielens" else set())
    if missing := needed - set(config.variants):
        raise ValueError(f"variants must have {', '.join(sorted(missing))}, which the claims are about")

    def build(options: dict[str, Any]) -> Build:
        sizes = (sequences.num_users, sequences.num_items, config.d)
        return lambda seed: MAGNN(*sizes, **options, rngs=nnx.Rngs(seed))

    return {name: build(VARIANTS[name]) for name in config.variants}
