"""How much a federated client sends."""

from collections.abc import Sequence

import numpy as np

from offprint.network_partitioning._proportions import checked_proportions


def checked_pair(
    data_proportions: Sequence[float | int] | np.ndarray, parameter_proportions: Sequence[float | int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of proportions, as many shards as partitions.

    Raises:
        ValueError: two different lengths, or proportions that `checked_proportions` refuses.
    """
    data, parameters = np.shape(data_proportions), np.shape(parameter_proportions)
    if data != parameters:
        raise ValueError(
            f"as many data shards as parameter partitions are needed, but there are {len(data_proportions)} "
            f"data proportions and {len(parameter_proportions)} parameter proportions"
        )
    return checked_proportions(data_proportions, "data shards"), checked_proportions(
        parameter_proportions, "partitions"
    )


def upload_fraction(
    data_proportions: Sequence[float | int] | np.ndarray, parameter_proportions: Sequence[float | int] | np.ndarray
) -> float:
    """The share of the model that the average client uploads: U = Σ_k d_k Σ_{j>=k} m_j.

    A client of chunk k sends partitions k..K and keeps the rest, which it never changes.

    Args:
        data_proportions: (K,) d, the share of the clients in each chunk.
        parameter_proportions: (K,) m, the share of the weights in each partition.

    Returns:
        A number in (0, 1]: 0.77 for (0.7, 0.2, 0.1) twice, 0.91 for (0.9, 0.1) twice.

    Raises:
        ValueError: see `checked_pair`.
    """
    data, parameters = checked_pair(data_proportions, parameter_proportions)
    return float(data @ np.cumsum(parameters[::-1])[::-1])
