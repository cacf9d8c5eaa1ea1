"""Data that live on the device, and the batch of every step as a function of the step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from offprint.core.train._shuffle import shuffled


@runtime_checkable
class Batches(Protocol):
    """Where the batches of a run come from. Anything with this method serves.

    Register your class as a pytree (`jax.tree_util.register_dataclass`) if it holds more than a few numbers:
    arrays of a class that is no pytree become constants of the compiled program.
    """

    def batch_at(self, step: int | Int[Array, ""], key: PRNGKeyArray) -> Any:
        """The batch of global step `step`: a pure function of its arguments, traced inside the loop."""
        ...


def _named_leaves(arrays: PyTree) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_flatten_with_path(arrays)[0]
    return [(jax.tree_util.keystr(path) or "the array", leaf) for path, leaf in paths]


def checked_arrays(arrays: PyTree, *, check_finite: bool = False) -> tuple[PyTree, int]:
    """`arrays` as JAX arrays, and the number of examples that their first axes agree on.

    Raises:
        ValueError: no arrays, ragged rows, scalars, no examples, or first axes that differ; with
            `check_finite`, values that are not finite (the array and its first bad row are named).
    """
    try:
        arrays = jax.tree.map(jnp.asarray, arrays)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the data must be numeric arrays ({error}); pad ragged rows to one length, encode text as numbers"
        ) from error
    leaves = _named_leaves(arrays)
    if not leaves:
        raise ValueError("the data hold no array")
    shapes = ", ".join(f"{name}: {leaf.shape}" for name, leaf in leaves)
    if any(leaf.ndim == 0 for _, leaf in leaves):
        raise ValueError(
            f"every array of the data needs a first axis of examples, but the shapes are {shapes} "
            "(lists count as containers of arrays: make one array of rows of equal length first)"
        )
    sizes = {leaf.shape[0] for _, leaf in leaves}
    if len(sizes) > 1:
        raise ValueError(f"the first axes (examples) of the data differ: {shapes}")
    (size,) = sizes
    if size == 0:
        raise ValueError(f"the data hold no examples: {shapes}")
    if check_finite:
        for name, leaf in leaves:
            if jnp.issubdtype(leaf.dtype, jnp.inexact):
                bad = ~np.isfinite(np.asarray(leaf)).reshape(size, -1).all(axis=1)
                if bad.any():
                    raise ValueError(
                        f"{bad.sum()} of {size} examples of {name} are not finite, the first is row {bad.argmax()}"
                    )
    return arrays, size


@jax.tree_util.register_pytree_with_keys_class
class Minibatches:
    """Batches drawn without replacement from arrays on the device.

    The batch of a step depends on (key, step) alone, never on how the run came there: a resumed run sees the
    batches that it would have seen, and no permutation of the data is kept or sorted.

    Args:
        arrays: a pytree of arrays whose first axis runs over the examples.
        batch_size: examples in a batch.
        shuffle: a new order in every epoch; False keeps the given order.
        remainder: what becomes of the examples that do not fill a batch at the end of an epoch: "drop" leaves
            them out of this epoch, "wrap" fills the last batch up from the epoch's beginning. The default is
            "drop" when shuffling (others are left out in the next epoch) and "wrap" when not.
        check_finite: refuse data that contain NaN or infinity.

    Raises:
        ValueError: if the data are empty or ragged, or fewer than a batch.
    """

    def __init__(
        self,
        arrays: PyTree,
        batch_size: int,
        *,
        shuffle: bool = True,
        remainder: str | None = None,
        check_finite: bool = False,
    ):
        self.arrays, self.size = checked_arrays(arrays, check_finite=check_finite)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {batch_size}")
        if batch_size > self.size:
            raise ValueError(
                f"a batch of {batch_size} cannot be drawn from {self.size} examples without replacement; "
                f"use batch_size={self.size} or less"
            )
        if remainder not in ("drop", "wrap", None):
            raise ValueError(f"remainder must be 'drop' or 'wrap', but is {remainder!r}")
        self.batch_size = int(batch_size)
        self.shuffle = bool(shuffle)
        self.remainder = remainder or ("drop" if shuffle else "wrap")

    def tree_flatten_with_keys(self) -> tuple[tuple, tuple]:
        children = ((jax.tree_util.GetAttrKey("arrays"), self.arrays),)
        return children, (self.size, self.batch_size, self.shuffle, self.remainder)

    @classmethod
    def tree_unflatten(cls, settings: tuple, children: tuple) -> "Minibatches":
        batches = object.__new__(cls)  # no checks: JAX also puts tracers and placeholders in
        (batches.arrays,) = children
        batches.size, batches.batch_size, batches.shuffle, batches.remainder = settings
        return batches

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which the data are gone through once."""
        if self.remainder == "drop":
            return self.size // self.batch_size
        return -(-self.size // self.batch_size)

    def indices(self, step: int | Int[Array, ""], key: PRNGKeyArray) -> Int[Array, " batch"]:
        """The rows that make the batch of `step`."""
        epoch, within = jnp.divmod(jnp.asarray(step), self.steps_per_epoch)
        positions = (within * self.batch_size + jnp.arange(self.batch_size)) % self.size
        return shuffled(jax.random.fold_in(key, epoch), positions, self.size) if self.shuffle else positions

    def take(self, rows: Int[Array, " batch"]) -> PyTree:
        """Those rows of every array."""
        return jax.tree.map(lambda array: array[rows], self.arrays)

    def batch_at(self, step: int | Int[Array, ""], key: PRNGKeyArray) -> PyTree:
        """The batch of global step `step`, like `arrays` with `batch_size` rows."""
        return self.take(self.indices(step, key))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FullBatch:
    """The same arrays in every step: full-batch training, a graph, a problem's constants."""

    arrays: PyTree

    def batch_at(self, step: int | Int[Array, ""], key: PRNGKeyArray) -> PyTree:
        """`arrays`, whatever the step."""
        return self.arrays


def description(batches: Any) -> Mapping[str, Any]:
    """What a checkpoint remembers of the batches, so that a run is not resumed on other ones."""
    settings = {
        name: value
        for name in ("size", "batch_size", "shuffle", "remainder")
        if isinstance(value := getattr(batches, name, None), int | str)
    }
    return {"kind": type(batches).__name__, **settings}
