"""The memory-gated recurrent network as pure functions of its weights (Zhang et al. 2021)."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.mgrn._checks import check_finite, check_sequences
from offprint.mgrn._config import DropoutRates, Execution
from offprint.mgrn._dropout import draw_masks, masked
from offprint.mgrn._forward import forward, zero_carry
from offprint.mgrn._lengths import valid_steps
from offprint.mgrn._params import DropoutMasks, HeadParams, MGRNCarry, MGRNParams, MGRNStates


def apply(
    params: MGRNParams,
    x: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    key: PRNGKeyArray | None = None,
    rates: DropoutRates = DropoutRates(),  # noqa: B008 - frozen
    masks: DropoutMasks | None = None,
    carry: MGRNCarry | None = None,
    time_major: bool = False,
    return_states: bool = False,
    unroll: int | Literal["auto"] = "auto",
    precision: jax.lax.PrecisionLike = None,
    remat: int | bool = False,
    vjp: Literal["custom", "autodiff"] = "custom",
    kernel: Literal["scan", "pallas", "interpret"] = "scan",
) -> Float[Array, "batch outputs"] | tuple[Float[Array, "batch outputs"], MGRNStates]:
    """The network's output after the last valid step of every sequence.

    Args:
        params: from `init` or `from_torch`.
        x: (B, T, F), or (T, B, F) with `time_major`.
        lengths: (B,), the valid steps of every sequence, in [1, T]. States are frozen after them, so that neither
            content nor length of the padding matters. None: all T steps are valid (zero padding is then read as
            data, as the official layer does).
        key: for dropout; needed where a rate is above 0.
        rates: of dropout. The default, 0 everywhere, is evaluation.
        masks: instead of `key` and `rates`: the dropout masks themselves.
        carry: the states to start from, by default 0; those of an earlier call are `MGRNStates.carry`.
        time_major: whether the first axis of `x`, and of the states, is time.
        return_states: also return all states, candidates and gates.
        unroll, precision, remat, vjp, kernel: how it runs, as in `Execution`; the result is the same to rounding.

    Returns:
        (B, C), the head's output on the joint state g_T, or (B, J), that state, where there is no head. With
        `return_states` also an `MGRNStates`. In the floating-point type of `x` and `params` together; gates and
        states of float16 and bfloat16 are held in float32 while the loop runs.

    Raises:
        ValueError: as `check_sequences`; a dropout rate above 0 without a key; an unknown option; a carry of other
            sizes.
    """
    execution = Execution(unroll, precision, vjp, kernel, remat)
    config = params.config
    array, checked = check_sequences(x, config.features, lengths, time_major=time_major)
    array = array if time_major else array.swapaxes(0, 1)
    steps, batch = array.shape[:2]
    _check_carry(params, carry, batch)
    masks = _draw(params, key, rates, batch) if masks is None else jax.tree.map(jnp.asarray, masks)
    outputs = forward(
        config.groups,
        params.marginal,
        params.joint,
        array,
        valid=None if checked is None else valid_steps(checked, steps),
        masks=masks,
        carry=jax.tree.map(jnp.asarray, carry),
        execution=execution,
        states=return_states,
    )
    dtype = jnp.result_type(array, params.marginal.w_ih)
    out = readout(params.head, masked(outputs.carry.g.astype(dtype), masks.output), precision)
    if outputs.states is None:
        return out
    return out, outputs.states if time_major else _batch_first(outputs.states)


def step(
    params: MGRNParams, carry: MGRNCarry, x_t: ArrayLike, *, precision: jax.lax.PrecisionLike = None
) -> tuple[MGRNCarry, Float[Array, "batch outputs"]]:
    """One step of a stream; step after step equals `apply` on the sequence so far.

    Args:
        params: from `init` or `from_torch`.
        carry: from `initial_carry` or the step before.
        x_t: (B, F), the input of this step.
        precision: of the matrix products.

    Returns:
        The carry after this step, and (B, C), the head's output on its joint state, or (B, J), that state, without
        a head.

    Raises:
        ValueError: another shape of `x_t` or `carry`; NaN or infinite values.
    """
    config = params.config
    if np.ndim(x_t) != 2 or np.shape(x_t)[1] != config.features:
        raise ValueError(f"x_t must have shape (B, F) = (batch, {config.features}), got shape {np.shape(x_t)}.")
    check_finite(x_t, "x_t")
    array = jnp.asarray(x_t)
    array = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(params.marginal.w_ih.dtype)
    _check_carry(params, carry, len(array))
    outputs = forward(
        config.groups,
        params.marginal,
        params.joint,
        array[None],
        carry=jax.tree.map(jnp.asarray, carry),
        execution=Execution(precision=precision),
    )
    dtype = jnp.result_type(array, params.marginal.w_ih)
    return outputs.carry, readout(params.head, outputs.carry.g.astype(dtype), precision)


def initial_carry(params: MGRNParams, batch: int) -> MGRNCarry:
    """The states before the first step, all 0, of `batch` sequences; at least float32."""
    config = params.config
    return zero_carry(config.groups, config.hidden, config.joint, batch, params.marginal.w_ih.dtype)


def readout(
    head: HeadParams | None, g: Float[Array, "batch joint"], precision: jax.lax.PrecisionLike = None
) -> Float[Array, "batch outputs"]:
    """The linear head on a joint state; the state itself where there is none."""
    if head is None:
        return g
    return jnp.matmul(g, head.weight.astype(g.dtype), precision=precision) + head.bias.astype(g.dtype)


def _draw(params: MGRNParams, key: PRNGKeyArray | None, rates: DropoutRates, batch: int) -> DropoutMasks:
    if not rates.any:
        return DropoutMasks()
    if key is None:
        raise ValueError(f"{rates} needs a random key: pass key=jax.random.key(seed), or leave rates out to evaluate.")
    config = params.config
    return draw_masks(
        key,
        rates,
        batch=batch,
        features=config.features,
        candidates=(config.num_groups, config.hidden),
        joint=config.joint,
        dtype=params.marginal.w_ih.dtype,
    )


def _check_carry(params: MGRNParams, carry: MGRNCarry | None, batch: int) -> None:
    config = params.config
    needed = (batch, config.num_groups, config.hidden), (batch, config.joint)
    if carry is not None and (given := (np.shape(carry.h), np.shape(carry.g))) != needed:
        raise ValueError(
            f"carry must have shapes (B, G, H) = {needed[0]} and (B, J) = {needed[1]}, got {given[0]} and {given[1]}."
        )


def _batch_first(states: MGRNStates) -> MGRNStates:
    turned = jax.tree.map(lambda array: array.swapaxes(0, 1), states)
    return turned._replace(carry=states.carry)
