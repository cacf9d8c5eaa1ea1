"""What the update gates of the memories do over time: when each group keeps its memory and when it replaces it."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from offprint.mgrn._checks import check_sequences
from offprint.mgrn._layer import apply
from offprint.mgrn._lengths import valid_steps
from offprint.mgrn._params import MGRNParams


class UpdateGates(NamedTuple):
    """Mean update gates, each in [0, 1]: 1 keeps the memory, 0 replaces it. NaN at steps that no sequence reaches."""

    marginal: Float[Array, "groups time"]
    """Of every group: z_t^k, averaged over sequences and units."""
    joint: Float[Array, " time"]
    """Of the joint memory: ζ_t, averaged likewise."""


def update_gates(params: MGRNParams, x: ArrayLike, *, lengths: ArrayLike | None = None) -> UpdateGates:
    """The update gates at every step, averaged over the units and over the sequences that are that long.

    Args:
        params: of `init`.
        x: sequences (B, T, F).
        lengths: (B,) valid steps of each sequence; all T when None.

    Raises:
        ValueError: as `check_sequences`.
    """
    array, checked = check_sequences(x, params.config.features, lengths)
    _, states = apply(params, array, lengths=checked, return_states=True)
    steps = array.shape[1]
    valid = jnp.ones(array.shape[:2], bool) if checked is None else valid_steps(checked, steps).T
    return UpdateGates(
        jnp.mean(states.marginal_gates, axis=(0, 3), where=valid[:, :, None, None]).T,
        jnp.mean(states.joint_gates, axis=(0, 2), where=valid[:, :, None]),
    )
