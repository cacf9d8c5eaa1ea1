"""Federated averaging and its relatives, as pure functions over a stacked axis of clients.

A round is: choose clients (`sample_clients`), let each of them work on the server's values (`map_clients`), combine
what they return (`weighted_mean` or a robust mean), and move the server's values by an optimiser (`server_update`).
Everything is jittable; what clients return has the clients as the first axis of every leaf.
"""

from offprint.core.federated._aggregate import coordinate_median, krum, trimmed_mean, weighted_mean
from offprint.core.federated._clients import client_group, map_clients, num_bytes, quantised, sample_clients
from offprint.core.federated._server import FedOptState, fedadagrad, fedadam, fedavg, fedavgm, fedyogi, server_update

__all__ = [
    "FedOptState",
    "client_group",
    "coordinate_median",
    "fedadagrad",
    "fedadam",
    "fedavg",
    "fedavgm",
    "fedyogi",
    "krum",
    "map_clients",
    "num_bytes",
    "quantised",
    "sample_clients",
    "server_update",
    "trimmed_mean",
    "weighted_mean",
]
