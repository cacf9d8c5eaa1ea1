"""The toy task of choosing inputs: networks that keep the first M of 30 inputs, ranked by marginal likelihood."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, PRNGKeyArray

from offprint.core.experiments import Claim, Run, at_least, equals, experiment
from offprint.core.train import scan
from offprint.network_partitioning import plots
from offprint.network_partitioning._aggregate import averaged, loglik_of
from offprint.network_partitioning._objective import log_marginal, nll_matrix
from offprint.network_partitioning._partition import partition
from offprint.network_partitioning._shards import ShardedBatches
from offprint.network_partitioning._train import init_state, make_step
from offprint.network_partitioning.data import toy
from offprint.network_partitioning.experiments._networks import MLP, functional
from offprint.network_partitioning.experiments._runs import (
    listing,
    percent_right,
    rank_correlation,
    sharded,
    stacked,
)


@dataclass(frozen=True)
class ToySelectionConfig:
    """Settings of the toy task with fixed masks."""

    examples: int = 1000
    """Training examples."""
    test_examples: int = 5000
    """Test examples, for what the marginal likelihood is compared with."""
    informative: int = 15
    """Inputs that know something of the label."""
    features: int = 30
    """Inputs in all."""
    masks: tuple[int, ...] = (5, 10, 13, 15, 17, 20, 25, 30)
    """How many of the first inputs each network keeps."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers."""
    chunks: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    """Shares of the data in each shard, and of the weights in each partition."""
    scheme: str = "random_weight"
    """How weights are partitioned."""
    steps: int = 400
    """Updates."""
    batch_size: int = 128
    """Examples in a batch."""
    learning_rate: float = 2e-3
    """Of Adam."""
    seeds: int = 16
    """Data sets and networks: with four, the test loss is too noisy to rank the masks by."""


@experiment(
    "toy-selection",
    reproduces="Input selection with fixed masks (toy task)",
    paper=ToySelectionConfig(chunks=(0.125,) * 8),
)
def toy_selection(config: ToySelectionConfig, run: Run) -> Iterator[Claim]:
    """The marginal likelihood of one training run peaks at the inputs that matter; the training loss does not."""
    found = _train(config)
    for number, kept in enumerate(config.masks):
        run.log(kept=kept, **{name: values[:, number] for name, values in found.items() if name != "matrix"})
    run.figure(
        "selection",
        plots.model_selection(
            config.masks,
            {
                "out of sample, $-L_{ML}$": -found["log_ml"],
                "test": found["test_nll"],
                "training": found["train_nll"],
            },
            truth=config.informative,
        ),
        f"Loss of networks that keep the first M of {config.features} inputs: mean and range of {config.seeds} seeds, "
        "the minimum marked. No test or validation data enter the out-of-sample loss.",
    )
    right = config.masks.index(config.informative)
    run.figure(
        "nll-matrix",
        plots.nll_heat_map(found["matrix"][0, right]),
        f"Mean loss of every subnetwork on every shard, M = {config.informative}, first seed.",
    )
    mean = {name: values.mean(0) for name, values in found.items()}
    masks = np.asarray(config.masks)
    each = masks[found["log_ml"].argmax(1)]
    yield Claim(
        f"inputs kept where L_ML is largest, mean of {config.seeds} seeds (nats per example: "
        f"{listing(mean['log_ml'], '.3f')} at {listing(masks, '.0f')}; each seed alone: "
        f"{int(np.sum((each >= 13) & (each <= 17)))} of {config.seeds} between 13 and 17)",
        paper=f"peaks at {config.informative}",
        here=int(masks[mean["log_ml"].argmax()]),
        rule=equals(config.informative),
    )
    yield Claim(
        f"rank correlation of L_ML and the test log-likelihood ({listing(mean['test_nll'], '.3f')} nats lost; "
        f"accuracy {listing(mean['test_accuracy'], '.1f')} %)",
        paper="L_ML follows the test log-likelihood",
        here=rank_correlation(mean["log_ml"], -mean["test_nll"]),
        rule=at_least(0.9),
    )
    yield Claim(
        f"inputs kept where the training loss is smallest ({listing(mean['train_nll'], '.3f')})",
        paper="the training loss cannot tell: it falls with every input",
        here=int(masks[mean["train_nll"].argmin()]),
        rule=equals(max(config.masks)),
    )


def _train(config: ToySelectionConfig) -> dict[str, np.ndarray]:
    """Results of every seed and mask, all of them trained in one program."""
    sizes = (config.features, *config.hidden, 2)
    init, apply = functional(lambda rngs: MLP(sizes, nnx.relu, rngs=rngs))
    draws = jax.random.split(jax.random.key(0), 2 * config.seeds)
    settings = {"informative": config.informative, "features": config.features}
    data = [toy(key, config.examples, **settings) for key in draws[: config.seeds]]
    test = [toy(key, config.test_examples, **settings) for key in draws[config.seeds :]]
    batches, shards = sharded(data, config.chunks, config.batch_size, jax.random.key(1))
    tx, nothing = optax.adam(config.learning_rate), optax.identity()

    def one(
        kept: Array, batches: ShardedBatches, data: tuple, shards: Array, test: tuple, key: PRNGKeyArray
    ) -> dict[str, Array]:
        mask = jnp.arange(config.features) < kept
        init_key, ids_key, run_key, end_key = jax.random.split(key, 4)

        predict = averaged(lambda params, hyper, x, key: apply(params, jnp.where(mask, x, 0)))
        loglik = loglik_of(predict)
        params = init(init_key)
        part = partition(params, config.chunks, scheme=config.scheme, key=ids_key)
        step = make_step(loglik, part, tx, nothing, sizes=batches.sizes)
        state, _ = scan(step, init_state(params, part, {}, tx, nothing), batches, config.steps, run_key)
        seen: Any = (loglik, state.params, part, {}, data, shards, end_key)
        return {
            "log_ml": log_marginal(*seen, per_example=True),
            "matrix": nll_matrix(*seen),
            "train_nll": -loglik(state.params, {}, data, end_key).mean(),
            "test_nll": -loglik(state.params, {}, test, end_key).mean(),
            "test_accuracy": percent_right(predict(state.params, {}, test[0], end_key), test[1]),
        }

    masks = jax.vmap(one, in_axes=(0, None, None, None, None, None))
    seeds = jax.jit(jax.vmap(masks, in_axes=(None, 0, 0, 0, 0, 0)))
    keys = jax.random.split(jax.random.key(2), config.seeds)
    found = seeds(jnp.asarray(config.masks), batches, stacked(data), shards, stacked(test), keys)
    return {name: np.asarray(values) for name, values in found.items()}
