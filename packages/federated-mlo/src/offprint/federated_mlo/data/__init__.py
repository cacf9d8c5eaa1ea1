"""The numbers that the method is checked against: two published tables and twelve fixed deployments, all shipped."""

from offprint.core.data import Dataset
from offprint.federated_mlo.data._published import (
    PublishedBianchi,
    PublishedCW16,
    published_bianchi,
    published_cw16,
)
from offprint.federated_mlo.data._random5 import Random5Deployments, random5_deployments

DATASETS: tuple[Dataset, ...] = ()
"""Data sets that `offprint data fetch` downloads: none, the numbers come with the package."""

__all__ = [
    "DATASETS",
    "PublishedBianchi",
    "PublishedCW16",
    "Random5Deployments",
    "published_bianchi",
    "published_cw16",
    "random5_deployments",
]
