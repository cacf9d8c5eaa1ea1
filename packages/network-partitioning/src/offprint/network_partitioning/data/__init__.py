"""The data that the method is evaluated on: generated points, published images and their rotated variants, clients."""

from offprint.core.data.images import CIFAR10, MNIST, ImageData, cifar10, cifar10_subset, halve, mnist
from offprint.network_partitioning.data._clients import dirichlet_clients
from offprint.network_partitioning.data._generated import quadrants, rings, toy
from offprint.network_partitioning.data._rotated import rotated, rotated_set

DATASETS = (CIFAR10, MNIST)

CIFAR10_MEAN = (125.3, 123.0, 113.9)
CIFAR10_STD = (63.0, 62.1, 66.7)
"""Of the channels, in grey levels from 0 to 255: what images are normalised by."""

__all__ = [
    "CIFAR10",
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "DATASETS",
    "MNIST",
    "ImageData",
    "cifar10",
    "cifar10_subset",
    "dirichlet_clients",
    "halve",
    "mnist",
    "quadrants",
    "rings",
    "rotated",
    "rotated_set",
    "toy",
]
