"""Long-term interest: attention over the earlier items that queries a memory shared by all users, Eq. 3 to 5."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from offprint.magnn._short_term import lookup

AttentionAxis = Literal["items", "heads"]

GROUPS = 64
"""In so many parts the gradient of Wa3 is summed: a product that sums over all slots at once would copy them first."""


def positions(length: int, d: int, *, from_end: bool = False) -> Float[np.ndarray, "length d"]:
    """Sinusoidal positions: sin(s / 10000^(2i/d)) in entry 2i, the cosine of the same in entry 2i + 1.

    Args:
        length: |H|, padding included.
        d: size of the vectors.
        from_end: count from the latest item (0) back, so that the length makes no difference; otherwise from the
            first slot (0) on.

    Returns:
        The table; row s is added to the item in slot s.
    """
    place = np.arange(length, dtype=float)
    angles = (place[::-1] if from_end else place)[:, None] / 10000.0 ** (2 * (np.arange(d) // 2) / d)
    return np.where(np.arange(d) % 2 == 0, np.sin(angles), np.cos(angles))


def history(
    long: Int[Array, "batch long"], E: Float[Array, "items d"], Wa1: Float[Array, "d d"], *, from_end: bool = False
) -> tuple[Float[Array, "batch long d"], Float[Array, "batch long d"]]:
    """H, the earlier items' vectors plus positions, and Wa1 H.

    Args:
        long: item ids; -1 is padding, a zero vector plus its position.
        E: the items' vectors.
        Wa1: the attention's weight.
        from_end: see `positions`.

    Returns:
        H and Wa1 H.
    """
    d = E.shape[1]
    place = jnp.asarray(positions(long.shape[1], d, from_end=from_end), E.dtype)
    if long.size < E.shape[0]:
        H = lookup(E, long) + place
        return H, H @ Wa1.T
    # Wa1 (e_i + PE) = Wa1 e_i + Wa1 PE: a product for each item instead of each slot.
    rows = lookup(jnp.concatenate([E, E @ Wa1.T], axis=1), long)
    return rows[..., :d] + place, rows[..., d:] + place @ Wa1.T


def attention(
    hidden: Float[Array, "batch long d"],
    H: Float[Array, "batch long d"],
    mask: Bool[Array, "batch long"] | None,
    Wa3: Float[Array, "h d"],
    axis: AttentionAxis = "items",
) -> tuple[Float[Array, "batch long h"], Float[Array, "batch h d"], Float[Array, "batch d"]]:
    """S = softmax(Wa3 tanh(Wa1 H + (Wa2 p_u) 1^T)), Z = tanh(S H^T), and z, the mean of the rows of Z, Eq. 3.

    Args:
        hidden: Wa1 H + (Wa2 p_u) 1^T.
        H: the earlier items' vectors with their positions.
        mask: which slots hold an item; None for all.
        Wa3: h rows, one for each dimension of the attention.
        axis: "items" (each of the h dimensions sums to 1 over the items, as the paper has it) or "heads" (each item
            sums to 1 over the h dimensions, as the public re-implementation has it).

    Returns:
        S with the items along its second axis, zero in masked slots; Z; z. Without any real item all are zero.
    """
    if mask is None:
        mask = jnp.ones(hidden.shape[:2], bool)
    return _attention(axis, hidden, H, mask, Wa3)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(axis, hidden, H, mask, Wa3):
    return _attention_forward(axis, hidden, H, mask, Wa3)[0]


# What follows is what autodiff would do, in layouts that halve its time on CPUs: products are handed operands that need
# no copy (the barriers keep XLA from folding the transposition back in, and from computing a copy's source twice).


def _attention_forward(axis, hidden, H, mask, Wa3):
    active = jnp.tanh(hidden)
    S = (_softmax_over_items if axis == "items" else _softmax_over_heads)(active @ Wa3.T, mask)
    rows = jax.lax.optimization_barrier(S.swapaxes(1, 2))
    Z = jnp.tanh(jnp.einsum("bhs,bsd->bhd", rows, H))
    return (S, Z, Z.mean(axis=1)), (active, H, S, Z, Wa3)


def _attention_backward(axis, kept, cotangents):
    active, H, S, Z, Wa3 = kept
    to_S, to_Z, to_z = cotangents
    to_Z = (to_Z + to_z[:, None] / Z.shape[1]) * (1 - Z * Z)
    to_S = to_S + jnp.einsum("bhd,bsd->bsh", to_Z, H)
    # The softmax's derivative; masked slots get none, for S is zero there.
    to_logits = S * (to_S - (S * to_S).sum(axis=1 if axis == "items" else 2, keepdims=True))
    to_logits = jax.lax.optimization_barrier(to_logits)
    to_hidden = (to_logits @ Wa3) * (1 - active * active)
    return to_hidden, jnp.einsum("bsh,bhd->bsd", S, to_Z), None, _summed_products(to_logits, active)


_attention.defvjp(_attention_forward, _attention_backward)


def _softmax_over_items(logits: Array, mask: Array) -> Array:
    # Masked before the exponential, so that no inf - inf is met; all zero where no item is real.
    logits = logits + jax.lax.optimization_barrier(jnp.where(mask, 0.0, -jnp.inf).astype(logits.dtype))[..., None]
    top = logits.max(axis=1, keepdims=True, initial=-jnp.inf)
    weights = jnp.exp(logits - jnp.where(top > -jnp.inf, top, 0))
    total = weights.sum(axis=1, keepdims=True)
    return weights * (1 / jnp.where(total > 0, total, 1))


def _softmax_over_heads(logits: Array, mask: Array) -> Array:
    return jax.nn.softmax(logits, axis=2) * mask[..., None]


def _summed_products(x: Float[Array, "batch long h"], y: Float[Array, "batch long d"]) -> Float[Array, "h d"]:
    """The sum of x y^T over all slots."""
    groups = GROUPS if x.shape[0] % GROUPS == 0 else 1
    x, y = (a.reshape(groups, -1, a.shape[-1]) for a in (x, y))
    return jnp.einsum("gnh,gnd->ghd", x, y).sum(axis=0)


def memory_weights(query: Float[Array, "*batch d"], K: Float[Array, "d m"]) -> Float[Array, "*batch m"]:
    """s = softmax_i(z^T k_i), Eq. 4: how much each of the m memory units answers to a query."""
    return jax.nn.softmax(query @ K, axis=-1)


def memory_read(s: Float[Array, "*batch m"], V: Float[Array, "d m"]) -> Float[Array, "*batch d"]:
    """o = sum_i s_i v_i, Eq. 5."""
    return s @ V.T
