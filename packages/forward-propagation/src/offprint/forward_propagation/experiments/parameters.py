"""Delays, thresholds and time constants: exact gradients train them, too."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment, ordered
from offprint.forward_propagation import (
    LIF,
    FittedSeeds,
    Recipe,
    convergence_epoch,
    fit_seeds,
    lif_layer,
    plots,
    recipe,
    spike_train,
)
from offprint.forward_propagation.data import xor as bits
from offprint.forward_propagation.experiments._runs import keys, mean, model_of

ALL = ("kernel", "delay", "threshold", "tau_mem", "tau_syn")
START = {"delay": 0.2, "threshold": 1.0, "tau_mem": 1.0, "tau_syn": 0.5}
"""Of the single neuron."""


@dataclass(frozen=True)
class ParametersConfig:
    """Settings of the experiment on the parameters besides the weights."""

    updates: int = 400
    """Steps of gradient descent of the single neuron."""
    rate: float = 0.2
    """Their size."""
    seeds: int = 100
    """Networks that learn XOR."""
    epochs: int = 100
    """Epochs of these."""
    learning_rate: float = 0.02
    """Of the networks with fixed weights; 0.1, the authors' for weights, where the weights are learnt as well."""


@experiment(
    "parameters",
    reproduces="Exact gradients by all parameters, not in the paper: delays, thresholds, time constants are learnt",
    paper=ParametersConfig(seeds=1000),
    x64=True,
)
def parameters(config: ParametersConfig, run: Run) -> Iterator[Claim]:
    """Descent on one parameter moves a spike to its target; networks learn with all of them, and with fixed weights."""
    paths, values = _descents(config)
    for name, path, value in zip(START, paths, values, strict=True):
        run.log(parameter=name, value=value, first=path[0], error=path[-1])
        yield Claim(
            f"one neuron, its {name} learnt: distance of the spike from its target after {config.updates} updates",
            paper="not in the paper",
            here=path[-1],
            rule=at_most(1e-6),
        )
    result = _fit(ALL, recipe("xor").learning_rate, config)
    epochs = convergence_epoch(result.accuracy)
    done = np.isfinite(epochs)
    run.log(learn=ALL, converged=int(done.sum()), mean_epoch=epochs[done].mean() if done.any() else None)
    yield Claim(
        f"XOR, weights, delays, thresholds and time constants learnt: share of {config.seeds} runs that converge "
        f"within {config.epochs} epochs",
        paper="0.995, weights alone",
        here=mean(done),
        rule=at_least(0.985),
    )
    yield from _fixed_weights(config, run)


def _fixed_weights(config: ParametersConfig, run: Run) -> Iterator[Claim]:
    result = _fit(ALL[1:], config.learning_rate, config)
    done = np.isfinite(convergence_epoch(result.accuracy))
    run.log(learn=ALL[1:], converged=int(done.sum()), loss=result.loss.mean(0))
    run.figure(
        "loss-fixed-weights",
        plots.training_curves({"loss": {f"{config.seeds} runs": result.loss}}, window=1),
        f"XOR with the weights as they were drawn: {done.sum()} of {config.seeds} networks get all points right.",
    )
    settings = recipe("xor")
    before = {"delay": 0.0, "threshold": settings.threshold, "tau_mem": settings.tau_mem, "tau_syn": settings.tau_syn}
    run.figure(
        "distributions",
        plots.parameter_histograms(before, _learnt(result, config.seeds)),
        "What the networks with fixed weights learnt, all seeds together: delays of the first layer's synapses, "
        "thresholds and time constants of its neurons.",
    )
    yield Claim(
        "XOR, delays, thresholds and time constants learnt, weights fixed: mean loss in the first and the last epoch",
        paper="not in the paper",
        here={"last": mean(result.loss[:, -1]), "first": mean(result.loss[:, 0])},
        rule=ordered("last < first"),
    )


def _settings(learn: tuple[str, ...], rate: float, config: ParametersConfig) -> Recipe:
    return recipe("xor", learn=learn, learning_rate=rate, epochs=config.epochs)


def _fit(learn: tuple[str, ...], rate: float | int, config: ParametersConfig) -> FittedSeeds:
    return fit_seeds(bits(), bits(), _settings(learn, rate, config), keys(config.seeds), dtype="float64")


def _learnt(result: FittedSeeds, seeds: int) -> dict[str, np.ndarray]:
    """Parameters of the first layer, of all seeds."""
    layers = [model_of(result, seed).layers[0].layer for seed in range(seeds)]
    found = {"delay": [np.asarray(layer.delays) for layer in layers]}
    found |= {name: [np.asarray(getattr(layer.neuron, name)) for layer in layers] for name in LIF._fields}
    return {name: np.stack(values) for name, values in found.items()}


def _descents(config: ParametersConfig) -> tuple[Float[np.ndarray, "4 _"], Float[np.ndarray, " 4"]]:
    """For each parameter alone: distances from the target before every update and at the end, and the value found."""
    start = jnp.array(list(START.values()))
    target = _first_spike(start) + 0.05

    def descent(mask: Array) -> tuple[Array, Array]:
        def update(values: Array, _: None) -> tuple[Array, Array]:
            t, slope = jax.value_and_grad(_first_spike)(values)
            return values - config.rate * (t - target) * slope * mask, jnp.abs(t - target)

        values, path = jax.lax.scan(update, start, length=config.updates)
        return jnp.append(path, jnp.abs(_first_spike(values) - target)), values @ mask

    paths, values = jax.jit(jax.vmap(descent))(jnp.eye(len(START)))
    return np.asarray(paths), np.asarray(values)


def _first_spike(values: Float[Array, " 4"]) -> Float[Array, ""]:
    """Of a neuron with three inputs, whose parameters are those of `START`; descended is half the squared distance."""
    delay, threshold, tau_mem, tau_syn = values
    spikes_in = spike_train([[0.0], [0.3], [0.5]])
    weights = jnp.array([[1.0], [1.5], [2.0]])
    delays = jnp.broadcast_to(delay, (3,))
    return lif_layer(
        spikes_in, weights, LIF(tau_mem, tau_syn, threshold), delays=delays, t_max=4.0, max_spikes=1
    ).times[0, 0]
