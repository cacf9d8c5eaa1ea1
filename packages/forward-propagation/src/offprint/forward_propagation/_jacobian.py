"""The full Jacobian of all spike times, by forward substitution in time order: forward propagation itself."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from offprint.forward_propagation._embed import Parameters, recurrent_params
from offprint.forward_propagation._recurrent import recurrent
from offprint.forward_propagation._spikes import SpikeTrain
from offprint.forward_propagation._system import NAMES, FPSystem, fp_system


def spike_time_jacobian(
    spikes_in: SpikeTrain,
    params: Parameters,
    *,
    t_max: float | int | Float[Array, ""],
    max_spikes: int,
    wrt: Sequence[str] = NAMES,
    reset_coupling: bool = True,
) -> dict[str, Any]:
    """Derivative of every spike time by every parameter, -A⁻¹B.

    Args:
        spikes_in: input spikes, times (n_in, S_in).
        params: of a recurrent network, of one layer, or of layers in a row.
        t_max: horizon T.
        max_spikes: S, the most spikes of one neuron.
        wrt: which parameters: of "weights", "delays", "threshold", "tau_mem", "tau_syn", "inputs".
        reset_coupling: as for `recurrent`.

    Returns:
        By name, arrays (n, S, *shape of the parameter) for all neurons, numbered through the layers; 0 where there is
        no spike. Weights and delays of a recurrent network are pairs (from inputs, between neurons); for layers in a
        row each is a list, one array for each layer.

    Raises:
        KeyError: a name in `wrt` that is not one of those above.
        TypeError, ValueError: as `recurrent`.

    Source: the paper's forward propagation.
    """
    for name in wrt:
        if name not in NAMES:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(NAMES)}")
    spikes = recurrent(spikes_in, **recurrent_params(params)._asdict(), t_max=t_max, max_spikes=max_spikes)
    system = fp_system(spikes_in, params, spikes, reset_coupling=reset_coupling)
    by_row = substitute(system, {name: system.B[name] for name in wrt})

    def by_spike(rows: Array) -> Array:
        full = jnp.zeros((*spikes.times.shape, *rows.shape[1:]), rows.dtype)
        return full.at[system.neurons, system.numbers].set(rows)

    return jax.tree.map(by_spike, by_row)


def substitute(system: FPSystem, rows: Any) -> Any:
    """-A⁻¹ applied to a tree of arrays (K, ...)."""
    leaves, structure = jax.tree.flatten(rows)
    k = system.A.shape[0]
    together = jnp.concatenate([leaf.reshape(k, -1) for leaf in leaves], axis=1)
    solved = -solve_triangular(system.A, together, lower=True)
    ends = [sum(leaf.size // k for leaf in leaves[: i + 1]) for i in range(len(leaves) - 1)]
    parts = jnp.split(solved, ends, axis=1)
    return jax.tree.unflatten(structure, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves)])
