"""Marginal memories: one gated recurrent unit per group, all groups in one batched loop over time.

Candidates n_t and states h_t of group k, with the reset gate applied after the recurrent product and one bias:

    r_t = sigmoid(W_r x_t + U_r h_{t-1} + b_r)
    z_t = sigmoid(W_z x_t + U_z h_{t-1} + b_z)
    n_t = tanh(W_n x_t + b_n + r_t * (U_n h_{t-1}))
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}

The products with x are made for all steps at once, before the loop. The loop carries h as (groups, batch, hidden), so
that its one product is a batched matrix product over the groups; the block-diagonal matrix is never formed. Arrays
over time have the groups first too, (groups, time, batch, units): products over all steps, of the input and of the
weights' gradients, are then batched over the groups without a transposition. Both gates are kept apart from the
candidate throughout, since only its recurrent product is multiplied by r: no gradient has to be put together again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from offprint.mgrn._config import Execution
from offprint.mgrn._dense import dense
from offprint.mgrn._groups import Groups, group_sizes
from offprint.mgrn._pallas import kernel_backward, kernel_forward
from offprint.mgrn._params import MarginalParams

Cell = Callable[[Any, Any], tuple[Any, Any]]


class Projected(NamedTuple):
    """W x_t + b of every step."""

    gates: Float[Array, "groups time batch 2*hidden"]
    """Of r and z."""
    candidate: Float[Array, "groups time batch hidden"]
    """Of n."""


class MarginalOutputs(NamedTuple):
    """What the marginal memories computed."""

    candidates: Float[Array, "groups time batch hidden"]
    last: Float[Array, "groups batch hidden"]
    states: Float[Array, "groups time batch hidden"] | None
    """None unless asked for; so are the gates."""
    gates: Float[Array, "groups time batch hidden"] | None


class Residuals(NamedTuple):
    """What the backward pass needs of every step; q = U_n h_{t-1}."""

    before: Float[Array, "groups time batch hidden"]
    """h_{t-1}."""
    gates: Float[Array, "groups time batch 2*hidden"]
    """r and z."""
    candidate: Float[Array, "groups time batch hidden"]
    q: Float[Array, "groups time batch hidden"]


def project_inputs(
    params: MarginalParams,
    groups: Groups,
    x: Float[Array, "time batch features"],
    execution: Execution,
    dtype: Any,
) -> Projected:
    """W x_t + b of every group at every step, in `dtype`.

    Groups of unequal size are padded to the largest one, x and W alike, with zeros that are no parameters. The bias is
    the weight of a further column of ones: neither it nor its gradient then costs a pass over the result.
    """
    steps, batch, _ = x.shape
    columns = _by_group(x.reshape(steps * batch, -1), groups, axis=1)
    columns = jnp.pad(columns, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    weights = jnp.concatenate([_by_group(params.w_ih, groups, axis=0), params.b_ih[:, None, :]], axis=1)
    hidden = weights.shape[-1] // 3
    parts = weights[..., : 2 * hidden], weights[..., 2 * hidden :]
    return Projected(*(dense(columns, part, execution, dtype).reshape(len(groups), steps, batch, -1) for part in parts))


def _by_group(array: Float[Array, "rows columns"], groups: Groups, axis: int) -> Float[Array, "groups _ _"]:
    """The rows (axis 0) or columns (axis 1) of every group, padded by zeros to the size of the largest."""
    order = [column for group in groups for column in group]
    if order != list(range(len(order))):
        array = jnp.take(array, jnp.array(order), axis=axis)
    sizes = group_sizes(groups)
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    parts = [jax.lax.slice_in_dim(array, end - size, end, axis=axis) for end, size in zip(ends, sizes)]
    fill = [((0, max(sizes) - size), (0, 0))[:: 1 if axis == 0 else -1] for size in sizes]
    return jnp.stack([jnp.pad(part, widths) for part, widths in zip(parts, fill)])


def freeze_updates(projected: Projected, valid: Bool[Array, "time batch"]) -> Projected:
    """Inputs of the gates such that z_t is 1 exactly, and h_t stays, at steps that are not valid.

    Nothing of the mask is left in the loop, nor in its derivative, which is exactly zero at those steps.
    """
    gates = projected.gates
    is_reset = jnp.arange(gates.shape[-1]) < gates.shape[-1] // 2
    shut = jnp.where(valid[None, :, :, None] | is_reset, gates, jnp.finfo(gates.dtype).max / 2)
    return projected._replace(gates=shut)


def marginal_recurrence(
    projected: Projected,
    w_hh: Float[Array, "groups hidden gates"],
    h0: Float[Array, "groups batch hidden"],
    execution: Execution,
    *,
    states: bool = False,
) -> MarginalOutputs:
    """Runs the marginal memories over time.

    Args:
        projected: of `project_inputs`, in the type of the states.
        w_hh: recurrent weights U, perhaps in a shorter type.
        h0: the state to start from.
        execution: how to run.
        states: also return h_t and z_t of every step.
    """
    if execution.vjp == "custom":
        return _with_custom_vjp(projected, w_hh, h0, execution, states)

    def cell(h: Array, step_in: Projected) -> tuple[Array, Any]:
        after, (_, gates, n, _) = _cell(w_hh, execution, h, step_in)
        return after, (n, after, gates[..., h.shape[-1] :]) if states else (n,)

    time_first = jax.tree.map(lambda array: array.swapaxes(0, 1), projected)
    unroll = execution.steps_per_iteration(len(time_first.candidate))
    last, outputs = jax.lax.scan(cell, h0, time_first, unroll=unroll)
    candidates, *more = (array.swapaxes(0, 1) for array in outputs)
    return MarginalOutputs(candidates, last, *(more or (None, None)))


def _cell(
    w_hh: Float[Array, "groups hidden gates"],
    execution: Execution,
    h: Float[Array, "groups batch hidden"],
    step_in: Any,
) -> tuple[Float[Array, "groups batch hidden"], Residuals]:
    """One step: the next state, and what the backward pass needs of this step."""
    hidden = h.shape[-1]
    recurrent = _product("gbh,ghk->gbk", h, w_hh, execution)
    gates = jax.nn.sigmoid(step_in.gates + recurrent[..., : 2 * hidden])
    r, z, q = gates[..., :hidden], gates[..., hidden:], recurrent[..., 2 * hidden :]
    n = jnp.tanh(step_in.candidate + r * q)
    return (1 - z) * n + z * h, Residuals(h, gates, n, q)


def _product(equation: str, state: Array, weights: Array, execution: Execution) -> Array:
    """A product with weights in the weights' type, accumulated in the state's."""
    return jnp.einsum(
        equation,
        state.astype(weights.dtype),
        weights,
        precision=execution.precision,
        preferred_element_type=state.dtype,
    )


def _loop(cell: Cell, carry: Any, inputs: Any, steps: int, execution: Execution, *, reverse: bool = False) -> Any:
    """`lax.scan` along axis 1 of the inputs, with outputs along axis 1, which `lax.scan` would have to transpose."""

    def at(t: Any) -> Any:
        return jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, t, 1, keepdims=False), inputs)

    def iteration(i: Any, looped: Any) -> Any:
        carry, stacks = looped
        t = steps - 1 - i if reverse else i
        carry, outputs = cell(carry, at(t))
        put = partial(jax.lax.dynamic_update_index_in_dim, index=t, axis=1)
        return carry, jax.tree.map(put, stacks, outputs)

    shapes = jax.eval_shape(lambda carry: cell(carry, at(0))[1], carry)
    stacks = jax.tree.map(lambda s: jnp.zeros((s.shape[0], steps, *s.shape[1:]), s.dtype), shapes)
    return jax.lax.fori_loop(0, steps, iteration, (carry, stacks), unroll=execution.steps_per_iteration(steps))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _with_custom_vjp(
    projected: Projected, w_hh: Array, h0: Array, execution: Execution, states: bool
) -> MarginalOutputs:
    if execution.kernel != "scan" or states:
        return _vjp_forward(projected, w_hh, h0, execution, states)[0]

    def cell(h: Array, step_in: Projected) -> tuple[Array, Array]:
        after, residuals = _cell(w_hh, execution, h, step_in)
        return after, residuals.candidate

    last, candidates = _loop(cell, h0, projected, projected.candidate.shape[1], execution)
    return MarginalOutputs(candidates, last, None, None)


def _vjp_forward(
    projected: Projected, w_hh: Array, h0: Array, execution: Execution, states: bool
) -> tuple[MarginalOutputs, tuple[Residuals, Array]]:
    if execution.kernel == "scan":
        steps = projected.candidate.shape[1]
        last, residuals = _loop(partial(_cell, w_hh, execution), h0, projected, steps, execution)
    else:
        interpret = execution.kernel == "interpret"
        last, arrays = kernel_forward(*projected, w_hh, h0, precision=execution.precision, interpret=interpret)
        residuals = Residuals(*arrays)
    outputs = MarginalOutputs(residuals.candidate, last, None, None)
    if states:
        after = jnp.concatenate([residuals.before[:, 1:], last[:, None]], axis=1)
        outputs = outputs._replace(states=after, gates=residuals.gates[..., last.shape[-1] :])
    return outputs, (residuals, w_hh)


def _vjp_backward(
    execution: Execution, states: bool, saved: tuple[Residuals, Array], cotangents: MarginalOutputs
) -> tuple[Projected, Array, Array]:
    residuals, w_hh = saved
    if execution.kernel == "scan" or states:
        dprojected, dh0 = _backward(residuals, w_hh, cotangents, execution)
    else:
        dcandidates, dlast = cotangents[:2]
        interpret = execution.kernel == "interpret"
        arrays, dh0 = kernel_backward(
            residuals, w_hh, dcandidates, dlast, precision=execution.precision, interpret=interpret
        )
        dprojected = Projected(*arrays)
    # One product over all steps and sequences is the gradient of the weights; that of q has the factor r.
    r = residuals.gates[..., : dh0.shape[-1]]
    before = _all_steps(residuals.before)
    dw_hh = [
        jnp.einsum("gnh,gnk->ghk", before, _all_steps(drecurrent), precision=execution.precision)
        for drecurrent in (dprojected.gates, dprojected.candidate * r)
    ]
    return dprojected, jnp.concatenate(dw_hh, axis=-1).astype(w_hh.dtype), dh0


def _backward(
    residuals: Residuals, w_hh: Array, cotangents: MarginalOutputs, execution: Execution
) -> tuple[Projected, Array]:
    """Cotangents of the projected inputs and of h0, by the recurrence backwards in time."""
    hidden, transposed = w_hh.shape[1], w_hh.swapaxes(1, 2)

    def cell(dh: Array, step: Any) -> tuple[Array, Projected]:
        (before, gates, n, q), dcandidate, dstate, dgate = step
        r, z = gates[..., :hidden], gates[..., hidden:]
        dh = dh if dstate is None else dh + dstate
        dp = (dcandidate + dh * (1 - z)) * (1 - n * n)
        dr = dp * q * r * (1 - r)
        dz = dh * (before - n) if dgate is None else dh * (before - n) + dgate
        dgates = jnp.concatenate([dr, dz * z * (1 - z)], axis=-1)
        drecurrent = jnp.concatenate([dgates, dp * r], axis=-1)
        dh = dh * z + _product("gbk,gkh->gbh", drecurrent, transposed, execution)
        return dh, Projected(dgates, dp)

    inputs = (residuals, cotangents.candidates, cotangents.states, cotangents.gates)
    dh0, dprojected = _loop(cell, cotangents.last, inputs, residuals.q.shape[1], execution, reverse=True)
    return dprojected, dh0


def _all_steps(array: Float[Array, "groups time batch units"]) -> Float[Array, "groups n units"]:
    return array.reshape(array.shape[0], -1, array.shape[-1])


_with_custom_vjp.defvjp(_vjp_forward, _vjp_backward)
