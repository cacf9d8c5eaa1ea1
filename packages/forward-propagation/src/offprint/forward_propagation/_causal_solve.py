"""Forward substitution in the causal system of spikes and its transpose, O(n) for each spike.

Backwards the same recursion is the adjoint of Eventprop: the pair (λ_V, λ_I) of a neuron between its spikes.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from offprint.forward_propagation._influence import Influence, spread

States = Float[Array, "n S 2"]


def solve(system: Influence, sources: States) -> States:
    """(δV, δI) just before each spike, from what the parameters contribute to them; linear in `sources`.

    Differentiable to any order, by the system as well: the recursions themselves are never differentiated.
    """
    return lax.custom_linear_solve(
        lambda y: y - _from_earlier(system, y),
        sources,
        solve=lambda _, b: forwards(system, b),
        transpose_solve=lambda _, b: backwards(system, b),
    )


def time_change(system: Influence, y: States) -> Float[Array, "n S"]:
    """δt of each spike for a fixed threshold, -δV / V'."""
    return -y[..., 0] * system.inverse_slope


def _from_earlier(system: Influence, y: States) -> States:
    dt = time_change(system, y)
    return spread(system, dt, y[..., 0] - system.reset[:, None] * dt, y[..., 1])


def forwards(system: Influence, sources: States) -> States:
    """y of y - T y = sources, one spike after another in order of time."""
    n, s, _ = sources.shape
    # a column of zeros before the first spike, and one behind the last for arrivals that nothing follows
    start = jnp.pad(sources, ((0, 0), (1, 1), (0, 0)))
    targets = jnp.arange(n)
    neuron, number = system.order // s, system.order % s
    there = (neuron, number)
    after = jnp.stack([1 + system.reset[:, None] * system.inverse_slope, jnp.ones_like(system.inverse_slope)], -1)
    after = jnp.pad(after, ((0, 0), (1, 0), (0, 0)))[there]
    rows = (
        neuron,
        number,
        system.own,
        jnp.stack([system.to_v, system.to_i], axis=-1),
        jnp.stack([system.keep_v[there], system.gain[there], system.keep_i[there], system.inverse_slope[there]], -1),
        after,
    )

    def spike(y: Array, row: tuple[Array, ...]) -> tuple[Array, None]:
        i, q, own, weights, of_it, kept = row
        v, current = y[i, q] * kept
        change = jnp.stack([of_it[0] * v + of_it[1] * current, of_it[2] * current])
        mine = y[i, q + 1] + change
        y = y.at[i, q + 1].set(mine)
        return y.at[targets, own + 1].add(weights * (-mine[0] * of_it[3])), None

    y, _ = lax.scan(spike, start, rows)
    return y[:, 1:-1]


def backwards(system: Influence, sources: States) -> States:
    """λ of λ - T' λ = sources, one spike after another, the last first."""
    n, s, _ = sources.shape
    targets = jnp.arange(n)
    neuron, number = system.order // s, system.order % s
    there = (neuron, number)
    flow = jnp.pad(jnp.stack([system.keep_v, system.gain, system.keep_i], -1), ((0, 0), (0, 1), (0, 0)))
    rows = (
        neuron,
        number,
        system.own,
        jnp.stack([system.to_v, system.to_i], axis=-1),
        flow[neuron, number + 1],
        system.inverse_slope[there],
        system.reset[neuron],
        sources[there],
    )

    def spike(adjoint: Array, row: tuple[Array, ...]) -> tuple[Array, None]:
        i, q, own, weights, of_next, inverse_slope, reset, source = row
        v, current = adjoint[i, q + 1]
        after_v, after_i = of_next[0] * v, of_next[1] * v + of_next[2] * current
        total = jnp.sum(weights * adjoint[targets, own]) - reset * after_v
        mine = source + jnp.stack([after_v - total * inverse_slope, after_i])
        return adjoint.at[i, q].set(mine), None

    adjoint, _ = lax.scan(spike, jnp.zeros((n, s + 1, 2), sources.dtype), rows, reverse=True)
    return adjoint[:, :s]
