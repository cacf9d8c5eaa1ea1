"""Both memories together, time-major: what the functions and the modules call after their arguments are checked."""

from functools import partial
from math import isqrt
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from offprint.mgrn._config import Execution
from offprint.mgrn._dropout import masked
from offprint.mgrn._groups import Groups
from offprint.mgrn._joint import freeze_states, joint_recurrence, project_candidates, project_gates
from offprint.mgrn._marginal import MarginalOutputs, freeze_updates, marginal_recurrence, project_inputs
from offprint.mgrn._params import DropoutMasks, JointParams, MarginalParams, MGRNCarry, MGRNStates


class Outputs(NamedTuple):
    """What a call computed, time-major."""

    carry: MGRNCarry
    sequence: Float[Array, "time batch joint"] | None
    """g_t, where asked for."""
    states: MGRNStates | None
    """Where asked for."""


def state_dtype(dtype: Any) -> jnp.dtype:
    """The type of gates and states: at least float32, since a short type loses the small updates near z = 1."""
    return jnp.promote_types(dtype, jnp.float32)


def zero_carry(groups: Groups, hidden: int, joint: int, batch: int, dtype: Any) -> MGRNCarry:
    """The states before the first step."""
    return MGRNCarry(
        jnp.zeros((batch, len(groups), hidden), state_dtype(dtype)), jnp.zeros((batch, joint), state_dtype(dtype))
    )


def forward(
    groups: Groups,
    marginal: MarginalParams,
    joint: JointParams,
    x: Float[Array, "time batch features"],
    *,
    valid: Bool[Array, "time batch"] | None = None,
    masks: DropoutMasks = DropoutMasks(),  # noqa: B008 - immutable
    carry: MGRNCarry | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
    sequence: bool = False,
    states: bool = False,
) -> Outputs:
    """Runs marginal and joint memories over `x`, in the floating-point type of x and the weights.

    Args:
        groups: columns of every group.
        marginal, joint: weights.
        x: the input.
        valid: which steps count; states stay at the others, and what x holds there is not read.
        masks: of dropout.
        carry: the states to start from; by default 0.
        execution: how to run.
        sequence: return g_t of every step.
        states: return all states, candidates and gates of every step.
    """
    dtype = jnp.result_type(x, marginal.w_ih)
    steps, batch, _ = x.shape
    marginal, joint = jax.tree.map(lambda w: w.astype(dtype), (marginal, joint))
    marginal = marginal._replace(w_hh=masked(marginal.w_hh, masks.w_hh))
    joint = joint._replace(u_z=masked(joint.u_z, masks.u_z))
    x = x.astype(dtype) if valid is None else jnp.where(valid[..., None], x.astype(dtype), 0)
    if carry is None:
        carry = zero_carry(groups, marginal.w_hh.shape[1], joint.b_c.shape[0], batch, dtype)
    start = jax.tree.map(lambda s: s.astype(state_dtype(dtype)), (carry.h.swapaxes(0, 1), carry.g))
    chunk = partial(_chunk, groups, execution, sequence or states, states)
    length = _chunk_length(execution.remat, steps)
    if length < steps:
        (h, g), outputs = _by_chunks(chunk, length, marginal, joint, masks, start, x, valid)
    else:
        (h, g), outputs = chunk(marginal, joint, masks, start, x, valid)
    after = MGRNCarry(h.swapaxes(0, 1), g)
    outputs = jax.tree.map(lambda s: s.astype(dtype), outputs)
    return Outputs(after, outputs[0], MGRNStates(*outputs, carry=after) if states else None)


def marginal_memory(
    groups: Groups,
    params: MarginalParams,
    x: Float[Array, "time batch features"],
    valid: Bool[Array, "time batch"] | None,
    input_mask: Float[Array, "batch features"] | None,
    h0: Float[Array, "groups batch hidden"],
    execution: Execution,
    *,
    states: bool,
) -> MarginalOutputs:
    """The marginal memories alone, in the type of `h0`."""
    projected = project_inputs(params, groups, masked(x, input_mask), execution, h0.dtype)
    projected = projected if valid is None else freeze_updates(projected, valid)
    return marginal_recurrence(projected, params.w_hh, h0, execution, states=states)


def joint_memory(
    params: JointParams,
    candidates: Float[Array, "groups time batch hidden"],
    x: Float[Array, "time batch features"],
    valid: Bool[Array, "time batch"] | None,
    masks: DropoutMasks,
    g0: Float[Array, "batch joint"],
    execution: Execution,
    *,
    states: bool,
) -> Any:
    """The joint memory alone, in the type of `g0`."""
    mask = None if masks.candidates is None else masks.candidates.swapaxes(0, 1)[:, None]
    candidates = masked(candidates, mask)
    proposals = project_candidates(params.u_c, params.b_c, candidates, execution, g0.dtype)
    gates_in = project_gates(params.w_z, params.b_z, masked(x, masks.joint_inputs), execution, g0.dtype)
    gates_in = gates_in if valid is None else freeze_states(gates_in, valid)
    return joint_recurrence(gates_in, proposals, params.u_z, g0, execution, states=states)


def _chunk(
    groups: Groups,
    execution: Execution,
    sequence: bool,
    states: bool,
    marginal: MarginalParams,
    joint: JointParams,
    masks: DropoutMasks,
    carry: tuple[Array, Array],
    x: Array,
    valid: Array | None,
) -> tuple[tuple[Array, Array], tuple[Array | None, ...]]:
    """Some steps; the states after them, and g_t with the further states or None for each."""
    h, g = carry
    inner = marginal_memory(groups, marginal, x, valid, masks.marginal_inputs, h, execution, states=states)
    outer = joint_memory(joint, inner.candidates, x, valid, masks, g, execution, states=sequence)
    carry = (inner.last, outer.last)
    if not states:
        return carry, (outer.states,)
    candidates = inner.candidates if valid is None else jnp.where(valid[None, :, :, None], inner.candidates, 0)
    by_step = jax.tree.map(lambda array: array.transpose(1, 2, 0, 3), (inner.states, candidates, inner.gates))
    return carry, (outer.states, *by_step, outer.gates)


def _chunk_length(remat: int | bool, steps: int) -> int:
    if remat is False or remat == 0:
        return steps
    return max(isqrt(steps), 1) if remat is True else int(remat)


def _by_chunks(
    chunk: Any,
    length: int,
    marginal: MarginalParams,
    joint: JointParams,
    masks: DropoutMasks,
    carry: tuple[Array, Array],
    x: Array,
    valid: Array | None,
) -> tuple[tuple[Array, Array], tuple[Array | None, ...]]:
    """`chunk` after `chunk`, of which the backward pass keeps only the states between them.

    The last one is filled up by steps that are not valid.
    """
    steps, batch, _ = x.shape
    fill = -steps % length
    if fill:
        valid = jnp.ones((steps, batch), bool) if valid is None else valid
        x = jnp.pad(x, ((0, fill), (0, 0), (0, 0)))
        valid = jnp.pad(valid, ((0, fill), (0, 0)))
    split = [None if array is None else array.reshape(-1, length, *array.shape[1:]) for array in (x, valid)]
    run = jax.checkpoint(lambda carry, inputs: chunk(marginal, joint, masks, carry, *inputs))
    carry, outputs = jax.lax.scan(run, carry, split)
    return carry, jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:])[:steps], outputs)
