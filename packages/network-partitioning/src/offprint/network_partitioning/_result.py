"""What a run has learned, and how it predicts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from offprint.network_partitioning._network import Network
from offprint.network_partitioning._objective import log_densities
from offprint.network_partitioning._partition import Partition, subnetwork
from offprint.network_partitioning._train import State

ROWS = 512
"""Examples in one call to the device when predicting and measuring."""


@dataclass(frozen=True)
class Result:
    """A trained network with its learned hyperparameters."""

    model: nnx.Module
    """The network with all partitions, in evaluation mode."""
    hyper: Any
    """The input module with the learned hyperparameters if `fit` was given one, else ψ itself, a dictionary."""
    scale: Any
    """The learned scale if `fit` was given a `LearnedScale`, else what it was given."""
    history: list[dict[str, Any]] = field(repr=False)
    """A row for every `log_every` steps; see `make_step` for the metrics. `hyper/...` are raw hyperparameters, the
    means over those steps."""
    partition: Partition = field(repr=False)
    """Which partition each scalar belongs to."""
    shards: Int[Array, " n"] = field(repr=False)
    """(n,) the shard of each example, 0..K-1."""
    state: State = field(repr=False)
    """At the end of partitioned training, before any fine-tuning: `nll_matrix` and `log_marginal` are of it."""
    stopped: str
    """Why the run ended."""
    network: Network = field(repr=False)
    data: tuple[Any, Any] = field(repr=False)
    final: tuple[PyTree, PyTree] = field(repr=False)
    """Weights and statistics of `model`."""
    key: PRNGKeyArray = field(repr=False)
    """Noise of `nll_matrix` and `log_marginal`."""

    def predict(self, x: Any, key: PRNGKeyArray, samples: int | None = None) -> Float[Array, "batch *outputs"]:
        """Log-probabilities of the classes, averaged over the model's randomness; without classes, mean outputs.

        Args:
            x: inputs like those of `fit`, any number of them.
            key: noise.
            samples: draws per example; as many as in training by default.
        """
        params, statistics = self.final
        predict = self.network.predict(statistics, train=False, samples=samples)
        function = jax.jit(lambda params, hyper, rows, key: predict(params, hyper, rows, key))
        return in_chunks(lambda rows, key: function(params, self.state.hyper, rows, key), x, key)

    @cached_property
    def _densities(self) -> Callable[[int], np.ndarray]:
        """k -> (n,) log-densities of all examples under subnetwork k."""

        @jax.jit
        def function(state: State, part: Partition, k: Array, rows: Any, key: PRNGKeyArray) -> Array:
            view = subnetwork(state.params, part, k)
            loglik = self.network.loglik
            return log_densities(loglik, view, state.hyper, state.rest, k, rows, key, train=False)[0]

        known: dict[int, np.ndarray] = {}

        def densities(k: int) -> np.ndarray:
            if k not in known:
                here = jax.random.fold_in(self.key, k)
                known[k] = np.asarray(
                    in_chunks(
                        lambda rows, key: function(self.state, self.partition, jnp.int32(k), rows, key), self.data, here
                    ),
                    np.float64,
                )
            return known[k]

        return densities

    @cached_property
    def nll_matrix(self) -> Float[np.ndarray, "subnetworks K"]:
        """(K+1, K) mean negative log-likelihood of subnetwork k (row) on each shard, in nats.

        Column s = 0..K-1 is the shard with id s. What subnetwork k has learned from are the columns s < k; the others
        are out of sample, and L_ML is made of those with s = k >= 1.
        """
        shards, num = np.asarray(self.shards), self.partition.num
        return np.array([[-self._densities(k)[shards == s].mean() for s in range(num)] for k in range(num + 1)])

    @cached_property
    def log_marginal(self) -> float:
        """L_ML in nats: each shard but the first, predicted by what was trained on the shards before it."""
        shards = np.asarray(self.shards)
        return float(sum(self._densities(k)[shards == k].sum() for k in range(1, self.partition.num)))

    @property
    def log_marginal_per_example(self) -> float:
        """L_ML by the number of examples that it predicts."""
        return self.log_marginal / int((np.asarray(self.shards) > 0).sum())


def in_chunks(function: Callable[[Any, PRNGKeyArray], Array], arrays: PyTree, key: PRNGKeyArray) -> Array:
    """`function(rows, key)` over all rows of the arrays, in pieces of one shape."""
    arrays = jax.tree.map(jnp.asarray, arrays)
    total = len(jax.tree.leaves(arrays)[0])
    size = min(total, ROWS)
    pieces = []
    for index, first in enumerate(range(0, total, size)):
        rows = jnp.arange(first, first + size) % total  # the last piece is filled up from the beginning
        here = jax.random.fold_in(key, index) if index else key
        piece = function(jax.tree.map(lambda array: array[rows], arrays), here)  # noqa: B023
        pieces.append(piece[: total - first])
    return jnp.concatenate(pieces)
