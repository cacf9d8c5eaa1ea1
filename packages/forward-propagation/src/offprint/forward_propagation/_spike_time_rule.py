"""The derivative rule of spike times: the implicit function theorem on all spikes of a network at once."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from offprint.forward_propagation._causal_solve import solve, time_change
from offprint.forward_propagation._influence import Influence, influence, into_spikes, own_gaps, spread
from offprint.forward_propagation._kernel import decay, kernel, kernel_dalpha, kernel_dbeta
from offprint.forward_propagation._recurrent_forward import Network


class Rule(NamedTuple):
    """What the derivative depends on besides the numbers."""

    max_events: int
    reset_coupling: bool = True
    """False leaves out that a spike's own reset moves with it, as the authors' code does."""
    slope_floor: float = 0.0


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def with_derivatives(
    rule: Rule, times: Float[Array, "n S"], input_times: Float[Array, "n_in S_in"], network: Network
) -> Float[Array, "n S"]:
    """The given spike times as the differentiable function of inputs and parameters that they are.

    The tangent is evaluated at the spike times themselves, so that derivatives of every order follow, and it is
    linear, so that JAX transposes it: jvp, vjp and Hessians are exact. Padding (+inf) has the tangent 0.
    """
    del rule, input_times, network
    return times


@functools.partial(with_derivatives.defjvp, symbolic_zeros=True)
def _rule(rule: Rule, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    times, input_times, network = primals
    times = with_derivatives(rule, times, input_times, network)
    # None where there is no change, which saves its share of the work
    moved = jax.tree.map(lambda x: None if isinstance(x, SymbolicZero) else x, tangents[1:])
    return times, _tangent(rule, times, input_times, network, *moved)


@functools.partial(jax.jit, static_argnums=0)
def _tangent(
    rule: Rule, times: Array, input_times: Array, network: Network, input_dot: Array | None, network_dot: Network
) -> Float[Array, "n S"]:
    system, sources, theta_dot = _sources(rule, times, input_times, network, input_dot, network_dot)
    dt = time_change(system, solve(system, sources))
    return dt if theta_dot is None else dt + theta_dot * system.inverse_slope


def _sources(
    rule: Rule, times: Array, input_times: Array, network: Network, input_dot: Any, network_dot: Network
) -> tuple[Influence, Float[Array, "n S 2"], Array | None]:
    """(δV, δI) before each spike that the parameters bring directly, -B δp of the paper; and δθ, if it is not 0."""
    n, s = times.shape
    system, arrived, before = influence(
        network,
        input_times,
        times,
        rule.max_events,
        reset_coupling=rule.reset_coupling,
        slope_floor=rule.slope_floor,
    )
    alpha, beta, _ = (jnp.broadcast_to(x, (n,)) for x in network.rates)
    alpha_dot, beta_dot, theta_dot = (None if x is None else jnp.broadcast_to(x, (n,)) for x in network_dot.rates)
    gap, source, gaps = arrived.gap, arrived.source, own_gaps(times)
    weights = network.weights[source]
    synaptic, h = decay(gap, alpha), kernel(gap, alpha, beta)
    to_v, to_i = jnp.zeros_like(gap), jnp.zeros_like(gap)
    own = jnp.zeros((n, s, 2), times.dtype)
    if network_dot.weights is not None:
        to_v += network_dot.weights[source] * h
        to_i += network_dot.weights[source] * synaptic
    moved = _arrival_change(input_dot, network_dot.delays, source, input_times.size)
    if moved is not None:
        to_v += weights * (beta * h - synaptic) * moved
        to_i += alpha * weights * synaptic * moved
    if alpha_dot is not None:
        to_v += weights * kernel_dalpha(gap, alpha, beta) * alpha_dot
        to_i -= weights * gap * synaptic * alpha_dot
        flow = kernel_dalpha(gaps, alpha[:, None], beta[:, None]), -gaps * system.keep_i
        own += jnp.stack(flow, -1) * (before * alpha_dot[:, None])[..., None]
    if beta_dot is not None:
        to_v += weights * kernel_dbeta(gap, alpha, beta) * beta_dot
        own = own.at[..., 0].add(before * kernel_dbeta(gaps, alpha[:, None], beta[:, None]) * beta_dot[:, None])
    received = jnp.stack([into_spikes(x, arrived.own, s) for x in (to_v, to_i)], axis=-1)
    sources = received + own
    if theta_dot is None:
        return system, sources, None
    theta_dot = theta_dot[:, None]
    dt = theta_dot * system.inverse_slope
    lowered = -theta_dot - system.reset[:, None] * dt
    return system, sources + spread(system, dt, lowered, jnp.zeros_like(dt)), theta_dot


def _arrival_change(input_dot: Any, delays_dot: Any, source: Array, inputs: int) -> Array | None:
    """Change of the arrival times by those of input spikes and of delays, with spikes of neurons held fixed."""
    moved = None
    if input_dot is not None:
        moved = jnp.pad(input_dot.reshape(-1), (0, source.size - inputs))[:, None]
    if delays_dot is not None:
        moved = delays_dot[source] + (0 if moved is None else moved)
    return moved
