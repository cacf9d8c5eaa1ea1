"""The data that the methods are evaluated on, a trained network, and what others have published about pruning."""

from offprint.core.data.images import MNIST, ImageData, mnist
from offprint.sparsity.data._digits import digits
from offprint.sparsity.data._flat import Split, flat
from offprint.sparsity.data._mlpnet import WOODFISHER_MLPNET, mlpnet
from offprint.sparsity.data._published import (
    dense_models,
    jaxpruner_table,
    resnet50_layers,
    resnet50_runs,
    rigl_table,
    str_table,
    survey81,
)

DATASETS = (MNIST, WOODFISHER_MLPNET)

__all__ = [
    "DATASETS",
    "MNIST",
    "WOODFISHER_MLPNET",
    "ImageData",
    "Split",
    "dense_models",
    "digits",
    "flat",
    "jaxpruner_table",
    "mlpnet",
    "mnist",
    "resnet50_layers",
    "resnet50_runs",
    "rigl_table",
    "str_table",
    "survey81",
]
