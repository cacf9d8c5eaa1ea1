"""How much the sizes h, m and d matter."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
from flax import nnx

from offprint.core.experiments import Claim, Run, experiment, holds_when
from offprint.magnn import MAGNN, Split, TrainConfig, baselines, evaluate, fit, plots, recommend, split_ratio
from offprint.magnn.data import markov_sessions
from offprint.magnn.experiments import _movielens


@dataclass(frozen=True)
class SensitivityConfig:
    """Settings of the grid lines: one size varies, the others stay."""

    data: Literal["generated", "movielens"] = "generated"
    """"generated": a first-order Markov chain of items, without anything long-term. "movielens": MovieLens-1M."""
    h: tuple[int, ...] = (5, 20)
    """Dimensions of the attention."""
    m: tuple[int, ...] = (5, 20)
    """Memory units."""
    d: tuple[int, ...] = (20, 50)
    """Sizes of the vectors. The last of each is what the others are varied at."""
    epochs: int = 10
    """Epochs at most; the best one on the validation part counts."""
    batch_size: int = 256
    """Windows in a step."""
    seeds: int = 1
    """Of parameters, order and negatives."""


class Sizes(NamedTuple):
    """One setting."""

    h: int
    m: int
    d: int


@experiment(
    "sensitivity",
    reproduces="The figure of h and m, chosen on the validation part",
    paper=SensitivityConfig(
        "movielens", h=(5, 10, 15, 20), m=(5, 10, 15, 20), d=(25, 100, 50), epochs=20, batch_size=4096
    ),
)
def sensitivity(config: SensitivityConfig, run: Run) -> Iterator[Claim]:
    """Validation metrics over h, m and d: with any of them the model is above popularity."""
    split = split_ratio(markov_sessions() if config.data == "generated" else _movielens.sequences())
    lists = recommend(baselines.Popularity(split.train), split.train)
    popularity = evaluate(lists.items, split.val, (10,)).ndcg[10]
    run.log(model="popularity", val_ndcg=popularity)
    usual = Sizes(config.h[-1], config.m[-1], config.d[-1])
    known: dict[Sizes, list[float]] = {}
    panels: dict[str, dict[float | int, list[float]]] = {name: {} for name in Sizes._fields}
    for name in panels:
        for value in getattr(config, name):
            sizes = usual._replace(**{name: value})
            if sizes not in known:
                known[sizes] = [_validated(split, config, sizes, seed) for seed in range(config.seeds)]
                run.log(**sizes._asdict(), val_ndcg=known[sizes])
            panels[name][value] = known[sizes]
    run.figure(
        "sizes",
        plots.sensitivity(panels, "validation NDCG@10", {"popularity": popularity}),
        f"Best NDCG@10 on the validation part within {config.epochs} epochs; the other two sizes are "
        + ", ".join(f"{name} = {value}" for name, value in usual._asdict().items())
        + ".",
    )
    yield Claim(
        "validation NDCG@10 over that of popularity, for every h, m and d",
        paper="chosen from 5, 10, 15 and 20 on the validation part",
        here={
            f"{name} = {value}": [seed / popularity for seed in seeds]
            for name, points in panels.items()
            for value, seeds in points.items()
        },
        rule=holds_when("all above 1", lambda here: all(ratio > 1 for seeds in here.values() for ratio in seeds)),
    )


def _validated(split: Split, config: SensitivityConfig, sizes: Sizes, seed: int) -> float:
    """The best validation NDCG@10 of a training."""
    model = MAGNN(split.train.num_users, split.train.num_items, sizes.d, sizes.h, sizes.m, rngs=nnx.Rngs(seed))
    training = TrainConfig(batch_size=config.batch_size, epochs=config.epochs, eval_every=max(config.epochs // 4, 1))
    history = fit(model, split, training, jax.random.key(seed), progress=False).history
    return max(row["val_ndcg@10"] for row in history if "val_ndcg@10" in row)
