"""What of a gradient is sent: largest, random, or above a threshold.

A compressor is called as `compressor(tree, key)` and returns what is sent: a tree of the same shapes, zero elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.sparsity._mask import masks_by_count
from offprint.sparsity._tree import named_leaves

Scope = Literal["local", "global"]


# From a tree of arrays and a key, which is None for those that don't draw, to what is sent of it.
Compressor = Callable[[PyTree, PRNGKeyArray | None], PyTree]


@dataclass(frozen=True)
class TopK:
    """The entries of largest size, exactly as many as asked for (aji2017, stich2018ef).

    Attributes:
        amount: a whole number of entries, or a share in (0, 1], rounded and at least 1.
        scope: of each leaf (`"local"`) or of all leaves together.
    """

    amount: int | float
    scope: Scope = "local"

    def __post_init__(self) -> None:
        check_amount(self.amount)

    def __call__(self, tree: PyTree[Float[Array, "..."]], key: PRNGKeyArray | None = None) -> PyTree:
        del key
        return keep_largest(tree, counts(tree, self.amount, self.scope))


@dataclass(frozen=True)
class RandomK:
    """Entries chosen at random, exactly as many as asked for.

    Attributes:
        amount, scope: see `TopK`.
        unbiased: multiply by n / k, so that the mean is the gradient; for use without error feedback.
    """

    amount: int | float
    scope: Scope = "local"
    unbiased: bool = False

    def __post_init__(self) -> None:
        check_amount(self.amount)

    def __call__(self, tree: PyTree[Float[Array, "..."]], key: PRNGKeyArray | None) -> PyTree:
        if key is None:
            raise ValueError("random-k needs a key: compress(RandomK(...), key=jax.random.key(0))")
        leaves, structure = jax.tree.flatten(tree)
        keys = jax.random.split(key, len(leaves))
        # At least float32: the few values of a half-precision number tie, and ties keep the lower index.
        scores = jax.tree.unflatten(
            structure,
            [jax.random.uniform(k, x.shape, jnp.promote_types(x.dtype, jnp.float32)) for k, x in zip(keys, leaves)],
        )
        amounts = counts(tree, self.amount, self.scope)
        masks = masks_by_count(scores, amounts)
        if not self.unbiased:
            return jax.tree.map(lambda m, x: jnp.where(m, x, 0), masks, tree)
        total = sum(x.size for x in leaves)
        scale = jax.tree.map(lambda x: total / amounts, tree) if isinstance(amounts, int) else _ratios(tree, amounts)
        return jax.tree.map(lambda m, x, s: jnp.where(m, x * s, 0), masks, tree, scale)


@dataclass(frozen=True)
class Threshold:
    """The entries with |x| >= tau, as they are.

    Attributes:
        tau: in the unit of the gradient.
    """

    tau: float

    def __post_init__(self) -> None:
        _check_tau(self.tau)

    def __call__(self, tree: PyTree[Float[Array, "..."]], key: PRNGKeyArray | None = None) -> PyTree:
        del key
        return jax.tree.map(lambda x: jnp.where(jnp.abs(x) >= self.tau, x, 0), tree)


@dataclass(frozen=True)
class Strom:
    """The signs of the entries with |x| >= tau, times tau: one bit beside each index (strom2015).

    Attributes:
        tau: in the unit of the gradient.
    """

    tau: float

    def __post_init__(self) -> None:
        _check_tau(self.tau)

    def __call__(self, tree: PyTree[Float[Array, "..."]], key: PRNGKeyArray | None = None) -> PyTree:
        del key
        return jax.tree.map(lambda x: jnp.where(jnp.abs(x) >= self.tau, self.tau * jnp.sign(x), 0), tree)


def keep_largest(tree: PyTree, amounts: PyTree) -> PyTree:
    """`tree` where its entries of largest size are, zero elsewhere; `amounts` as for `masks_by_count`."""
    masks = masks_by_count(jax.tree.map(jnp.abs, tree), amounts)
    return jax.tree.map(lambda m, x: jnp.where(m, x, 0), masks, tree)


def counts(tree: PyTree, amount: int | float, scope: Scope) -> PyTree[int]:
    """How many entries of each leaf, or of all, an amount means; a count larger than a leaf means all of it."""
    if scope == "local":
        return jax.tree.map(lambda x: _count(amount, x.size), tree)
    if scope != "global":
        raise ValueError(f"scope must be 'local' or 'global'; got {scope!r}")
    return _count(amount, sum(x.size for _, x in named_leaves(tree)))


def check_amount(amount: int | float) -> None:
    """Raise ValueError unless it is a whole number of at least 1 or a share in (0, 1]."""
    fits = amount >= 1 if isinstance(amount, int) else 0 < amount <= 1
    if not fits:
        raise ValueError(f"give a whole number of entries of at least 1, or a share in (0, 1]; got {amount!r}")


def _count(amount: int | float, size: int) -> int:
    return min(size, amount if isinstance(amount, int) else max(1, round(amount * size)))


def _ratios(tree: PyTree, amounts: PyTree[int]) -> PyTree[float]:
    return jax.tree.map(lambda x, k: x.size / k, tree, amounts)


def _check_tau(tau: float) -> None:
    if not tau > 0:
        raise ValueError(f"the threshold must be positive; got {tau}")
