"""The toy task of choosing inputs with a learned mask: one training run instead of one for each mask."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, PRNGKeyArray, PyTree

from offprint.core.experiments import Claim, Run, at_least, experiment
from offprint.core.metrics import roc_auc
from offprint.network_partitioning import plots
from offprint.network_partitioning._aggregate import averaged, loglik_of
from offprint.network_partitioning._hyper import ConcreteMask, split_input
from offprint.network_partitioning._partition import partition
from offprint.network_partitioning._train import init_state, make_step
from offprint.network_partitioning.data import toy
from offprint.network_partitioning.experiments._networks import MLP, functional
from offprint.network_partitioning.experiments._runs import listing, sharded, trace, watched_steps


@dataclass(frozen=True)
class ToyMaskConfig:
    """Settings of the toy task with a learned mask."""

    examples: int = 1000
    """Training examples."""
    informative: int = 15
    """Inputs that know something of the label."""
    features: int = 30
    """Inputs in all."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of the hidden layers."""
    chunks: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    """Shares of the data in each shard, and of the weights in each partition."""
    scheme: str = "random_weight"
    """How weights are partitioned."""
    steps: int = 1500
    """Updates."""
    batch_size: int = 128
    """Examples in a batch."""
    learning_rate: float = 1e-3
    """Of Adam for the weights."""
    hyper_rate: float = 0.01
    """Of Adam for the logits of the mask."""
    temperature: float = 0.5
    """Of the concrete relaxation."""
    samples: int = 1
    """Masks of each example in each update."""
    seeds: int = 8
    """Data sets and networks."""


@experiment("toy-mask", reproduces="Input selection with a learned mask (toy task)", paper=ToyMaskConfig(seeds=16))
def toy_mask(config: ToyMaskConfig, run: Run) -> Iterator[Claim]:
    """One training run finds the inputs that matter, by gradient and without validation data."""
    probabilities = _train(config)
    steps = watched_steps(config.steps)
    informative = np.arange(config.features) < config.informative
    last = probabilities[:, -1]
    auc = [float(roc_auc(jnp.asarray(row), jnp.asarray(informative))) for row in last]
    kept, rest = last[:, informative].mean(1), last[:, ~informative].mean(1)
    run.log(auc=auc, informative=kept, spurious=rest, probabilities=last)
    run.figure(
        "keep-probabilities",
        plots.keep_probabilities(probabilities[0], steps, informative=config.informative),
        "Probability that each input is kept, first seed; those below the line know something of the label.",
    )
    run.figure(
        "means",
        plots.curves(
            {
                "mean probability of being kept": {
                    name: [(steps, seed[:, rows].mean(1)) for seed in probabilities]
                    for name, rows in (("informative", informative), ("spurious", ~informative))
                }
            }
        ),
        f"Mean keep-probability of the informative and of the spurious inputs, {config.seeds} seeds.",
    )
    yield Claim(
        f"AUC of the keep-probabilities for telling the informative inputs, mean of {config.seeds} seeds "
        f"({listing(auc)})",
        paper="the informative inputs are kept",
        here=np.mean(auc),
        rule=at_least(0.9),
    )
    yield Claim(
        f"mean keep-probability of informative inputs ({listing(kept)}) minus that of spurious ones ({listing(rest)})",
        paper="the informative inputs are kept; the others' weights become harmless before the mask closes",
        here=np.mean(kept - rest),
        rule=at_least(0.4),
    )


def _train(config: ToyMaskConfig) -> np.ndarray:
    """Keep-probabilities of every seed, time and input."""
    init, apply = functional(lambda rngs: MLP((config.features, *config.hidden, 2), nnx.relu, rngs=rngs))
    augment, hyper = split_input(ConcreteMask(config.features, temperature=config.temperature))
    loglik = loglik_of(averaged(lambda params, hyper, x, key: apply(params, x), augment, config.samples))
    keys = jax.random.split(jax.random.key(0), config.seeds)
    data = [toy(key, config.examples, informative=config.informative, features=config.features) for key in keys]
    batches, _ = sharded(data, config.chunks, config.batch_size, jax.random.key(1))
    tx, hyper_tx = optax.adam(config.learning_rate), optax.adam(config.hyper_rate)

    def one(batches: PyTree, key: PRNGKeyArray) -> Array:
        init_key, ids_key, run_key = jax.random.split(key, 3)
        params = init(init_key)
        part = partition(params, config.chunks, scheme=config.scheme, key=ids_key)
        step = make_step(loglik, part, tx, hyper_tx, sizes=batches.sizes)
        state = init_state(params, part, hyper, tx, hyper_tx)
        _, seen = trace(step, state, batches, config.steps, run_key, lambda state: jax.nn.sigmoid(_phi(state.hyper)))
        return seen

    seeds = jax.jit(jax.vmap(one))
    return np.asarray(seeds(batches, jax.random.split(jax.random.key(2), config.seeds)))


def _phi(hyper: PyTree) -> Array:
    (phi,) = jax.tree.leaves(hyper)
    return jnp.asarray(phi)
