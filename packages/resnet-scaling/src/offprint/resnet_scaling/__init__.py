"""how trained weights of very deep residual networks scale with depth"""

from offprint.resnet_scaling._standardize import standardize

__all__ = ["standardize"]
