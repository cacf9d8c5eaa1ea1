"""A recurrent network with self loops: its gradient against finite differences, and the Hebbian form of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.experiments import Claim, Run, at_most, experiment
from offprint.core.experiments import equals as exactly
from offprint.forward_propagation import (
    LIF,
    RecurrentParams,
    SpikeTrain,
    adjoint_gradient,
    hebbian_terms,
    membrane_potential,
    plots,
    spike_train,
)
from offprint.forward_propagation import recurrent as simulate

Simulation = Callable[[SpikeTrain, RecurrentParams], SpikeTrain]


@dataclass(frozen=True)
class RecurrentConfig:
    """Settings of the experiment on recurrent networks."""

    neurons: int = 100
    """Neurons, each connected with each and with itself."""
    inputs: int = 50
    """Inputs of 5 spikes each, connected with 30 % of the neurons."""
    t_max: float = 8.0
    """Horizon, in membrane time constants."""
    directions: int = 10
    """Random directions in the space of all parameters."""
    step: float = 1e-6
    """Of the central differences; it is halved where the order of the spikes changes."""


@experiment(
    "recurrent",
    reproduces="Arbitrary recurrent connectivity, up to self loops; the gradient as a Hebbian sum",
    paper=RecurrentConfig(neurons=500, t_max=6.5),
    x64=True,
)
def recurrent(config: RecurrentConfig, run: Run) -> Iterator[Claim]:
    """The gradient of a recurrent network is right, and is a weighted sum of feeding kernels at its spikes."""
    spikes_in, params, cotangent_key = _network(config)
    simulation = jax.jit(_simulation(config))
    spikes = simulation(spikes_in, params)
    total = int(spikes.count.sum())
    cotangent = jnp.where(jnp.isfinite(spikes.times), jax.random.normal(cotangent_key, spikes.times.shape), 0)
    run.log(neurons=config.neurons, spikes=total, most=int(spikes.count.max()), overflow=bool(spikes.overflow.any()))
    _raster(run, spikes_in, spikes, params, config)
    yield Claim(
        f"spikes of {config.neurons} neurons that did not fit into the arrays ({total} spikes)",
        paper="every spike counts",
        here=int(spikes.overflow.sum()),
        rule=exactly(0),
    )
    at = spikes.times[jnp.isfinite(spikes.times)]
    owners = np.repeat(np.arange(config.neurons), np.asarray(spikes.count))
    v = jax.jit(membrane_potential)(at, spikes_in, spikes, params)[np.arange(total), owners]
    yield Claim(
        "largest |V - θ| at a spike, by the kernel form of V",
        paper="0: spike times are roots",
        here=float(jnp.abs(v - jnp.asarray(params.neuron.threshold)[owners]).max()),
        rule=at_most(1e-12),
    )
    gradient = jax.jit(jax.grad(_loss(config, cotangent), argnums=1))(spikes_in, params)
    yield from _differences(config, run, simulation, spikes_in, params, cotangent, gradient)
    yield from _hebbian(spikes_in, params, spikes, cotangent, gradient)


def _hebbian(
    spikes_in: SpikeTrain, params: RecurrentParams, spikes: SpikeTrain, cotangent: Array, gradient: Any
) -> Iterator[Claim]:
    weights = jnp.concatenate([gradient.w_in, gradient.w_rec])
    c, y = jax.jit(hebbian_terms)(spikes_in, params, spikes, cotangent)
    yield Claim(
        "gradient by the weights as a sum of the feeding kernels y_ji at the spikes of i: relative difference",
        paper="almost an average of the feeding kernel at the firing times",
        here=float(jnp.abs(jnp.einsum("ns,jns->jn", c, y) - weights).max() / jnp.abs(weights).max()),
        rule=at_most(1e-12),
    )
    adjoint = jax.jit(adjoint_gradient)(spikes_in, params, spikes, cotangent).params
    both = jnp.concatenate([adjoint.w_in, adjoint.w_rec])
    yield Claim(
        "linear-time adjoint from the spike lists alone: relative difference by the weights",
        paper="agnostic to how the forward pass is implemented",
        here=float(jnp.abs(both - weights).max() / jnp.abs(weights).max()),
        rule=at_most(1e-9),
    )


def _differences(
    config: RecurrentConfig,
    run: Run,
    simulation: Simulation,
    spikes_in: SpikeTrain,
    params: RecurrentParams,
    cotangent: Array,
    gradient: Any,
) -> Iterator[Claim]:
    """Derivatives in random directions: those of the gradient, and central differences."""

    def moved(direction: tuple[Array, ...], step: float) -> tuple[float, np.ndarray]:
        """The loss at a point on the way in a direction, and the order of all spikes there."""
        w_in, w_rec, *neuron = (p + step * d for p, d in zip(_numbers(params), direction, strict=True))
        times = simulation(spikes_in, params._replace(w_in=w_in, w_rec=w_rec, neuron=LIF(*neuron))).times
        every = np.concatenate([np.ravel(times), np.ravel(spikes_in.times)])
        return float(_combined(times, cotangent)), np.argsort(every, kind="stable")

    _, order = moved(_direction(jax.random.key(0), params), 0.0)
    rows = []
    for key in jax.random.split(jax.random.key(7), config.directions):
        direction = _direction(key, params)
        step, kept = 2 * config.step, False
        while not kept and step > 1e-8:
            step /= 2
            (ahead, order_ahead), (back, order_back) = moved(direction, step), moved(direction, -step)
            kept = np.array_equal(order, order_ahead) and np.array_equal(order, order_back)
        slope = sum(jnp.vdot(g, d) for g, d in zip(_numbers(gradient), direction, strict=True))
        rows.append((float(slope), (ahead - back) / (2 * step), step, kept))
    slopes, differences, steps, kept_order = map(np.array, zip(*rows, strict=True))
    errors = np.abs(slopes - differences) / np.abs(slopes).max()
    run.log(slopes=slopes, differences=differences, steps=steps, kept_order=kept_order, errors=errors)
    run.figure(
        "central-differences",
        plots.against_differences(differences, {"gradient": slopes}),
        f"Derivatives of a random combination of all spike times in {config.directions} random directions.",
    )
    yield Claim(
        f"gradient against central differences in {config.directions} random directions of all weights, thresholds and "
        "time constants: largest error over the largest derivative",
        paper="exact",
        here=errors.max(),
        rule=at_most(1e-6),
    )


def _raster(
    run: Run, spikes_in: SpikeTrain, spikes: SpikeTrain, params: RecurrentParams, config: RecurrentConfig
) -> None:
    run.figure(
        "activity",
        plots.activity(spikes_in, [spikes], params, config.t_max),
        f"Spikes of {config.inputs} inputs and {config.neurons} neurons, and the potentials of the three neurons that "
        "fire most, thresholds dotted.",
    )


def _network(config: RecurrentConfig) -> tuple[SpikeTrain, RecurrentParams, PRNGKeyArray]:
    n, n_in = config.neurons, config.inputs
    key_in, key_mask, key_rec, key_times, key_neuron, key_cotangent = jax.random.split(jax.random.key(0), 6)
    there = jax.random.bernoulli(key_mask, 0.3, (n_in, n))
    w_in = (0.25 + 0.5 * jax.random.normal(key_in, (n_in, n))) * there
    w_rec = 0.5 / np.sqrt(n) * jax.random.normal(key_rec, (n, n))
    tau_mem, tau_syn, threshold = jax.random.uniform(key_neuron, (3, n), minval=0.9, maxval=1.1)
    times = jax.random.uniform(key_times, (n_in, 5), maxval=0.8 * config.t_max)
    return spike_train(times), RecurrentParams(w_in, w_rec, LIF(tau_mem, 0.5 * tau_syn, threshold)), key_cotangent


def _simulation(config: RecurrentConfig) -> Simulation:
    def run(spikes_in: SpikeTrain, params: RecurrentParams) -> SpikeTrain:
        return simulate(spikes_in, params.w_in, params.w_rec, params.neuron, t_max=config.t_max, max_spikes=24)

    return run


def _loss(config: RecurrentConfig, cotangent: Array) -> Callable[[SpikeTrain, RecurrentParams], Array]:
    simulation = _simulation(config)
    return lambda spikes_in, params: _combined(simulation(spikes_in, params).times, cotangent)


def _combined(times: Float[Array, "n S"], cotangent: Float[Array, "n S"]) -> Float[Array, ""]:
    """The combination of all spike times that is differentiated."""
    return jnp.sum(jnp.where(jnp.isfinite(times), times, 0) * cotangent)


def _numbers(params: RecurrentParams) -> tuple[Array, ...]:
    """What the directions are in: weights, time constants and thresholds."""
    return tuple(jnp.asarray(value) for value in (params.w_in, params.w_rec, *params.neuron))


def _direction(key: PRNGKeyArray, params: RecurrentParams) -> tuple[Array, ...]:
    """A random direction of length 1 that leaves synapses alone which are not there."""
    numbers = _numbers(params)
    parts = [jax.random.normal(part, leaf.shape) for part, leaf in zip(jax.random.split(key, len(numbers)), numbers)]
    parts[0] = jnp.where(params.w_in != 0, parts[0], 0)
    length = jnp.sqrt(sum(jnp.sum(part**2) for part in parts))
    return tuple(part / length for part in parts)
