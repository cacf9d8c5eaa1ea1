"""The layer's weights, states and dropout masks as pytrees.

Rows of the weights that read the input stand in the order of the input's columns, whatever the groups: permuting
groups never moves them, and no padding is stored. Gates are packed along the last axis in the order reset, update, new.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from offprint.mgrn._config import MGRNConfig


class MarginalParams(NamedTuple):
    """Weights of the marginal memories of all groups."""

    w_ih: Float[Array, "features 3*hidden"]
    """Row j reads column j of the input, for the group that owns it."""
    w_hh: Float[Array, "groups hidden 3*hidden"]
    b_ih: Float[Array, "groups 3*hidden"]


class JointParams(NamedTuple):
    """Weights of the joint memory."""

    u_c: Float[Array, "groups hidden joint"]
    """Reads the candidates n_t of the groups."""
    b_c: Float[Array, " joint"]
    w_z: Float[Array, "features joint"]
    """Reads the input, for the update gate."""
    u_z: Float[Array, "joint joint"]
    b_z: Float[Array, " joint"]


class HeadParams(NamedTuple):
    """A linear map of the joint state."""

    weight: Float[Array, "joint outputs"]
    bias: Float[Array, " outputs"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MGRNParams:
    """All weights of a memory-gated recurrent network; a pytree whose configuration is static."""

    marginal: MarginalParams
    joint: JointParams
    head: HeadParams | None
    config: MGRNConfig = field(metadata={"static": True})


class MGRNCarry(NamedTuple):
    """The state between two steps."""

    h: Float[Array, "batch groups hidden"]
    """Marginal states h_t."""
    g: Float[Array, "batch joint"]
    """Joint state g_t."""


class MGRNStates(NamedTuple):
    """Everything that the layer computed, at every step; leading axes as in the input.

    After the last valid step of a sequence the states stay, both update gates are 1 and the candidates are 0.
    """

    joint: Float[Array, "batch time joint"]
    """g_t."""
    marginal: Float[Array, "batch time groups hidden"]
    """h_t of every group."""
    candidates: Float[Array, "batch time groups hidden"]
    """n_t of every group, the joint memory's input."""
    marginal_gates: Float[Array, "batch time groups hidden"]
    """z_t of every group: 1 keeps the memory, 0 replaces it."""
    joint_gates: Float[Array, "batch time joint"]
    """ζ_t: 1 keeps the memory, 0 replaces it."""
    carry: MGRNCarry
    """The state after the last step, to go on from."""


class DropoutMasks(NamedTuple):
    """Factors that are multiplied in: 0 where something is dropped, 1/(1-p) elsewhere; None for no dropout."""

    marginal_inputs: Float[Array, "batch features"] | None = None
    """Of the input as the marginal memories read it."""
    joint_inputs: Float[Array, "batch features"] | None = None
    """Of the input as the joint update gate reads it; independent of the former."""
    candidates: Float[Array, "batch groups hidden"] | None = None
    """Of the candidates n_t as the joint memory reads them."""
    w_hh: Float[Array, "groups hidden 3*hidden"] | None = None
    """Of the marginal recurrent weights."""
    u_z: Float[Array, "joint joint"] | None = None
    """Of the joint recurrent weights."""
    output: Float[Array, "batch joint"] | None = None
    """Of the joint state before the head."""
