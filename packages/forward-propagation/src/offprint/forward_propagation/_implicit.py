"""Exact derivatives of spike times by the implicit function theorem, wherever the times come from.

Spike k of neuron i solves F_k = V_i(t_k) - θ_i = 0, so A dt + B dp = 0 with A = ∂F/∂t and B = ∂F/∂p. In a layer A
couples a neuron's spike only to its own earlier spikes, through the reset, by terms -θβ e^(-β(t_k - t_l)): a lower
triangular system for each neuron, with so much structure that one running sum solves it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from offprint.forward_propagation._kernel import decay, kernel_and_decay, kernel_dalpha, kernel_dbeta
from offprint.forward_propagation._neuron import Real
from offprint.forward_propagation._next_spike import at_least


class Inputs(NamedTuple):
    """All that the spike times of a layer depend on; as tangents, None where something is held fixed."""

    times: Float[Array, "n_pre S_in"]
    weights: Float[Array, "n_pre n"]
    delays: Float[Array, "n_pre #n"]
    alpha: Float[Array, "..."]
    beta: Float[Array, "..."]
    theta: Float[Array, "..."]


def implicit_times(
    times: Float[Array, "n S"],
    currents: Float[Array, "n S"],
    inputs: Inputs,
    *,
    reset_coupling: bool = True,
    slope_floor: Real = 0.0,
) -> Float[Array, "n S"]:
    """The given spike times, now as a function of the layer's inputs, with exact derivatives of every order.

    Args:
        times: spike times that satisfy the equations, ascending for each neuron, padded with +inf. They count as
            numbers: what they were computed from is not differentiated.
        currents: I at the spikes, a number as well: to sum it up anew would double the work of a gradient.
        inputs: the input spikes, weights, delays and parameters that belong to them.
        reset_coupling: whether a spike depends on the earlier ones of its neuron through the reset. False leaves
            these terms of A out, as the authors' public code does, and the derivatives wrong.
        slope_floor: V' below it is taken as it, which bounds the derivatives of nearly tangential crossings.
    """
    known = lax.stop_gradient(times), lax.stop_gradient(currents)
    return _attach(reset_coupling, *known, inputs, jnp.asarray(slope_floor, times.dtype))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attach(reset_coupling: bool, times: Array, currents: Array, inputs: Inputs, slope_floor: Array) -> Array:
    return times


def _attach_jvp(reset_coupling: bool, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    _, currents, inputs, slope_floor = primals
    # what follows is taken at the times as a function of the inputs: so it can be differentiated again
    times = _attach(reset_coupling, *primals)
    kept: list[Any] = [None if isinstance(tangent, SymbolicZero) else tangent for tangent in tangents[2]]
    moved = Inputs(*kept)
    # nothing but the spike times is kept for the way back: the kernels cost less than to store and read them
    solve = jax.checkpoint(functools.partial(_tangent, reset_coupling), prevent_cse=False)
    return times, solve(times, currents, inputs, moved, slope_floor)


_attach.defjvp(_attach_jvp, symbolic_zeros=True)


def _tangent(
    reset_coupling: bool, times: Array, currents: Array, inputs: Inputs, moved: Inputs, slope_floor: Array
) -> Array:
    """dt for changes `moved` of the inputs, linear in them: the solution of A dt = -B dp."""
    live = jnp.isfinite(times.T)
    t = jnp.where(live, times.T, 0)
    direct, current = _direct(t, live, inputs, moved), _current(currents.T, t, inputs)
    beta, theta = inputs.beta, inputs.theta
    # V' = I - βV just before a spike, where V = θ
    slope = at_least(current - beta * theta, beta * theta, slope_floor)
    by_theta = moved.theta if moved.theta is not None else jnp.zeros_like(theta)
    by_beta = moved.beta if moved.beta is not None else jnp.zeros_like(beta)

    def spike(carry: tuple, this: tuple) -> tuple[tuple, Array]:
        before, echo, age, coupled = carry
        now, alive, push, rise = this
        gap = jnp.where(alive, now - before, 0)
        fall = jnp.exp(-beta * gap)
        # of the own earlier spikes g: Σ e^(-β(t-g)), Σ (t-g) e^(-β(t-g)) and Σ dg e^(-β(t-g)), each by one product
        echo, coupled = fall * echo, fall * coupled
        age = fall * age + gap * echo
        rhs = push - by_theta * (1 + echo) + by_beta * theta * age
        if reset_coupling:
            rhs -= theta * beta * coupled
        dt = jnp.where(alive, -rhs / rise, 0)
        return (jnp.where(alive, now, before), echo + 1, age, coupled + dt), dt

    zero = jnp.zeros_like(t[0])
    _, dt = lax.scan(spike, (zero, zero, zero, zero), (t, live, direct, slope), unroll=min(len(t), 4))
    return dt.T


def _direct(t: Array, live: Array, inputs: Inputs, moved: Inputs) -> Float[Array, "S n"]:
    """B dp without the terms of the reset, from t and live (S, n)."""
    alpha, beta = inputs.alpha, inputs.beta
    s = _elapsed(t, live, inputs)
    h, fall = kernel_and_decay(s, alpha, beta)
    weights = inputs.weights[:, None, None]
    direct = jnp.zeros_like(t)
    if moved.weights is not None:
        # XLA adds up the gradient of a batch slowly while computing it (six times for a large layer); a product is
        # transposed to a product instead, which takes longer only where there is little to do
        if s.size < 2**15:
            direct += jnp.sum(moved.weights[:, None, None] * h, (0, 1))
        else:
            direct += jnp.einsum("jn,jpsn->sn", moved.weights, h, precision="highest")
    if moved.times is not None or moved.delays is not None:
        shift = jnp.zeros((), t.dtype)
        if moved.times is not None:
            shift += moved.times[:, :, None, None]
        if moved.delays is not None:
            shift += moved.delays[:, None, None]
        direct -= jnp.sum(weights * (fall - beta * h) * shift, (0, 1))
    if moved.alpha is not None:
        direct += jnp.sum(weights * kernel_dalpha(s, alpha, beta), (0, 1)) * moved.alpha
    if moved.beta is not None:
        direct += jnp.sum(weights * kernel_dbeta(s, alpha, beta), (0, 1)) * moved.beta
    return direct


@jax.custom_jvp
def _current(currents: Array, t: Array, inputs: Inputs) -> Float[Array, "S n"]:
    """I at the spikes, which is known, with the derivatives of what it is: Σ w e^(-α(t - t_j - d))."""
    del t, inputs
    return currents


def _current_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    currents, t, inputs = primals
    live = currents > 0  # I > βθ at a spike
    leaves, structure = jax.tree.flatten((t, inputs))
    moved = [k for k, x in enumerate(tangents[1:2] + tuple(tangents[2])) if not isinstance(x, SymbolicZero)]

    def current(*kept: Array) -> Array:
        for k, x in zip(moved, kept):
            leaves[k] = x
        t, inputs = jax.tree.unflatten(structure, leaves)
        return jnp.sum(inputs.weights[:, None, None] * decay(_elapsed(t, live, inputs), inputs.alpha), (0, 1))

    if not moved:
        return currents, jnp.zeros_like(currents)
    given = (tangents[1], *tangents[2])
    _, dot = jax.jvp(current, [leaves[k] for k in moved], [given[k] for k in moved])
    return _current(*primals), dot


_current.defjvp(_current_jvp, symbolic_zeros=True)


def _elapsed(t: Array, live: Array, inputs: Inputs) -> Float[Array, "n_pre S_in S n"]:
    """Time from every arrival to every spike, -1 where the arrival is not before the spike or there is none."""
    arrived = jnp.isfinite(inputs.times)
    since = jnp.where(arrived, inputs.times, 0)[:, :, None, None] + inputs.delays[:, None, None]
    s = t - since
    return jnp.where(live & arrived[:, :, None, None] & (s > 0), s, -1)


def spike_slopes(times: Float[Array, "n S"], inputs: Inputs) -> Float[Array, "n S"]:
    """V' just before every spike, by which all its derivatives are divided; +inf where there is no spike."""
    live = jnp.isfinite(times.T)
    s = _elapsed(jnp.where(live, times.T, 0), live, inputs)
    current = jnp.sum(inputs.weights[:, None, None] * decay(s, inputs.alpha), (0, 1))
    return jnp.where(live, current - inputs.beta * inputs.theta, jnp.inf).T
