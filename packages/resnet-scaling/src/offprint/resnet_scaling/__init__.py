"""How trained weights of very deep residual networks scale with depth."""

from offprint.resnet_scaling._network import ResNetParams, init_params, resnet_apply

__all__ = [
    "ResNetParams",
    "init_params",
    "resnet_apply",
]
