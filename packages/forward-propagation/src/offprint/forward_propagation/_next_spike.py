"""The next spike of a neuron that gets no further input: the first root of V(s) = θ, and its exact derivatives."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float

from offprint.forward_propagation._kernel import decay, kernel, kernel_dalpha, kernel_dbeta, relative_decay
from offprint.forward_propagation._neuron import LIF, Rates, Real, rates


def next_spike_time(v0: Real, i0: Real, neuron: LIF) -> Float[Array, "..."]:
    """Time s until V(s) = V0 e^(-βs) + I0 h(s) first reaches θ; +inf if it never does.

    There is no time grid, bracket or tolerance: on the rising part of V, which is concave, the root is found to
    rounding error by a fixed number of steps of high order.

    Args:
        v0: membrane potential now, below θ, any shape.
        i0: synaptic current now, broadcast against `v0`.
        neuron: LIF parameters, broadcast against `v0`.

    Returns:
        s, with exact derivatives of every order by all inputs (implicit function theorem): ds/dp = -(∂V/∂p) / V'(s),
        and 0 where there is no spike. At a tangential crossing, V'(s) = 0, where the derivative does not exist, a
        large finite number stands for it.

    Raises:
        TypeError: `v0` or `i0` of a dtype other than float32 or float64.
    """
    dtype = jnp.result_type(v0, i0)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    if dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"v0 and i0 must be float32 or float64, got {dtype}")
    return _first_root_compiled(jnp.asarray(v0, dtype), jnp.asarray(i0, dtype), *rates(neuron, dtype))


@jax.custom_jvp
def _first_root(v0: Array, i0: Array, alpha: Array, beta: Array, theta: Array) -> Array:
    state = rising(v0, i0, Rates(alpha, beta, theta))
    found = state.possible & ((state.v_peak > theta) | (v0 >= theta))
    return jnp.where(found, root(v0, i0, Rates(alpha, beta, theta), state, state.peak), jnp.inf)


@functools.partial(_first_root.defjvp, symbolic_zeros=True)
def _first_root_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    v0, i0, alpha, beta, theta = primals
    v_dot, i_dot, alpha_dot, beta_dot, theta_dot = tangents
    found_at = _first_root(*primals)
    found = jnp.isfinite(found_at)
    s = jnp.where(found, found_at, 0)
    residual = jnp.zeros_like(s)
    if not isinstance(v_dot, SymbolicZero):
        residual += decay(s, beta) * v_dot
    if not isinstance(i_dot, SymbolicZero):
        residual += kernel(s, alpha, beta) * i_dot
    if not isinstance(alpha_dot, SymbolicZero):
        residual += i0 * kernel_dalpha(s, alpha, beta) * alpha_dot
    if not isinstance(beta_dot, SymbolicZero):
        residual += (i0 * kernel_dbeta(s, alpha, beta) - v0 * s * decay(s, beta)) * beta_dot
    if not isinstance(theta_dot, SymbolicZero):
        residual -= theta_dot
    slope = at_least(i0 * decay(s, alpha) - beta * theta, beta * theta)
    return found_at, jnp.where(found, -residual / slope, 0)


_first_root_compiled = jax.jit(_first_root)


def at_least(slope: Float[Array, "..."], scale: Float[Array, "..."], floor: Array | float = 0.0) -> Float[Array, "..."]:
    """V' where one divides by it: not below `floor`, nor below what rounding can tell from 0 on the scale of βθ."""
    return jnp.maximum(slope, jnp.maximum(floor, jnp.finfo(slope.dtype).eps * scale))


class Rise(NamedTuple):
    """What is known of V from (V0, I0) on before its root is looked for; where not `possible` only placeholders."""

    possible: Bool[Array, "..."]
    """V rises through θ at some time, unless its peak is too low: I0 > βθ, and there is a peak."""
    peak: Float[Array, "..."]
    """Time s* of the peak of V."""
    v_peak: Float[Array, "..."]
    """V(s*)."""
    current: Float[Array, "..."]
    """I(s*) = I0 e^(-αs*); the curvature of V at its peak is -α I(s*)."""


def rising(v0: Array, i0: Array, neuron: Rates) -> Rise:
    """When V(s) = V0 e^(-βs) + I0 h(s) peaks, and how high.

    At an upward crossing V' = I - βθ > 0, and I only falls: without I0 > βθ there is none. The peak, V' = 0, is at
    s* = [log(1 + ε/α) + log(1 - V0 ε/I0)] / ε with ε = β - α, or 1/α - V0/I0 where ε = 0.
    """
    alpha, beta, theta = neuron
    difference = beta - alpha
    enough = i0 > beta * theta
    ratio = jnp.where(enough, v0, 0) / jnp.where(enough, i0, 1)
    # -1 or less: V stays below 0 for ever, or falls from now on
    inside = -ratio * difference > -1
    ratio = jnp.where(inside, ratio, 0)
    peak = jnp.maximum(_log_ratio(difference / alpha) / alpha - ratio * _log_ratio(-ratio * difference), 0)
    v_peak, current = advance(jnp.where(enough, v0, 0), jnp.where(enough, i0, 1), peak, alpha, beta)
    return Rise(enough & inside, peak, v_peak, current)


def root(v0: Array, i0: Array, neuron: Rates, rise: Rise, end: Array) -> Array:
    """The first s in [0, end] with V(s) = θ, given that there is one and that V rises up to `end`.

    Householder's method of order 3: all derivatives of V come free with V and I, and each step multiplies the correct
    digits by four. The start is the root of the parabola with the value and curvature of V at its peak, which is as
    good as exact where the crossing is nearly tangential.
    """
    alpha, beta, theta = neuron
    fall = 2 * (rise.v_peak - theta) / (alpha * rise.current)
    # 0 where nothing crosses: the values are not used, but must be finite
    s = jnp.clip(rise.peak - jnp.sqrt(jnp.maximum(fall, 0)), 0, end)
    tiny = jnp.finfo(s.dtype).tiny
    for _ in range(3 if s.dtype == jnp.float32 else 4):
        v, current = advance(v0, i0, s, alpha, beta)
        slope = jnp.maximum(current - beta * v, tiny)
        step = (v - theta) / slope
        second = alpha * current + beta * slope
        bend = step * second / slope
        third = step * step * (alpha * alpha * current + beta * second) / slope
        denominator = jnp.maximum(1 + bend + third / 6, 0.25)
        s = jnp.clip(s - step * (1 + 0.5 * bend) / denominator, 0, end)
    return s


def advance(v: Array, i: Array, s: Array, alpha: Array, beta: Array) -> tuple[Array, Array]:
    """State (V, I) after a time s >= 0 without input."""
    slow = jnp.exp(-jnp.minimum(alpha, beta) * s)
    difference = jnp.abs(beta - alpha)
    x = difference * s
    h_over_slow = s * relative_decay(x)
    fast = slow * (1 - difference * h_over_slow)
    current = i * jnp.where(alpha <= beta, slow, fast)
    return v * jnp.where(alpha <= beta, fast, slow) + i * slow * h_over_slow, current


def _log_ratio(x: Array) -> Array:
    """log(1 + x) / x for x > -1, which is 1 at 0."""
    safe = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, 1, jnp.log1p(safe) / safe)
