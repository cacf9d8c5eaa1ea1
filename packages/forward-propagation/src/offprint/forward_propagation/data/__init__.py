"""The data that the method is evaluated on: XOR, Yin-Yang, Iris and MNIST, each as features with labels."""

from offprint.forward_propagation.data._classification import ClassificationData, classification_data, split
from offprint.forward_propagation.data._published import DATASETS, MNIST, mnist
from offprint.forward_propagation.data._small import iris, xor, yin_yang, yin_yang_data

__all__ = [
    "DATASETS",
    "MNIST",
    "ClassificationData",
    "classification_data",
    "iris",
    "mnist",
    "split",
    "xor",
    "yin_yang",
    "yin_yang_data",
]
