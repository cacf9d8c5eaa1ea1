"""Whether what is there to be learnt is learnt: items that follow one another by a known chain."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from offprint.core.experiments import Claim, Run, at_least, experiment, ordered
from offprint.magnn import MAGNN, RankingMetrics, Sequences, Split, TrainConfig, baselines, evaluate, plots, split_ratio
from offprint.magnn.data import markov_sessions, markov_transition
from offprint.magnn.experiments._compare import KS, POPULARITY, Outcome, compare, histories, means, metrics, values


@dataclass(frozen=True)
class LearnabilityConfig:
    """Settings of the experiment on a Markov chain over items."""

    users: int = 500
    """Users, each with 20 to 40 items."""
    items: int = 200
    """Items of the chain."""
    epochs: int = 30
    """Epochs."""
    batch_size: int = 256
    """Windows in a step."""
    d: int = 50
    """Size of the vectors."""
    seeds: int = 1
    """Of parameters, order and negatives."""


@experiment(
    "learnability",
    reproduces="The method at work: the order of items is learnt",
    paper=LearnabilityConfig(seeds=5),
)
def learnability(config: LearnabilityConfig, run: Run) -> Iterator[Claim]:
    """Items of a first-order Markov chain, all about equally popular: MA-GNN ranks by the order of a user's items."""
    split = split_ratio(markov_sessions(0, config.users, config.items))
    sizes = (config.users, config.items, config.d)
    models = {
        "BPR-MF": lambda seed: baselines.BPRMF(*sizes, rngs=nnx.Rngs(seed)),
        "MA-GNN": lambda seed: MAGNN(*sizes, rngs=nnx.Rngs(seed)),
    }
    training = TrainConfig(batch_size=config.batch_size, epochs=config.epochs, eval_every=max(config.epochs // 10, 1))
    found = compare(models, split, training, config.seeds, run)
    limit = chain_known(split, markov_transition(0, config.items))
    run.log(model="chain known", seed=0, **limit.as_dict("test_"))
    run.figure(
        "metrics",
        plots.metric_by_k(metrics(found | {"chain known": [Outcome(limit, [])]})),
        f"Test metrics of {config.seeds} seeds. The ranking by the chain itself shows how much can be known at all.",
    )
    run.figure(
        "curves",
        plots.training_curves(histories(found), {"loss": "loss", "validation NDCG@10": "val_ndcg@10"}),
        "Loss for each target, and NDCG@10 on the validation part, by which the epoch is chosen.",
    )
    popularity = values(found[POPULARITY], "recall")[0]
    yield Claim(
        f"Recall@10 of MA-GNN over that of popularity ({popularity:.3f}), each seed (the chain itself: "
        f"{limit.recall[10] / popularity:.1f})",
        paper="sequences are modelled: far above what knows no order",
        here=[recall / popularity for recall in values(found["MA-GNN"], "recall")],
        rule=at_least(5),
    )
    yield Claim(
        "Recall@10, mean of the seeds",
        paper="MA-GNN above BPR-MF on all data sets",
        here=means(found, "recall"),
        rule=ordered("BPR-MF < MA-GNN"),
    )


def chain_known(split: Split, transition: Float[np.ndarray, "items items"]) -> RankingMetrics:
    """Metrics of the ranking that knows the chain: how often each item is expected in as many steps as are tested.

    Expected visits are summed over the powers of the transition matrix, from the user's last item on; that nothing is
    visited twice is taken into account by leaving out what the user had.
    """
    expected = [np.zeros_like(transition)]
    power = np.eye(len(transition))
    for _ in range(split.test.lengths.max()):
        power = power @ transition
        expected.append(expected[-1] + power)
    scores = np.stack(expected)[split.test.lengths, last_items(split.train_val)]
    users = np.repeat(np.arange(split.train_val.num_users), split.train_val.lengths)
    scores[users, np.asarray(split.train_val.items)] = -np.inf
    return evaluate(np.argsort(-scores, axis=1, kind="stable")[:, : max(KS)], split.test, KS)


def last_items(sequences: Sequences) -> Int[np.ndarray, " users"]:
    """The last item of every user."""
    return np.asarray(sequences.items)[np.asarray(sequences.indptr)[1:] - 1]
