"""What the server makes of the tables that BSSs send: means, robust means, and optimisers on their difference.

Every rule takes pytrees whose leaves have the BSSs (clients) as their first axis, and returns one client's pytree.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from offprint.core import federated as core
from offprint.federated_mlo._exploration import Scalar

Present = Bool[Array | np.ndarray, " clients"] | None

AGGREGATES = ("mean", "weighted", "weighted_visits", "median", "trimmed", "krum")


def stack_clients(tables: Sequence[PyTree]) -> PyTree:
    """One pytree with a leading axis of clients, from one pytree of each.

    Raises:
        ValueError: the shapes of a client differ from those of client 0.
    """
    expected = [np.shape(leaf) for leaf in jax.tree.leaves(tables[0])]
    for client, table in enumerate(tables):
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(table)]
        if shapes != expected:
            raise ValueError(
                f"client {client} sent tables of shapes {shapes} where client 0 sent {expected}: "
                "all clients need the same links and observations"
            )
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *tables)


def _count(stacked: PyTree) -> int:
    return jax.tree.leaves(stacked)[0].shape[0]


def _present(stacked: PyTree, present: Present) -> Array:
    return jnp.ones(_count(stacked)) if present is None else jnp.asarray(present, float)


def fed_mean(stacked: PyTree, present: Present = None, old: PyTree = None) -> PyTree:
    """The plain mean of the clients that are present (McMahan et al. 2017); `old`, or 0, without any."""
    return core.weighted_mean(stacked, _present(stacked, present), old)


def fed_weighted(
    stacked: PyTree, examples: Shaped[Array | np.ndarray, " clients"], present: Present = None, old: PyTree = None
) -> PyTree:
    """The mean weighted by the number of steps of each client; `old`, or 0, where all weights are 0."""
    return core.weighted_mean(stacked, jnp.asarray(examples, float) * _present(stacked, present), old)


def fed_weighted_visits(stacked: PyTree, visits: PyTree, old: PyTree, present: Present = None) -> PyTree:
    """Cell by cell Σ n_b Q_b / Σ n_b, with the old value where nobody was.

    A plain mean dilutes cells that some clients never visited with their zeros.

    Args:
        stacked: tables [clients, ...].
        visits: how often each client was in each cell, of the same shapes.
        old: the server's tables [...].
        present: [clients], who takes part.
    """
    here = _present(stacked, present)
    counted = jax.tree.map(lambda n: jnp.asarray(n, float) * here.reshape(here.shape + (1,) * (n.ndim - 1)), visits)
    return core.weighted_mean(stacked, counted, old)


def _unless_nobody(new: PyTree, old: PyTree, present: Present) -> PyTree:
    if old is None or present is None:
        return new
    anybody = jnp.any(jnp.asarray(present))
    return jax.tree.map(lambda a, b: jnp.where(anybody, a, b), new, old)


def fed_median(stacked: PyTree, present: Present = None, old: PyTree = None) -> PyTree:
    """The median, entry by entry (Yin et al. 2018); `old` without any client."""
    return _unless_nobody(core.coordinate_median(stacked, present), old, present)


def fed_trimmed(stacked: PyTree, fraction: float | int = 0.2, present: Present = None, old: PyTree = None) -> PyTree:
    """The mean without floor(fraction n) of the least and of the largest, entry by entry (Yin et al. 2018)."""
    return _unless_nobody(core.trimmed_mean(stacked, fraction, present), old, present)


def fed_krum(stacked: PyTree, num_malicious: int = 1, present: Present = None, old: PyTree = None) -> PyTree:
    """The table that is closest to its neighbours (Krum, Blanchard et al. 2017); needs `num_malicious` + 3 clients."""
    return _unless_nobody(core.krum(stacked, num_malicious, present=present), old, present)


class FedOpt(NamedTuple):
    """A server optimiser on the pseudo-gradient old - mean (Reddi et al. 2021): any optax transformation."""

    tx: optax.GradientTransformation

    def init(self, values: PyTree) -> Any:
        """The optimiser's state."""
        return self.tx.init(values)

    def step(
        self, old: PyTree, mean: PyTree, state: Any, contributed: Bool[Array, ""] | bool = True
    ) -> tuple[PyTree, Any]:
        """New values and state; both stay where nobody has contributed."""
        gradient = jax.tree.map(jnp.subtract, old, mean)
        return core.server_update(self.tx, old, gradient, state, contributed)


def fedavgm(learning_rate: float | int = 1.0, momentum: float | int = 0.9) -> FedOpt:
    """Momentum on the server (Hsu et al. 2019)."""
    return FedOpt(core.fedavgm(learning_rate, momentum))


def fedadam(learning_rate: float | int = 0.1, tau: float | int = 1e-3) -> FedOpt:
    """Adam on the server (Reddi et al. 2021)."""
    return FedOpt(core.fedadam(learning_rate, tau=tau))


def mix(own: PyTree, server: PyTree, mu: Scalar) -> PyTree:
    """(1 - μ) own + μ server: what a client goes on with. Leaves of `own` may have a leading axis of clients.

    The same to the last bit in whatever program: of two products that are added, compilers may round either but once.
    """
    return jax.tree.map(lambda q, g: (1 - mu) * q + jnp.minimum(mu * g, jnp.finfo(g.dtype).max), own, server)


def take_part(
    key: PRNGKeyArray, clients: int, participation: Scalar = 1.0, dropout: Scalar = 0.0
) -> Bool[Array, " clients"]:
    """Whose round counts: round(participation clients), at least one, drawn at random, less those that drop out."""
    chosen, lost = jax.random.uniform(key, (2, clients))
    rank = jnp.argsort(jnp.argsort(chosen))
    selected = rank < jnp.maximum(jnp.round(participation * clients), 1)
    return selected & (lost >= dropout)


def privatised(key: PRNGKeyArray, stacked: PyTree, old: PyTree, clip: Scalar, noise: Scalar) -> PyTree:
    """Tables as clients send them with local noise: the change, clipped to norm `clip`, plus noise·clip N(0, 1).

    Args:
        key: one for all clients.
        stacked: [clients, ...] tables.
        old: the server's tables, from which the change is counted.
        clip: largest Euclidean norm of a change.
        noise: standard deviation of the noise as a multiple of `clip`.
    """
    leaves, structure = jax.tree.flatten(jax.tree.map(lambda q, g: q - g, stacked, old))
    square = sum(jnp.sum(leaf.reshape(leaf.shape[0], -1) ** 2, axis=1) for leaf in leaves)
    scale = jnp.minimum(1, clip / jnp.sqrt(jnp.maximum(square, 1e-30)))
    keys = jax.random.split(key, len(leaves))

    def sent(k: PRNGKeyArray, leaf: Float[Array, "..."]) -> Float[Array, "..."]:
        clipped = leaf * scale.reshape(scale.shape + (1,) * (leaf.ndim - 1))
        return clipped + noise * clip * jax.random.normal(k, leaf.shape, leaf.dtype)

    changes = jax.tree.unflatten(structure, [sent(k, leaf) for k, leaf in zip(keys, leaves)])
    return jax.tree.map(lambda d, g: d + g, changes, old)


def quantised(stacked: PyTree, bits: int = 8) -> PyTree:
    """Tables as they arrive when each client sends integers of so many bits between its least and largest value."""
    return jax.vmap(lambda table: core.quantised(table, bits))(stacked)
