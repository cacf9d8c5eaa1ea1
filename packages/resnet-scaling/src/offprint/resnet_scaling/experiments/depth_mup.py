"""Depth-μP: one learning rate for every depth."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment
from offprint.resnet_scaling import ResNetParams, evaluate_loss, parametrisation, plots
from offprint.resnet_scaling.data import TrainTest, synthetic_ode


@dataclass(frozen=True)
class DepthMuPConfig:
    """Settings of the transfer of learning rates."""

    depths: tuple[int, ...] = (8, 32, 128, 256)
    """Depths L."""
    log2_rates: tuple[int, ...] = tuple(range(-8, 0))
    """Powers of 2 of Adam's learning rate."""
    steps: int = 64
    """Steps of Adam."""
    batch_size: int = 32
    """Samples in a batch."""
    seeds: int = 1
    """Trained networks for each rate; losses are averaged over them."""
    seed: int = 0
    """Of data and networks."""


@experiment(
    "depth-mup",
    reproduces="Transfer of the learning rate over depth (Depth-μP)",
    paper=DepthMuPConfig(depths=(8, 32, 128, 256, 512, 1024), log2_rates=tuple(range(-13, 0)), seeds=5),
)
def depth_mup(config: DepthMuPConfig, run: Run) -> Iterator[Claim]:
    """With multiplier 1/√L and Adam's rate times 1/√L, the best learning rate is the same at every depth."""
    key = jax.random.key(config.seed)
    data = synthetic_ode(key)
    losses = {
        name: {L: _losses(config, data, key, name, L) for L in config.depths} for name in ("depth-mup", "standard")
    }
    best: dict[str, list[float]] = {}
    rates: dict[str, list[int]] = {}
    for name, by_depth in losses.items():
        best[name] = [float(np.nanmin(values)) for values in by_depth.values()]
        rates[name] = [config.log2_rates[int(np.nanargmin(values))] for values in by_depth.values()]
        run.log(parametrisation=name, depths=list(config.depths), best_loss=best[name], best_log2_rate=rates[name])
    run.figure(
        "transfer",
        plots.learning_rate_transfer(2.0 ** np.array(config.log2_rates), losses),
        f"Mean loss of the last 8 of {config.steps} batches against the learning rate before its multiplier, a line "
        "for each depth.",
    )
    yield Claim(
        "depth-μP: largest over smallest best learning rate, in powers of 2",
        paper="0: the best rate is 2^-4 at every depth",
        here=max(rates["depth-mup"]) - min(rates["depth-mup"]),
        rule=at_most(1),
    )
    yield Claim(
        "depth-μP: largest over smallest best loss",
        paper="1.4: 0.0010 to 0.0014",
        here=max(best["depth-mup"]) / min(best["depth-mup"]),
        rule=at_most(1.6),
    )
    yield Claim(
        "standard parametrisation: largest over smallest best loss",
        paper="9.6: 0.0057 to 0.055",
        here=max(best["standard"]) / min(best["standard"]),
        rule=at_least(5),
    )


def _losses(
    config: DepthMuPConfig, data: TrainTest, key: PRNGKeyArray, name: str, depth: int
) -> Float[np.ndarray, " rates"]:
    """Mean loss of the last 8 batches for every learning rate."""
    rates = 2.0 ** jnp.array(config.log2_rates, float)
    keys = jax.random.split(jax.random.fold_in(key, depth), config.seeds)
    return np.asarray(_trained(name, depth, config.steps, config.batch_size, rates, keys, data.x_train, data.y_train))


@partial(jax.jit, static_argnames=("name", "depth", "steps", "batch_size"))
def _trained(
    name: str, depth: int, steps: int, batch_size: int, rates: Array, keys: Array, x: Array, y: Array
) -> Float[Array, " rates"]:
    dim = x.shape[1]
    scaling = parametrisation(name, depth, dim)

    def loss(params: ResNetParams, rows: Array) -> Array:
        return evaluate_loss(params, x[rows], y[rows], delta=scaling.block_multiplier)

    def run(rate: Array, key: PRNGKeyArray) -> Array:
        to_A, to_rows = jax.random.split(key)
        A = scaling.matrix_sd * jax.random.normal(to_A, (depth, dim, dim), x.dtype)
        params = ResNetParams(A, jnp.zeros((depth, dim), x.dtype), jnp.zeros(0, x.dtype))
        optimizer = scaling.scale(optax.adam(rate))
        epochs = -(-steps * batch_size // x.shape[0])
        orders = jax.vmap(lambda k: jax.random.permutation(k, x.shape[0]))(jax.random.split(to_rows, epochs))
        rows = orders[:, : x.shape[0] // batch_size * batch_size].reshape(-1, batch_size)[:steps]

        def step(carry: tuple, rows: Array) -> tuple[tuple, Array]:
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params, rows)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, optimizer.init(params)), rows)[1][-8:].mean()

    return jax.vmap(lambda rate: jax.vmap(lambda key: run(rate, key))(keys).mean())(rates)
