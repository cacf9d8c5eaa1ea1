"""Clients of a federation, made from one labelled data set."""

import jax
import numpy as np
from jaxtyping import Array, Int, Int32, PRNGKeyArray

Number = float | int


def dirichlet_clients(
    labels: Int[np.ndarray, " examples"] | Int[Array, " examples"],
    clients: int,
    *,
    key: PRNGKeyArray,
    alpha: Number = 1.0,
) -> Int32[np.ndarray, "clients size"]:
    """Rows of the clients: as many for each, but with classes in shares that differ from client to client.

    Every client draws its class shares from a symmetric Dirichlet distribution and its examples by them, without
    replacement; a class that is used up no longer counts. So each example belongs to at most one client, and all do
    where `clients` divides their number.

    Args:
        labels: class of each example.
        clients: how many.
        key: of everything that is drawn.
        alpha: of the Dirichlet distribution; small: few classes for a client, large: all alike.

    Returns:
        Row numbers, a line for each client.

    Raises:
        ValueError: fewer examples than clients, or an alpha that is not positive.
    """
    labels = np.asarray(labels)
    size = len(labels) // clients if clients > 0 else 0
    if size < 1:
        raise ValueError(f"{len(labels)} examples cannot be dealt to {clients} clients: each needs at least one")
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, but is {alpha}")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    pools = [list(rng.permutation(np.flatnonzero(labels == label))) for label in np.unique(labels)]
    shares = rng.dirichlet(np.full(len(pools), alpha), clients)
    rows = np.empty((clients, size), np.int32)
    for client in range(clients):
        for place in range(size):
            left = np.array([bool(pool) for pool in pools])
            # The tiny constant: the classes that a client wants may all be used up.
            wanted = (shares[client] + 1e-12) * left
            rows[client, place] = pools[rng.choice(len(pools), p=wanted / wanted.sum())].pop()
    return rows
