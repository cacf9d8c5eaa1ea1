"""Metrics over a whole data set, every example counted once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from offprint.core.train._batches import checked_arrays


class Evaluation:
    """The mean of per-example metrics over a data set, in batches: `evaluation(state) -> dict of floats`.

    The last batch is filled up to the common size, so that one program serves all, and what was filled in is not
    counted: the result is the mean over the examples, not over batches.

    Args:
        metrics: `metrics(model, batch)` returns a dictionary of arrays whose first axis runs over the examples
            of the batch; further axes (members of an ensemble, classes) are kept.
        arrays: a pytree of arrays whose first axis runs over the examples.
        batch_size: examples evaluated at once.
        view: what of the state is given to `metrics`; the model of a
            [`TrainState`][offprint.core.train.TrainState] by default. `lambda state: state` gives all.

    Raises:
        ValueError: if the data are empty or ragged, or a metric does not have one value for each example.
    """

    def __init__(
        self,
        metrics: Callable[[Any, Any], dict[str, Any]],
        arrays: PyTree,
        *,
        batch_size: int = 256,
        view: Callable[[Any], Any] = lambda state: state.model,
    ):
        self.arrays, self.size = checked_arrays(arrays)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {batch_size}")
        self.batch_size = min(batch_size, self.size)
        self._sums = jax.jit(self._sums_of_batch)
        self._metrics, self._view = metrics, view

    def _sums_of_batch(self, state: PyTree, arrays: PyTree, start: Any) -> dict[str, Any]:
        # The last batch begins early enough to be full; rows that an earlier batch counted get no weight.
        first = jnp.minimum(start, self.size - self.batch_size)
        batch = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, self.batch_size), arrays)
        counted = first + jnp.arange(self.batch_size) >= start
        values = self._metrics(self._view(state), batch)
        for name, value in values.items():
            if jnp.shape(value)[:1] != (self.batch_size,):
                raise ValueError(
                    f"the metric {name!r} must have one value for each of the {self.batch_size} examples of a batch, "
                    f"but has the shape {jnp.shape(value)}; leave the averaging to the evaluation"
                )
        return {
            name: jnp.where(counted.reshape(-1, *(1,) * (value.ndim - 1)), value, 0).sum(0)
            for name, value in values.items()
        }

    def __call__(self, state: PyTree) -> dict[str, Any]:
        parts = [self._sums(state, self.arrays, start) for start in range(0, self.size, self.batch_size)]
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(parts)):
            return jax.tree.map(lambda *sums: sum(sums) / self.size, *parts)
        totals = jax.tree.map(lambda *sums: np.sum(sums, axis=0, dtype=np.float64) / self.size, *jax.device_get(parts))
        return {name: total.tolist() for name, total in totals.items()}
