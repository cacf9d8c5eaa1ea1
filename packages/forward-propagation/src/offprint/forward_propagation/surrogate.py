"""Surrogate gradients on a time grid: the baseline that exact gradients are compared with.

The neuron is that of the rest of the package, stepped with the exact decay factors e^(-dt/τ) as snnTorch's `Synaptic`
does (whose potential is V / dt and whose threshold is θ / dt); the derivative of the spike by the potential, which is
zero or infinite, is replaced by a function of the potential.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, DTypeLike, Float, Int

from offprint.forward_propagation._kernel import kernel
from offprint.forward_propagation._losses import checked_labels
from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._spikes import SpikeTrain

Number = float | int
Decoding = Literal["count", "rate", "first"]

SURROGATES: dict[str, Callable[[Array, Number], Array]] = {
    "fast_sigmoid": lambda x, k: 1 / (1 + k * jnp.abs(x)) ** 2,
    "sigmoid": lambda x, k: k * jax.nn.sigmoid(k * x) * jax.nn.sigmoid(-k * x),
    "atan": lambda x, k: k / 2 / (1 + (jnp.pi / 2 * k * x) ** 2),
    "triangular": lambda x, k: jnp.maximum(0, 1 - k * jnp.abs(x)),
    "spike_rate_escape": lambda x, k: jnp.exp(-k * jnp.abs(x)),
    "ste": lambda x, k: jnp.ones_like(x),
}
"""Derivative that stands for that of the spike, by name, of x = V - θ and the slope k: Zenke and Ganguli 2018 (fast
sigmoid), Fang et al. 2021 (arc tangent), Esser et al. 2016 (triangle), Shrestha and Orchard 2018 (escape rate of
spikes), Bengio et al. 2013 (straight-through estimator)."""


class Trace(NamedTuple):
    """What a layer did on the grid."""

    spikes: Float[Array, "steps n_post"]
    """1 where a neuron fired in a step, else 0."""
    voltages: Float[Array, "steps n_post"]
    """Membrane potential at the end of every step, before the reset."""


def spike(v: Float[Array, "*dims"], surrogate: str, slope: Number = 25.0) -> Float[Array, "*dims"]:
    """1 where v > 0, else 0; differentiated as if the derivative were `SURROGATES[surrogate](v, slope)`.

    Raises:
        KeyError: an unknown surrogate.
    """
    if surrogate not in SURROGATES:
        raise KeyError(f"surrogate {surrogate!r} is unknown; one of {', '.join(SURROGATES)} is needed")
    return _spike(v, surrogate, slope)


def _heaviside(v: Array, surrogate: str, slope: Number) -> Array:
    return (v > 0).astype(v.dtype)


_spike: Any = jax.custom_jvp(_heaviside, nondiff_argnums=(1, 2))


@_spike.defjvp
def _spike_jvp(surrogate: str, slope: Number, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (v,), (v_dot,) = primals, tangents
    return _spike(v, surrogate, slope), SURROGATES[surrogate](v, slope) * v_dot


def lif_scan(
    x: Float[Array, "steps n_pre"],
    weights: Float[Array, "n_pre n_post"],
    neuron: LIF,
    dt: Number,
    *,
    surrogate: str = "fast_sigmoid",
    slope: Number = 25.0,
    unit: Number = 1.0,
    reset: Literal["subtract", "zero", "none"] = "subtract",
) -> Trace:
    """A layer of LIF neurons on a time grid; one sample, batch it with `jax.vmap`.

    In every step I ← e^(-α dt) I + x W and V ← e^(-β dt) V + h(dt) I, a neuron with V > θ fires, and the reset takes
    effect in the next step. With dt → 0 the spike times converge to the exact ones. The reset is not differentiated.

    Args:
        x: number of input spikes in every step, from `to_grid`.
        weights: [pre, post].
        neuron: time constants and threshold.
        dt: length of a step.
        surrogate: a name in `SURROGATES`.
        slope: of the surrogate.
        unit: potential difference that counts as 1 for the surrogate; `unit=dt` repeats snnTorch's scale.
        reset: `"subtract"` θ, set to `"zero"`, or `"none"`.

    Raises:
        KeyError: an unknown surrogate.
        ValueError: shapes that do not go together, an unknown reset, a step that is not positive.
    """
    if x.ndim != 2 or x.shape[-1] != weights.shape[0]:
        raise ValueError(
            f"spikes on the grid (steps, n_pre) and weights (n_pre, n_post) are needed, got {x.shape} and "
            f"{weights.shape}; batches go through jax.vmap"
        )
    if reset not in ("subtract", "zero", "none"):
        raise ValueError(f"reset={reset!r} is unknown; 'subtract', 'zero' or 'none' is needed")
    if not dt > 0:
        raise ValueError(f"dt={dt} must be positive")
    alpha, beta = 1 / jnp.asarray(neuron.tau_syn, x.dtype), 1 / jnp.asarray(neuron.tau_mem, x.dtype)
    threshold = jnp.asarray(neuron.threshold, x.dtype)
    keep_i, keep_v, feed = jnp.exp(-alpha * dt), jnp.exp(-beta * dt), kernel(jnp.asarray(dt, x.dtype), alpha, beta)

    def step(state: tuple[Array, Array, Array], arriving: Array) -> tuple[tuple[Array, Array, Array], Trace]:
        current, voltage, fired = state
        fired = jax.lax.stop_gradient(fired)
        current = keep_i * current + arriving
        if reset == "zero":
            voltage = voltage * (1 - fired)
        voltage = keep_v * voltage + feed * current
        if reset == "subtract":
            voltage = voltage - threshold * fired
        spikes = spike((voltage - threshold) / unit, surrogate, slope)
        return (current, voltage, spikes), Trace(spikes, voltage)

    zero = jnp.zeros(weights.shape[-1], jnp.result_type(x, weights))
    return jax.lax.scan(step, (zero, zero, zero), x @ weights)[1]


def to_grid(train: SpikeTrain, dt: Number, steps: int) -> Float[Array, "*batch steps n"]:
    """Number of spikes of every neuron in each of `steps` bins [k dt, (k+1) dt); later spikes are left out."""
    times = train.times
    bins = jnp.where(times < steps * dt, jnp.floor(times / dt), -1).astype(jnp.int32)
    hit = bins[..., None, :, :] == jnp.arange(steps)[:, None, None]
    return hit.sum(-1).astype(times.dtype)


def first_time(spikes: Float[Array, "*batch steps n"], dt: Number) -> Float[Array, "*batch n"]:
    """End of the bin with a neuron's first spike, steps · dt if it is silent; its derivative is the surrogates'.

    The time is dt Σ_k Π_(l≤k) (1 - s_l), the number of steps in which it has not fired yet, plus the one in which it
    does. Silent neurons have a gradient, too.
    """
    waiting = jnp.cumprod(1 - spikes, axis=-2)
    return dt * (waiting.sum(-2) + 1 - jax.lax.stop_gradient(waiting[..., -1, :]))


class SurrogateNetwork(nnx.Module):
    """A feed-forward network of `lif_scan` layers from exact spike trains to spikes on the grid.

    Args:
        sizes: numbers of inputs, hidden neurons, ..., outputs.
        neuron: of all layers.
        dt, steps: the grid.
        surrogate, slope, unit: see `lif_scan`.
        init: `("normal", ((mean, std), ...))` draws the weights into each layer as in exact training, `"kaiming"` from
            U(-1/√n_pre, 1/√n_pre), PyTorch's default.
        rngs: source of the weights, stream `params`.
        dtype: float32 or float64.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        neuron: LIF,
        *,
        dt: Number,
        steps: int,
        surrogate: str = "fast_sigmoid",
        slope: Number = 25.0,
        unit: Number = 1.0,
        init: Sequence[tuple[Number, Number]] | Literal["kaiming"] = "kaiming",
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ) -> None:
        if surrogate not in SURROGATES:
            raise KeyError(f"surrogate {surrogate!r} is unknown; one of {', '.join(SURROGATES)} is needed")
        if init != "kaiming" and len(init) != len(sizes) - 1:
            raise ValueError(f"{len(sizes) - 1} layers need as many pairs (mean, std), got init={init!r}")
        kernels = []
        for layer, shape in enumerate(pairwise(sizes)):
            key = rngs.params()
            if init == "kaiming":
                bound = shape[0] ** -0.5
                kernels.append(nnx.Param(jax.random.uniform(key, shape, dtype, -bound, bound)))
            else:
                mean, std = init[layer]
                kernels.append(nnx.Param(mean + std * jax.random.normal(key, shape, dtype)))
        self.kernels = nnx.List(kernels)
        self.neuron, self.dt, self.steps = LIF(*map(float, neuron)), float(dt), int(steps)
        self.surrogate, self.slope, self.unit = surrogate, slope, unit

    def __call__(self, train: SpikeTrain) -> Float[Array, "*batch steps n"]:
        """Output spikes (..., steps, n) for input spikes (..., n_in, S)."""
        x = to_grid(train, self.dt, self.steps)
        options: dict[str, Any] = {"surrogate": self.surrogate, "slope": self.slope, "unit": self.unit}

        def sample(x: Array) -> Array:
            for kernel_ in self.kernels:
                x = lif_scan(x, kernel_[...], self.neuron, self.dt, **options).spikes
            return x

        flat = jax.vmap(sample)(x.reshape(-1, *x.shape[-2:]))
        return flat.reshape(*x.shape[:-2], *flat.shape[-2:])


def decode(
    spikes: Float[Array, "*batch steps n"], decoding: Decoding, dt: Number
) -> tuple[Float[Array, "*batch n"], Int[Array, "*batch"]]:
    """Scores (..., n) and the predicted label: the most spikes (`"count"`, `"rate"`) or the earliest (`"first"`).

    Raises:
        ValueError: an unknown decoding.
    """
    if decoding == "first":
        times = first_time(spikes, dt)
        return times, jnp.argmin(times, -1)
    if decoding not in ("count", "rate"):
        raise ValueError(f"decoding={decoding!r} is unknown; 'count', 'rate' or 'first' is needed")
    scores = spikes.sum(-2) if decoding == "count" else spikes.mean(-2)
    return scores, jnp.argmax(scores, -1)


def count_loss(
    spikes: Float[Array, "*batch steps n"], y: Int[Array, "*batch"] | Int[np.ndarray, "*batch"]
) -> Float[Array, "*batch"]:
    """Cross-entropy of the output neurons' numbers of spikes, as snnTorch's `ce_count_loss`."""
    scores = spikes.sum(-2)
    return optax.softmax_cross_entropy_with_integer_labels(scores, checked_labels(scores, y))


def rate_loss(
    spikes: Float[Array, "*batch steps n"], y: Int[Array, "*batch"] | Int[np.ndarray, "*batch"]
) -> Float[Array, "*batch"]:
    """Cross-entropy of the output spikes in every step, averaged over the steps, as snnTorch's `ce_rate_loss`."""
    labels = checked_labels(spikes[..., 0, :], y)
    steps = jnp.broadcast_to(labels[..., None], spikes.shape[:-1])
    return optax.softmax_cross_entropy_with_integer_labels(spikes, steps).mean(-1)
