"""Joint memory: a gated cell that reads the candidates of all groups.

    ñ_t = tanh(U_c c_t + b_c)                            c_t: the candidates n_t of all groups
    ζ_t = sigmoid(W_ζ x_t + U_ζ g_{t-1} + b_ζ)
    g_t = (1 - ζ_t) * ñ_t + ζ_t * g_{t-1}

It has no reset gate, and its candidate does not read its state: all but the product with g_{t-1} is made for all steps
at once, before the loop.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from offprint.mgrn._config import Execution
from offprint.mgrn._dense import dense


class JointOutputs(NamedTuple):
    """What the joint memory computed."""

    last: Float[Array, "batch joint"]
    states: Float[Array, "time batch joint"] | None
    """None unless asked for; so are the gates."""
    gates: Float[Array, "time batch joint"] | None


def project_candidates(
    u_c: Float[Array, "groups hidden joint"],
    b_c: Float[Array, " joint"],
    candidates: Float[Array, "groups time batch hidden"],
    execution: Execution,
    dtype: Any,
) -> Float[Array, "time batch joint"]:
    """ñ_t of every step, in `dtype`."""
    _, steps, batch, _ = candidates.shape
    together = candidates.astype(u_c.dtype).transpose(1, 2, 0, 3).reshape(steps * batch, -1)
    product = dense(together, u_c.reshape(-1, u_c.shape[-1]), execution, dtype)
    return jnp.tanh(product + b_c.astype(dtype)).reshape(steps, batch, -1)


def project_gates(
    w_z: Float[Array, "features joint"],
    b_z: Float[Array, " joint"],
    x: Float[Array, "time batch features"],
    execution: Execution,
    dtype: Any,
) -> Float[Array, "time batch joint"]:
    """W_ζ x_t + b_ζ of every step, in `dtype`.

    The bias is the weight of a further column of ones: neither it nor its gradient costs a pass over the result.
    """
    columns = jnp.pad(x, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    weights = jnp.concatenate([w_z, b_z[None]])
    return dense(columns.reshape(-1, len(weights)), weights, execution, dtype).reshape(*x.shape[:2], -1)


def freeze_states(
    gates_in: Float[Array, "time batch joint"], valid: Bool[Array, "time batch"]
) -> Float[Array, "time batch joint"]:
    """Inputs of the gate such that ζ_t is 1 exactly, and g_t stays, at steps that are not valid."""
    return jnp.where(valid[..., None], gates_in, jnp.finfo(gates_in.dtype).max / 2)


def joint_recurrence(
    gates_in: Float[Array, "time batch joint"],
    candidates: Float[Array, "time batch joint"],
    u_z: Float[Array, "joint joint"],
    g0: Float[Array, "batch joint"],
    execution: Execution,
    *,
    states: bool = False,
) -> JointOutputs:
    """Runs the joint memory over time.

    Args:
        gates_in: of `project_gates`, in the type of the states.
        candidates: ñ_t, of `project_candidates`.
        u_z: recurrent weights U_ζ, perhaps in a shorter type.
        g0: the state to start from.
        execution: how to run.
        states: also return g_t and ζ_t of every step.
    """
    if execution.vjp == "custom":
        return _with_custom_vjp(gates_in, candidates, u_z, g0, execution, states)
    return _scan(gates_in, candidates, u_z, g0, execution, states)


def _scan(gates_in: Array, candidates: Array, u_z: Array, g0: Array, execution: Execution, states: bool) -> Any:
    def cell(g: Array, step: tuple[Array, Array]) -> tuple[Array, Any]:
        after, zeta = _cell(u_z, execution, g, *step)
        return after, (after, zeta) if states else None

    unroll = execution.steps_per_iteration(len(gates_in))
    last, outputs = jax.lax.scan(cell, g0, (gates_in, candidates), unroll=unroll)
    return JointOutputs(last, *(outputs or (None, None)))


def _cell(u_z: Array, execution: Execution, g: Array, gates_in: Array, candidate: Array) -> tuple[Array, Array]:
    """One step: the next state and the update gate ζ."""
    zeta = jax.nn.sigmoid(gates_in + _product(g, u_z, execution))
    return (1 - zeta) * candidate + zeta * g, zeta


def _product(state: Array, weights: Array, execution: Execution) -> Array:
    """A product with weights in the weights' type, accumulated in the state's."""
    return jnp.matmul(
        state.astype(weights.dtype), weights, precision=execution.precision, preferred_element_type=state.dtype
    )


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _with_custom_vjp(
    gates_in: Array, candidates: Array, u_z: Array, g0: Array, execution: Execution, states: bool
) -> JointOutputs:
    return _scan(gates_in, candidates, u_z, g0, execution, states)


def _vjp_forward(
    gates_in: Array, candidates: Array, u_z: Array, g0: Array, execution: Execution, states: bool
) -> tuple[JointOutputs, Any]:
    def cell(g: Array, step: tuple[Array, Array]) -> tuple[Array, Any]:
        after, zeta = _cell(u_z, execution, g, *step)
        return after, (g, zeta)

    unroll = execution.steps_per_iteration(len(gates_in))
    last, (before, zetas) = jax.lax.scan(cell, g0, (gates_in, candidates), unroll=unroll)
    outputs = JointOutputs(last, None, None)
    if states:
        outputs = JointOutputs(last, jnp.concatenate([before[1:], last[None]]), zetas)
    return outputs, (before, zetas, candidates, u_z)


def _vjp_backward(execution: Execution, states: bool, saved: Any, cotangents: JointOutputs) -> tuple[Any, ...]:
    before, zetas, candidates, u_z = saved
    transposed = u_z.T

    def cell(dg: Array, step: Any) -> tuple[Array, Any]:
        g, zeta, candidate, dstate, dzeta = step
        dg = dg if dstate is None else dg + dstate
        da = dg * (g - candidate) if dzeta is None else dg * (g - candidate) + dzeta
        da = da * zeta * (1 - zeta)
        return dg * zeta + _product(da, transposed, execution), (da, dg * (1 - zeta))

    inputs = (before, zetas, candidates, cotangents.states, cotangents.gates)
    unroll = execution.steps_per_iteration(len(zetas))
    dg0, (dgates, dcandidates) = jax.lax.scan(cell, cotangents.last, inputs, reverse=True, unroll=unroll)
    # One product over all steps and sequences is the gradient of the recurrent weights.
    by_row = (array.reshape(-1, array.shape[-1]) for array in (before, dgates))
    du_z = jnp.einsum("nj,nk->jk", *by_row, precision=execution.precision)
    return dgates, dcandidates, du_z.astype(u_z.dtype), dg0


_with_custom_vjp.defvjp(_vjp_forward, _vjp_backward)
