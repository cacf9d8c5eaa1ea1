"""Moment exchange: every sample keeps its normalised features and gets another sample's moments."""

import functools
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.moex._moments import checked_layout, moments_of
from offprint.moex._norms import Layout, NormSpec, parse_norm

AxisName = str | tuple[str, ...]


class _Settings(NamedTuple):
    """What is fixed when an exchange is compiled."""

    where: Layout
    eps: float
    ddof: int
    positive_only: bool
    detach_moments: bool
    axis_name: AxisName | None


def moment_exchange(
    x: Float[Array | np.ndarray, "batch *features"],
    swap_index: Int[Array | np.ndarray, "batch"],
    norm: str | NormSpec = "pono",
    *,
    channel_axis: int = -1,
    eps: float | int = 1e-5,
    ddof: int = 1,
    positive_only: bool = False,
    detach_moments: bool = False,
    axis_name: AxisName | None = None,
    deterministic: bool = False,
    strict: bool = False,
) -> Float[Array, "batch *features"]:
    """Features in which sample i has the moments of sample π(i): σ_π(i) (h_i - μ_i) / σ_i + μ_π(i).

    Computed as ρ h + (μ_π(i) - ρ μ_i) with ρ = σ_π(i) / σ_i: one multiply-add for each entry, and only the small
    moments are gathered. A sample with π(i) = i comes out as it went in, bit for bit. Moments are taken in
    float32 (float64 for float64 features).

    Args:
        x: features (B, ..., C), any number of axes between samples and channels.
        swap_index: (B,) π, integers in 0..B-1; need not be a permutation. With `axis_name`: of this device's
            samples, indices into the whole batch, which is the devices' batches one after another.
        norm: a name (see `parse_norm`) or a `NormSpec`. `bn` has nothing to exchange: `x` is returned.
        channel_axis: where the channels are; 1 for (B, C, H, W).
        eps, ddof, positive_only: see `moments`.
        detach_moments: no gradient through the moments. In the public code of the paper it flows through all.
        axis_name: mapped axes (of `shard_map` or `vmap`) over which the batch is split and π reaches; moments
            alone are sent. Under `jit` with a batch sharded over mesh axes of type Auto it isn't needed; for axes of
            type Explicit, use `shard_map`.
        deterministic: True in evaluation: `x` is returned.
        strict: refuse what would leave `x` as it is: `norm="bn"`, `deterministic=True`.

    Returns:
        Array of the shape and dtype of `x`.

    Raises:
        TypeError: `x` is not floating, or `swap_index` not integer.
        ValueError: see `moments`; `swap_index` of another shape or, where its values are known, out of range;
            `strict` with nothing to exchange.

    Reverse-mode derivatives of any order are exact, for repeated indices too (the first is a closed form in two
    passes over the features); forward mode is not defined.

    Source: Li et al., CVPR 2021, section 3.1.
    """
    spec = parse_norm(norm)
    where = checked_layout(x, spec, channel_axis, eps, ddof, positive_only)
    _check_index(swap_index, x.shape[0], axis_name)
    if strict and (deterministic or spec.kind == "bn"):
        reason = "in evaluation (deterministic=True)" if deterministic else "with norm 'bn'"
        raise ValueError(f"there is no moment exchange {reason}: leave the call out, or strict=False to pass x through")
    if deterministic:
        return jnp.asarray(x)
    if spec.kind == "bn":
        warnings.warn(
            "norm 'bn' has the same moments for every sample of the batch: the exchange is the identity; "
            "take 'pono', 'in', 'ln', 'gn<G>' or 'gpono<G>'",
            stacklevel=2,
        )
        return jnp.asarray(x)
    settings = _Settings(where, float(eps), ddof, positive_only, detach_moments, axis_name)
    return _exchange_view(jnp.asarray(x), jnp.asarray(swap_index), settings)


def exchange_reference(
    x: Float[Array, "batch *features"], swap_index: Int[Array, "batch"], settings: _Settings
) -> Float[Array, "batch *features"]:
    """The same function in plain expressions, differentiated by JAX: what the closed form is tested against."""
    return _forward(x.reshape(settings.where.view), swap_index, settings)[0].reshape(x.shape)


@functools.partial(jax.jit, static_argnums=2)
def _exchange_view(x: Array, swap_index: Array, settings: _Settings) -> Array:
    return _exchange(x.reshape(settings.where.view), swap_index, settings).reshape(x.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _exchange(h: Array, swap_index: Array, settings: _Settings) -> Array:
    return _forward(h, swap_index, settings)[0]


class _Residuals(NamedTuple):
    """What the derivative needs beyond the cotangent: the features and, small, their moments and scales."""

    h: Array
    swap_index: Array
    mean: Array
    std: Array
    entries: Array
    scale: Array


def _forward(h: Array, swap_index: Array, settings: _Settings) -> tuple[Array, _Residuals]:
    mean, std, entries = moments_of(h, settings.where, settings.eps, settings.ddof, settings.positive_only)
    if settings.detach_moments:
        mean, std = jax.lax.stop_gradient((mean, std))
    own = _own_index(h.shape[0], settings.axis_name)
    kept = (swap_index == own).reshape(-1, *[1] * (h.ndim - 1))
    scale = jnp.where(kept, 1, _donated(std, swap_index, settings.axis_name) / std)
    # -0.0 is the one number that changes no other when it is added, 0.0 included
    shift = jnp.where(kept, -0.0, _donated(mean, swap_index, settings.axis_name) - scale * mean)
    scale, shift = _computed((scale, shift))
    y = (h.astype(mean.dtype) * scale + shift).astype(h.dtype)
    return y, _Residuals(h, swap_index, mean, std, entries, scale)


def _backward(settings: _Settings, saved: _Residuals, g: Array) -> tuple[Array, None]:
    """∂L/∂h_i = ρ_i g_i + (S1_q(i) - ρ_i S1_i) / M + n_i (S2_q(i) - ρ_i S2_i) / (M - ddof), n = (h - μ) / σ.

    S1 = Σ g and S2 = Σ g n over the reduced axes. S_q(i) is the sum of S_j over the j with π(j) = i, in which
    lies what sample i gave away. For `positive_only` the last two terms reach the positive entries alone, and
    both divide by their number: ∂μ/∂h = 1[h>0] / n and ∂σ/∂h = 1[h>0] (h - μ) / (n σ).
    """
    h, swap_index, mean, std, entries, scale = saved
    where, features, cotangent = settings.where, h.astype(mean.dtype), g.astype(mean.dtype)
    if settings.detach_moments:
        return (scale * cotangent).astype(h.dtype), None
    mean, std = _computed((mean, std))
    s1 = jnp.sum(cotangent, where.axes, keepdims=True)
    s2 = jnp.sum(cotangent * (features - mean), where.axes, keepdims=True) / std
    received = functools.partial(_collected, swap_index=swap_index, axis_name=settings.axis_name)
    per_mean = (received(s1) - scale * s1) / entries
    spread = entries if settings.positive_only else where.size - settings.ddof
    per_std = (received(s2) - scale * s2) / (spread * std)
    per_mean, per_std, mean, scale = _computed((per_mean, per_std, mean, scale))
    through_moments = per_mean + per_std * (features - mean)
    if settings.positive_only:
        through_moments = jnp.where(h > 0, through_moments, 0)
    return (scale * cotangent + through_moments).astype(h.dtype), None


_exchange.defvjp(_forward, _backward)


def _computed(small: tuple[Array, ...]) -> tuple[Array, ...]:
    """The same arrays, small ones, which XLA has to finish before it goes on.

    Otherwise it keeps h - μ, as large as the features, in memory from one use to the next, where computing it again
    is free: the derivative alone took half as long again on the CPU.
    """
    return jax.lax.optimization_barrier(small)


def _own_index(samples: int, axis_name: AxisName | None) -> Array:
    own = jnp.arange(samples)
    return own if axis_name is None else own + samples * jax.lax.axis_index(axis_name)


def _donated(moment: Array, swap_index: Array, axis_name: AxisName | None) -> Array:
    """The moment of sample π(i) in place i. Where a traced index is out of range it is NaN, which can be seen."""
    everyone = moment if axis_name is None else jax.lax.all_gather(moment, axis_name, tiled=True)
    return everyone.at[swap_index].get(mode="fill", fill_value=jnp.nan)


def _collected(s: Array, swap_index: Array, axis_name: AxisName | None) -> Array:
    """In place i the sum of s_j over the j, on all devices, whose donor is i: the transpose of `_donated`."""
    if axis_name is None:
        return jax.ops.segment_sum(s, swap_index, num_segments=s.shape[0])
    everyone = jax.ops.segment_sum(s, swap_index, num_segments=s.shape[0] * jax.lax.axis_size(axis_name))
    return jax.lax.psum_scatter(everyone, axis_name, tiled=True)


def _check_index(swap_index: Array | np.ndarray, samples: int, axis_name: AxisName | None) -> None:
    if not jnp.issubdtype(swap_index.dtype, jnp.integer):
        raise TypeError(f"swap_index must hold integers, got {swap_index.dtype}: use jax.random.permutation(key, B)")
    if swap_index.shape != (samples,):
        raise ValueError(
            f"swap_index has shape {swap_index.shape}, but there are {samples} samples: one donor for each, "
            f"({samples},), is needed"
        )
    if axis_name is None and not isinstance(swap_index, jax.core.Tracer) and samples:
        index = np.asarray(swap_index)  # a concrete array, also while something else is traced
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= samples:
            raise ValueError(
                f"swap_index reaches from {low} to {high}, but the {samples} samples have indices 0..{samples - 1}"
            )
