"""Layers as flax NNX modules: what is learnt is an `nnx.Param`, the rest stays as given."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from offprint.forward_propagation._layer import lif_layer
from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._recurrent import RecurrentParams, recurrent
from offprint.forward_propagation._spikes import SpikeTrain

Number = float | int
Given = Number | Float[Array, "..."] | Float[np.ndarray, "..."]
LEARNABLE = ("kernel", "delay", "threshold", "tau_mem", "tau_syn")


class Fixed(nnx.Variable):
    """A parameter of a layer that is not learnt."""


class LIFDense(nnx.Module):
    """A layer of LIF neurons, every input connected to every neuron: spike trains in, spike trains out.

    Time constants and thresholds that are learnt belong to each neuron and are kept as their logarithms, so that they
    stay positive; learnt delays belong to each synapse and count as 0 where an update made them negative.

    Args:
        n_in, n_out: numbers of inputs and neurons.
        tau_mem, tau_syn, threshold: one number, or (n_out,).
        delay: transmission delay, one number, (n_in,) or (n_in, n_out).
        t_max: horizon T: later spikes are left out.
        max_spikes: spikes S that are kept of every neuron; more are flagged as `overflow`.
        w_mean, w_std: the weights are drawn from a normal distribution.
        learn: what is learnt of `"kernel"` (the weights), `"delay"`, `"threshold"`, `"tau_mem"`, `"tau_syn"`.
        reset_coupling, slope_floor: see `lif_layer`.
        rngs: source of the weights, stream `params`.
        dtype: float32 or float64; the spikes given to the layer must have it, too.

    Raises:
        ValueError: an unknown name in `learn`; a time constant, threshold or delay that is not allowed.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        tau_mem: Given = 1.0,
        tau_syn: Given = 1.0,
        threshold: Given = 1.0,
        delay: Given = 0.0,
        t_max: Number,
        max_spikes: int,
        w_mean: Number,
        w_std: Number,
        learn: Sequence[str] = ("kernel",),
        reset_coupling: bool = True,
        slope_floor: Number = 0.0,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ) -> None:
        _check_learn(learn, LEARNABLE)
        self.n_in, self.n_out, self.t_max, self.max_spikes = int(n_in), int(n_out), float(t_max), int(max_spikes)
        self.reset_coupling, self.slope_floor = bool(reset_coupling), float(slope_floor)
        weights = w_mean + w_std * jax.random.normal(rngs.params(), (n_in, n_out), dtype)
        self.kernel = nnx.Param(weights) if "kernel" in learn else Fixed(weights)
        self.delay = _delay(delay, (n_in, n_out), "delay" in learn, dtype)
        self.log_tau_mem = _log("tau_mem", tau_mem, n_out, "tau_mem" in learn, dtype)
        self.log_tau_syn = _log("tau_syn", tau_syn, n_out, "tau_syn" in learn, dtype)
        self.log_threshold = _log("threshold", threshold, n_out, "threshold" in learn, dtype)

    @property
    def layer(self) -> LayerParams:
        """Weights, neuron and delays as they are now."""
        neuron = LIF(*(jnp.exp(log[...]) for log in (self.log_tau_mem, self.log_tau_syn, self.log_threshold)))
        return LayerParams(self.kernel[...], neuron, _current(self.delay))

    def __call__(self, spikes: SpikeTrain) -> SpikeTrain:
        """Spikes (..., n_out, S) of the layer for input spikes (..., n_in, S')."""
        params = self.layer

        def sample(train: SpikeTrain) -> SpikeTrain:
            return lif_layer(
                train,
                params.weights,
                params.neuron,
                delays=params.delays,
                t_max=self.t_max,
                max_spikes=self.max_spikes,
                reset_coupling=self.reset_coupling,
                slope_floor=self.slope_floor,
            )

        return _batched(sample, spikes)


class LIFRecurrent(nnx.Module):
    """A layer of LIF neurons that also feed each other, self loops included unless `mask_rec` takes them out.

    Args:
        n_in, n: numbers of inputs and neurons.
        tau_mem, tau_syn, threshold: one number, or (n,).
        delay_in, delay_rec: transmission delays, one number or one for each synapse.
        mask_rec: which recurrent synapses there are (n, n), [pre, post]; all by default.
        t_max: horizon T.
        max_spikes: spikes kept of every neuron.
        max_events: spikes of all neurons together after which the simulation ends; n `max_spikes` by default.
        w_mean, w_std: of the weights from the inputs.
        rec_mean, rec_std: of the recurrent weights.
        learn: what is learnt of `"kernel"`, `"recurrent"` (the weights), `"delay"` (both kinds), `"threshold"`,
            `"tau_mem"`, `"tau_syn"`.
        reset_coupling, slope_floor: see `recurrent`.
        rngs, dtype: as in `LIFDense`.

    Raises:
        ValueError: see `LIFDense`.
    """

    def __init__(
        self,
        n_in: int,
        n: int,
        *,
        tau_mem: Given = 1.0,
        tau_syn: Given = 1.0,
        threshold: Given = 1.0,
        delay_in: Given = 0.0,
        delay_rec: Given = 0.0,
        mask_rec: Array | np.ndarray | None = None,
        t_max: Number,
        max_spikes: int,
        max_events: int | None = None,
        w_mean: Number,
        w_std: Number,
        rec_mean: Number = 0.0,
        rec_std: Number,
        learn: Sequence[str] = ("kernel", "recurrent"),
        reset_coupling: bool = True,
        slope_floor: Number = 0.0,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ) -> None:
        _check_learn(learn, (*LEARNABLE, "recurrent"))
        self.n_in, self.n, self.t_max = int(n_in), int(n), float(t_max)
        self.max_events, self.max_spikes = max_events, int(max_spikes)
        self.reset_coupling, self.slope_floor = bool(reset_coupling), float(slope_floor)
        weights = w_mean + w_std * jax.random.normal(rngs.params(), (n_in, n), dtype)
        between = rec_mean + rec_std * jax.random.normal(rngs.params(), (n, n), dtype)
        self.kernel = nnx.Param(weights) if "kernel" in learn else Fixed(weights)
        self.recurrent = nnx.Param(between) if "recurrent" in learn else Fixed(between)
        self.mask = None if mask_rec is None else Fixed(jnp.asarray(mask_rec, bool))
        self.delay_in = _delay(delay_in, (n_in, n), "delay" in learn, dtype)
        self.delay_rec = _delay(delay_rec, (n, n), "delay" in learn, dtype)
        self.log_tau_mem = _log("tau_mem", tau_mem, n, "tau_mem" in learn, dtype)
        self.log_tau_syn = _log("tau_syn", tau_syn, n, "tau_syn" in learn, dtype)
        self.log_threshold = _log("threshold", threshold, n, "threshold" in learn, dtype)

    @property
    def params(self) -> RecurrentParams:
        """Weights, neuron, delays and mask as they are now."""
        neuron = LIF(*(jnp.exp(log[...]) for log in (self.log_tau_mem, self.log_tau_syn, self.log_threshold)))
        return RecurrentParams(
            self.kernel[...],
            self.recurrent[...],
            neuron,
            _current(self.delay_in),
            _current(self.delay_rec),
            None if self.mask is None else self.mask[...],
        )

    def __call__(self, spikes: SpikeTrain) -> SpikeTrain:
        """Spikes (..., n, S) of the layer for input spikes (..., n_in, S')."""
        params = self.params

        def sample(train: SpikeTrain) -> SpikeTrain:
            return recurrent(
                train,
                params.w_in,
                params.w_rec,
                params.neuron,
                delay_in=params.delay_in,
                delay_rec=params.delay_rec,
                mask_rec=params.mask_rec,
                t_max=self.t_max,
                max_events=self.max_events,
                max_spikes=self.max_spikes,
                reset_coupling=self.reset_coupling,
                slope_floor=self.slope_floor,
            )

        return _batched(sample, spikes)


class Sequential(nnx.Module):
    """Layers one after another, each fed by the spikes of the one before it.

    Args:
        *layers: `LIFDense`, `LIFRecurrent`, or any function of spike trains.
    """

    def __init__(self, *layers: Any) -> None:
        self.layers = nnx.List(layers)

    def __call__(self, spikes: SpikeTrain) -> SpikeTrain:
        """Spikes of the last layer."""
        for layer in self.layers:
            spikes = layer(spikes)
        return spikes

    def activity(self, spikes: SpikeTrain) -> list[SpikeTrain]:
        """Spikes of every layer, the last one's at the end."""
        trains = []
        for layer in self.layers:
            spikes = layer(spikes)
            trains.append(spikes)
        return trains


def _batched(sample: Any, spikes: SpikeTrain) -> SpikeTrain:
    """`sample` mapped over the leading axes of the spikes, as one axis."""
    lead = spikes.times.shape[:-2]
    if not lead:
        return sample(spikes)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(lead) :]), spikes)
    return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]), jax.vmap(sample)(flat))


def _log(name: str, value: Given, n: int, learnt: bool, dtype: DTypeLike) -> nnx.Variable:
    given = np.asarray(value, np.float64) if not isinstance(value, jax.core.Tracer) else None
    if np.shape(value) not in ((), (n,)):
        raise ValueError(f"{name} must be one number or ({n},), one for each neuron, but has shape {np.shape(value)}")
    if given is not None and not ((given > 0) & np.isfinite(given)).all():
        raise ValueError(f"{name} must be positive and finite, but is {value}")
    log = jnp.log(jnp.asarray(value, dtype))
    return nnx.Param(jnp.broadcast_to(log, (n,))) if learnt else Fixed(log)


def _delay(value: Given, shape: tuple[int, int], learnt: bool, dtype: DTypeLike) -> nnx.Variable | float:
    if np.shape(value) not in ((), shape[:1], shape):
        raise ValueError(f"delays must be one number, {shape[:1]} or {shape}, [pre, post], but are {np.shape(value)}")
    if not isinstance(value, jax.core.Tracer) and not (np.asarray(value) >= 0).all():
        raise ValueError(f"delays must not be negative, but the least is {np.min(np.asarray(value))}")
    if not learnt and isinstance(value, float | int):
        return float(value)  # a number known at compile time: without delays the engines are faster
    delay = jnp.asarray(value, dtype)
    if not learnt:
        return Fixed(delay)
    return nnx.Param(jnp.broadcast_to(delay[:, None] if delay.ndim == 1 else delay, shape))


def _current(delay: nnx.Variable | float) -> Float[Array, "..."] | float:
    return delay if isinstance(delay, float) else _not_negative(delay[...])


def _not_negative(delay: Float[Array, "..."]) -> Float[Array, "..."]:
    """0 for negative delays, with gradient 1 throughout, so that an update can bring them back."""
    return delay + jax.lax.stop_gradient(jnp.maximum(delay, 0) - delay)


def _check_learn(learn: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(learn, str) or (unknown := [name for name in learn if name not in known]):
        wrong = repr(learn) if isinstance(learn, str) else ", ".join(map(repr, unknown))
        raise ValueError(f"learn={wrong}: a sequence of names among {', '.join(map(repr, known))} is needed")
