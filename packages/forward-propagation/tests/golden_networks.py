"""The networks of the golden files as this package's parameters, and its derivatives in the layout of the files."""

import jax
import jax.numpy as jnp
import numpy as np

from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._recurrent import RecurrentParams
from offprint.forward_propagation._spikes import SpikeTrain, from_events

RECURRENT = ("rec_small", "rec_delay_hetero")
FEEDFORWARD = ("ff_small", "ff_deep_hetero_delay", "ff_equal_tau", "ff_near_simultaneous")


def load_recurrent(stored, dtype="float64"):
    """Input spikes and parameters."""
    spikes_in = from_events(stored["input_times"], stored["input_channels"], len(stored["W_in"]), dtype=dtype)
    alpha, beta, theta = (stored[name].astype(dtype) for name in ("alpha", "beta", "theta"))
    arrays = (stored[name].astype(dtype) for name in ("W_in", "W_rec", "delay_in", "delay_rec"))
    w_in, w_rec, delay_in, delay_rec = map(jnp.asarray, arrays)
    neuron = LIF(*map(jnp.asarray, (1 / beta, 1 / alpha, theta)))
    return spikes_in, RecurrentParams(w_in, w_rec, neuron, delay_in, delay_rec, stored["mask_rec"])


def load_layers(stored):
    """Input spikes and the parameters of each layer."""
    layers = []
    for number in range(len(stored["sizes"]) - 1):
        weights, delays, alpha, beta, theta = (
            jnp.asarray(stored[f"{name}{number}"]) for name in ("W", "delay", "alpha", "beta", "theta")
        )
        layers.append(LayerParams(weights, LIF(1 / beta, 1 / alpha, theta), delays))
    return from_events(stored["input_times"], stored["input_channels"], int(stored["sizes"][0])), layers


def places(sources):
    """(source, number of its spike) of a list of events in order of time."""
    numbers = [int(np.sum(sources[:k] == source)) for k, source in enumerate(sources)]
    return np.asarray(sources), np.array(numbers, int)


def spike_count(stored):
    """Most spikes of one neuron."""
    return int(np.bincount(stored["spike_neurons"]).max())


def golden_times(stored, n):
    """Spike times as (n, S)."""
    times = np.full((n, spike_count(stored)), np.inf)
    times[places(stored["spike_neurons"])] = stored["spike_times"]
    return times


def golden_train(stored, n):
    """All spikes of the file as a train."""
    times = jnp.asarray(golden_times(stored, n))
    return SpikeTrain(times, jnp.isfinite(times).sum(1, dtype=jnp.int32), jnp.zeros(n, bool))


def in_golden_names(by_parameter, stored):
    """Derivatives {name: (n, S, *shape)} of `spike_time_jacobian` as {golden name: (K, ...)}."""
    rows = places(stored["spike_neurons"])
    rec = "W_rec" in stored
    names = {"weights": "dt_dW", "delays": "dt_ddelay", "threshold": "dt_dtheta"}
    names |= {"tau_syn": "dt_dalpha", "tau_mem": "dt_dbeta"}
    found = {"dt_dinput": np.asarray(by_parameter["inputs"])[rows][:, *places(stored["input_channels"])]}
    for name, golden_name in names.items():
        parts = by_parameter[name]
        endings = ("",) if not isinstance(parts, (tuple, list)) else ("_in", "_rec") if rec else map(str, range(9))
        for part, ending in zip(jax.tree.leaves(parts), endings):
            derivative = np.asarray(part)[rows]
            if name.startswith("tau"):  # the files have them by the rates
                derivative = derivative * -(stored[golden_name[4:] + ending].astype(float) ** -2.0)
            found[golden_name + ending] = derivative
    return found


def worst_error(found, stored):
    """Largest error of any derivative, relative to the largest entry of its spike's row of that file's array."""
    worst = 0.0
    for name, derivative in found.items():
        rows = len(derivative)
        scale = np.abs(stored[name]).reshape(rows, -1).max(axis=1)
        error = np.abs(derivative - stored[name]).reshape(rows, -1).max(axis=1)
        worst = max(worst, float((error / np.maximum(scale, 1e-9)).max()))
    return worst
