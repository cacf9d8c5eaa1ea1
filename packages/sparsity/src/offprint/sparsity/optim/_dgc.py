"""Deep gradient compression: top-k of a momentum that is gathered before sending (lin2018dgc)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from offprint.sparsity.optim._compress import Scope, check_amount, counts, keep_largest
from offprint.sparsity.optim._error_feedback import wide_zeros


class DGCState(NamedTuple):
    """State of `dgc`; u and v in at least float32."""

    count: Int[Array, ""]  # type: ignore[assignment]  # int32, steps so far
    u: PyTree[Float[Array, "..."]]  # momentum of what was not sent
    v: PyTree[Float[Array, "..."]]  # its sum: what would be sent


def dgc(
    momentum: float = 0.9,
    fraction: float = 0.001,
    *,
    warmup: Sequence[float] = (),
    warmup_steps: int = 0,
    scope: Scope = "local",
    clip: float | None = None,
    workers: int = 1,
) -> optax.GradientTransformation:
    """u ← μu + g, v ← v + u; the largest entries of v are sent, and u and v are set to 0 there (lin2018dgc).

    The momentum is here: put plain `optax.sgd(rate)` behind it. Without warm-up and clipping it agrees with golden
    arrays; the warm-up's shares and the clipping are from memory of the paper, not checked against it.

    Args:
        momentum: μ.
        fraction: share of the entries that is sent, in (0, 1].
        warmup: shares of the first stages, such as `dgc_warmup()`; empty: none.
        warmup_steps: steps of each of these stages (an epoch, in the paper).
        scope: of each leaf, or of all together.
        clip: largest norm of the gradient over all workers; each clips its own to clip / sqrt(workers).
        workers: how many machines send.

    Raises:
        ValueError: shares outside (0, 1], a warm-up without steps, or a momentum outside [0, 1).
    """
    shares = (*warmup, fraction)
    for share in shares:
        check_amount(float(share))
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1); got {momentum}")
    if (warmup_steps > 0) != bool(warmup):
        raise ValueError(f"warmup and warmup_steps are given together; got {tuple(warmup)} and {warmup_steps}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1; got {workers}")
    clipping = optax.identity() if clip is None else optax.clip_by_global_norm(clip / np.sqrt(workers))

    def init(params: PyTree) -> DGCState:
        zeros = jax.tree.map(wide_zeros, params)
        return DGCState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(updates: PyTree, state: DGCState, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, DGCState]:
        del params, extra
        updates, _ = clipping.update(updates, clipping.init(updates))
        u = jax.tree.map(lambda u, g: momentum * u + g.astype(u.dtype), state.u, updates)
        v = jax.tree.map(lambda v, u: v + u, state.v, u)
        tables = [counts(v, float(share), scope) for share in shares]
        stage = jnp.minimum(state.count // max(warmup_steps, 1), len(shares) - 1)
        amounts = jax.tree.map(lambda *row: jnp.asarray(row, jnp.int32)[stage], *tables)
        sent = keep_largest(v, amounts)
        keep = jax.tree.map(lambda q: q == 0, sent)
        u, v = (jax.tree.map(lambda k, x: jnp.where(k, x, 0), keep, x) for x in (u, v))
        return jax.tree.map(lambda q, g: q.astype(g.dtype), sent, updates), DGCState(state.count + 1, u, v)

    return optax.GradientTransformationExtraArgs(init, update)


def dgc_warmup(final: float = 0.001) -> tuple[float, ...]:
    """Shares of the paper's warm-up epochs, a quarter each time: 25, 6.25, 1.5625, 0.4 %, as long as they are above
    `final`. From memory of the paper, not checked against it."""
    shares = (0.25, 0.0625, 0.015625, 0.004)
    return tuple(share for share in shares if share > final)
