"""Compressed gradients with error feedback: what is not sent now is added to what comes next."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.sparsity.optim._compress import Compressor, RandomK, Scope, Strom, Threshold, TopK


class CompressionState(NamedTuple):
    """State of `compress`."""

    # What was not sent yet, in the shapes of the parameters and at least float32; () without feedback.
    error: PyTree[Float[Array, "..."]]
    key: PRNGKeyArray | None  # of the compressors that draw


def compress(
    compressor: Compressor, *, error_feedback: bool = True, key: PRNGKeyArray | None = None
) -> optax.GradientTransformation:
    """Send q = C(e + g) and keep e + g - q for the next step; without error feedback send C(g).

    Nothing is lost: the sum of what was sent plus the error is the sum of the gradients (also of half-precision ones,
    since the error is kept in float32). Top-k and thresholds need the feedback in order to converge (stich2018ef).

    Args:
        compressor: `TopK`, `RandomK`, `Threshold`, `Strom` or a function `(tree, key) -> tree`.
        error_feedback: keep what was not sent.
        key: for compressors that draw.
    """

    def init(params: PyTree) -> CompressionState:
        return CompressionState(jax.tree.map(wide_zeros, params) if error_feedback else (), key)

    def update(
        updates: PyTree, state: CompressionState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, CompressionState]:
        del params, extra
        ours, left = (None, None) if state.key is None else jax.random.split(state.key)
        if not error_feedback:
            return compressor(updates, ours), CompressionState((), left)
        total = jax.tree.map(lambda e, g: e + g.astype(e.dtype), state.error, updates)
        sent = jax.tree.map(lambda q, g: q.astype(g.dtype), compressor(total, ours), updates)
        return sent, CompressionState(jax.tree.map(lambda a, q: a - q.astype(a.dtype), total, sent), left)

    return optax.GradientTransformationExtraArgs(init, update)


def wide_zeros(like: Array) -> Array:
    """Zeros in at least float32: many small gradients added up in half precision are lost."""
    return jnp.zeros(like.shape, jnp.promote_types(like.dtype, jnp.float32))


def topk_error_feedback(amount: int | float, scope: Scope = "local") -> optax.GradientTransformation:
    """Top-k with error feedback (stich2018ef); `amount` is a whole number or a share, see `TopK`."""
    return compress(TopK(amount, scope))


def random_k(
    amount: int | float, key: PRNGKeyArray, scope: Scope = "local", error_feedback: bool = False
) -> optax.GradientTransformation:
    """Random-k: unbiased (times n / k) without error feedback, as they are with it (stich2018ef)."""
    return compress(RandomK(amount, scope, unbiased=not error_feedback), error_feedback=error_feedback, key=key)


def threshold(tau: float) -> optax.GradientTransformation:
    """Entries of at least `tau` in size, with error feedback."""
    return compress(Threshold(tau))


def strom(tau: float) -> optax.GradientTransformation:
    """Signs of entries of at least `tau` in size, times `tau`, with error feedback (strom2015)."""
    return compress(Strom(tau))
