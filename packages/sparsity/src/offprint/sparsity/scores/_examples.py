"""Means over examples of something that is not linear in the gradient, a few examples at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Shaped

Batch = PyTree[Shaped[Array, "batch ..."]]


def count_examples(batch: PyTree) -> int:
    """How many examples a batch has, or a ValueError if its arrays do not agree."""
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in map(jnp.asarray, jax.tree.leaves(batch))}
    if len(sizes) != 1 or None in sizes:
        shapes = ", ".join(str(jnp.shape(leaf)) for leaf in jax.tree.leaves(batch))
        raise ValueError(f"batch must hold arrays with the same number of examples first; their shapes are {shapes}")
    (count,) = sizes
    if not count:
        raise ValueError("batch has no examples")
    return count


def first_of(batch: PyTree) -> PyTree:
    """The first example, for its shape."""
    count_examples(batch)
    return jax.tree.map(lambda leaf: leaf[0], batch)


def mean_over_examples(function: Callable[[PyTree], Any], batch: PyTree, microbatch: int | None) -> Any:
    """Mean over the examples of the batch of `function(example)`, `microbatch` examples at a time (None: all)."""
    count = count_examples(batch)
    if microbatch is not None and microbatch < 1:
        raise ValueError(f"microbatch must be at least 1, or None for all examples at once; got {microbatch}")
    size = min(microbatch or count, count)

    def total(examples: PyTree) -> Any:
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(function)(examples))

    whole = count // size
    if whole == 1 and size == count:
        return jax.tree.map(lambda leaf: leaf / count, total(batch))

    def step(sums: Any, examples: PyTree) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, total(examples)), None

    chunks = jax.tree.map(lambda leaf: leaf[: whole * size].reshape(whole, size, *leaf.shape[1:]), batch)
    shapes = jax.eval_shape(function, first_of(batch))
    sums, _ = jax.lax.scan(step, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes), chunks)
    if whole * size < count:
        sums = step(sums, jax.tree.map(lambda leaf: leaf[whole * size :], batch))[0]
    return jax.tree.map(lambda leaf: leaf / count, sums)
