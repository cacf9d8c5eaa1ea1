"""The experiments of the paper and of the works that it is read with, each with the claims that it checks."""

from offprint.resnet_scaling.experiments.classification import ClassificationConfig, classification
from offprint.resnet_scaling.experiments.conv import ConvConfig, conv
from offprint.resnet_scaling.experiments.denoised import DenoisedConfig, denoised
from offprint.resnet_scaling.experiments.depth_mup import DepthMuPConfig, depth_mup
from offprint.resnet_scaling.experiments.limits import LimitsConfig, convergence
from offprint.resnet_scaling.experiments.mnist import MnistConfig, mnist_relu, mnist_tanh
from offprint.resnet_scaling.experiments.phase import PhaseConfig, phase
from offprint.resnet_scaling.experiments.shuffle import ShuffleConfig, shuffle
from offprint.resnet_scaling.experiments.synthetic import ReluConfig, TanhConfig, relu, tanh

__all__ = [
    "ClassificationConfig",
    "ConvConfig",
    "DenoisedConfig",
    "DepthMuPConfig",
    "LimitsConfig",
    "MnistConfig",
    "PhaseConfig",
    "ReluConfig",
    "ShuffleConfig",
    "TanhConfig",
    "classification",
    "conv",
    "convergence",
    "denoised",
    "depth_mup",
    "mnist_relu",
    "mnist_tanh",
    "phase",
    "relu",
    "shuffle",
    "tanh",
]
