"""The data that the method is evaluated on: published images, a subset, what is generated or comes along, one's own."""

from offprint.core.data.images import (
    CIFAR10,
    CIFAR100,
    MNIST,
    ImageData,
    cifar10,
    cifar10_subset,
    cifar100,
    halve,
    image_data,
    mnist,
)
from offprint.moex.data._clouds import (
    SOLIDS,
    CloudData,
    in_unit_ball,
    modelnet,
    read_off,
    sample_surface,
    solids,
)
from offprint.moex.data._images import digits, load_images

DATASETS = (CIFAR10, CIFAR100, MNIST)

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "DATASETS",
    "MNIST",
    "SOLIDS",
    "CloudData",
    "ImageData",
    "cifar10",
    "cifar10_subset",
    "cifar100",
    "digits",
    "halve",
    "image_data",
    "in_unit_ball",
    "load_images",
    "mnist",
    "modelnet",
    "read_off",
    "sample_surface",
    "solids",
]
