"""Losses on spike times and on membrane potentials; each keeps the batch axes, so take the mean over them."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.forward_propagation._spikes import SpikeTrain

Number = float | int
Scalar = Number | Float[Array, ""] | Float[np.ndarray, ""]
Labels = Int[Array, "*batch"] | Int[np.ndarray, "*batch"]
Silent = Literal["horizon", "skip"]


def first_spike_cross_entropy(
    t: Float[Array, "*batch n"] | Float[np.ndarray, "*batch n"],
    y: Labels,
    tau0: Scalar,
    tau1: Scalar = 1.0,
    gamma: Scalar = 0.0,
    *,
    silent: Silent = "horizon",
    t_max: Scalar | None = None,
    regulariser_sign: Literal[1, -1] = 1,
) -> Float[Array, "*batch"]:
    """Cross-entropy of first spike times: -log softmax(-t / tau0)[y] + gamma (exp(t_y / tau1) - 1).

    The second term makes the label neuron fire early. With silent neurons at the horizon, as `first_spike` puts them,
    the first term still pushes the other neurons later, also where the label neuron is silent and cannot come
    earlier: `gamma` > 0 and `silent="skip"` are two remedies.

    Args:
        t: first spike times (..., n) of the output neurons, from `first_spike`. Infinite times stay out of the
            softmax, unless `t_max` is given, which puts them at the horizon.
        y: label of each sample, from 0 to n - 1.
        tau0, tau1: time scales of the two terms.
        gamma: weight of the second term.
        silent: `"horizon"`: every sample counts, as in the authors' code; `"skip"`: samples whose label neuron is
            silent have loss and gradient 0, as in the code of EventProp.
        t_max: horizon T; needed to know who is silent if `silent="skip"`.
        regulariser_sign: -1 repeats the authors' code, which subtracts the second term and so rewards late spikes.

    Returns:
        Loss of each sample (...).

    Raises:
        ValueError: shapes that do not go together, a label out of range, a time scale that is not positive, NaN
            times, an infinite time of a label neuron without `t_max`, `silent="skip"` without `t_max`.
    """
    times = jnp.asarray(t)
    labels = checked_labels(times, y)
    if silent not in ("horizon", "skip"):
        raise ValueError(f"silent={silent!r} is unknown; 'horizon' or 'skip' is needed")
    if silent == "skip" and t_max is None:
        raise ValueError("silent='skip' needs t_max, the horizon at which a neuron counts as silent")
    if regulariser_sign not in (1, -1):
        raise ValueError(f"regulariser_sign={regulariser_sign} must be 1 or -1")
    for name, value in (("tau0", tau0), ("tau1", tau1)):
        if not isinstance(value, jax.core.Tracer) and not float(value) > 0:
            raise ValueError(f"{name}={value} must be positive")
    if t_max is not None:
        times = jnp.where(times < t_max, times, jnp.asarray(t_max, times.dtype))
    _check_label_times(times, labels)
    t_label = jnp.take_along_axis(times, labels[..., None], axis=-1)[..., 0]
    log_probabilities = jax.nn.log_softmax(-times / tau0, axis=-1)
    loss = -jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]
    loss = loss + regulariser_sign * gamma * jnp.expm1(t_label / tau1)
    if silent == "skip" and t_max is not None:
        loss = jnp.where(t_label < t_max, loss, 0)
    return loss


def spike_time_mse(
    t: Float[Array, "*batch n"] | Float[np.ndarray, "*batch n"],
    target: Float[Array, "*batch n"] | Float[np.ndarray, "*batch n"],
    *,
    t_max: Scalar | None = None,
) -> Float[Array, "*batch"]:
    """Mean of (t - target)² over the last axis, where a target is wanted.

    Args:
        t: spike times (..., n): first spikes, or the sorted spikes of one neuron.
        target: wanted times, infinite where none is wanted.
        t_max: horizon that stands for spikes that are missing; they have gradient 0.

    Raises:
        ValueError: shapes that differ, NaN, or, without `t_max`, a wanted spike that is missing.
    """
    times, wanted = jnp.asarray(t), jnp.asarray(target)
    if times.shape != wanted.shape:
        raise ValueError(f"times {times.shape} and targets {wanted.shape} must have the same shape")
    counted = jnp.isfinite(wanted)
    if t_max is not None:
        times = jnp.where(times < t_max, times, jnp.asarray(t_max, times.dtype))
    if not isinstance(times, jax.core.Tracer) and not isinstance(wanted, jax.core.Tracer):
        missing = np.asarray(counted) & ~np.isfinite(np.asarray(times))
        if missing.any() or np.isnan(np.asarray(wanted)).any():
            raise ValueError(
                f"{missing.sum()} wanted spikes are missing (infinite or NaN times), or a target is NaN; "
                "give t_max, so that a missing spike counts as one at the horizon"
            )
    # Both branches of a where are differentiated: an infinite difference would make NaN of the other's zero.
    difference = jnp.where(counted, times, 0) - jnp.where(counted, wanted, 0)
    return jnp.sum(difference**2, axis=-1) / jnp.maximum(counted.sum(-1), 1)


def max_voltage_cross_entropy(
    v_max: Float[Array, "*batch n"] | Float[np.ndarray, "*batch n"], y: Labels, scale: Scalar = 1.0
) -> Float[Array, "*batch"]:
    """Cross-entropy of the largest membrane potentials: -log softmax(v_max / scale)[y].

    Args:
        v_max: largest potential (..., n) of every output neuron, from `max_voltage`.
        y: label of each sample.
        scale: a potential difference that changes the odds by e.

    Raises:
        ValueError: see `first_spike_cross_entropy`.
    """
    voltages = jnp.asarray(v_max)
    labels = checked_labels(voltages, y)
    log_probabilities = jax.nn.log_softmax(voltages / scale, axis=-1)
    return -jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1)[..., 0]


def van_rossum(train: SpikeTrain, target: SpikeTrain, tau: Scalar) -> Float[Array, "*batch n"]:
    """Squared van Rossum distance (1/tau) ∫ (f - g)² dt of every neuron, f and g the spikes behind exp(-s / tau).

    It is ½ Σ exp(-|t - t'| / tau) over pairs within each train minus the sum over pairs between them, so a spike too
    many costs ½, and two spikes a long way apart cost 1. A neuron that should fire but is silent has no gradient.

    van Rossum, A novel spike distance, Neural Computation 13, 2001.

    Args:
        train: spikes (..., n, S).
        target: wanted spikes (..., n, S') of the same neurons.
        tau: time scale.

    Raises:
        ValueError: other numbers of neurons, `tau` not positive.
    """
    if train.times.shape[:-1] != target.times.shape[:-1]:
        raise ValueError(f"spikes of shapes {train.times.shape} and {target.times.shape} are not of the same neurons")
    if not isinstance(tau, jax.core.Tracer) and not float(tau) > 0:
        raise ValueError(f"tau={tau} must be positive")

    def pairs(a: Array, b: Array) -> Array:
        both = jnp.isfinite(a)[..., :, None] & jnp.isfinite(b)[..., None, :]
        a, b = jnp.where(jnp.isfinite(a), a, 0), jnp.where(jnp.isfinite(b), b, 0)
        gap = jnp.abs(a[..., :, None] - b[..., None, :])
        return jnp.where(both, jnp.exp(-gap / tau), 0).sum((-1, -2))

    f, g = train.times, target.times
    return pairs(f, f) / 2 + pairs(g, g) / 2 - pairs(f, g)


@jax.custom_jvp
def _counted(times: Float[Array, "*batch n spikes"]) -> Float[Array, "*batch n"]:
    return jnp.isfinite(times).sum(-1).astype(times.dtype)


@_counted.defjvp
def _refuse(primals: tuple, tangents: tuple) -> tuple:
    raise ValueError(
        "spike counts are piecewise constant, their gradient is zero; use a time or voltage loss "
        "(first_spike_cross_entropy, spike_time_mse, van_rossum, max_voltage_cross_entropy), "
        "or jax.lax.stop_gradient around the spikes if the counts are only reported"
    )


def spike_count(train: SpikeTrain) -> Float[Array, "*batch n"]:
    """Number of spikes of every neuron, as floats, for metrics and decoding.

    Raises:
        ValueError: when it is differentiated: counts are piecewise constant, so a loss of them (or of rates) has
            gradient zero and trains nothing.
    """
    return _counted(train.times)


def checked_labels(values: Float[Array, "*batch n"], y: Labels) -> Int[Array, "*batch"]:
    """Labels as an array, one for each sample of `values`, each from 0 to n - 1.

    Raises:
        ValueError: other batch axes, labels that are no integers, or a label out of range.
    """
    labels = jnp.asarray(y)
    if labels.shape != values.shape[:-1]:
        raise ValueError(
            f"values {values.shape} have the batch axes {values.shape[:-1]}, but the labels have {labels.shape}; "
            "one label for each sample is needed, and the neurons are the last axis of the values"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, but are {labels.dtype}")
    if not isinstance(labels, jax.core.Tracer) and labels.size:
        concrete = np.asarray(labels)
        if concrete.min() < 0 or concrete.max() >= values.shape[-1]:
            raise ValueError(
                f"labels from 0 to {values.shape[-1] - 1} are needed for {values.shape[-1]} outputs, "
                f"but they run from {concrete.min()} to {concrete.max()}"
            )
    return labels


def _check_label_times(times: Array, labels: Array) -> None:
    if isinstance(times, jax.core.Tracer) or isinstance(labels, jax.core.Tracer):
        return
    concrete = np.asarray(times)
    if np.isnan(concrete).any():
        raise ValueError("spike times must not be NaN")
    of_label = np.take_along_axis(concrete, np.asarray(labels)[..., None], axis=-1)
    if not np.isfinite(of_label).all():
        raise ValueError(
            f"{int((~np.isfinite(of_label)).sum())} label neurons are silent (infinite first spike time), which gives "
            "an infinite loss; use first_spike(train, t_max), or give t_max"
        )
