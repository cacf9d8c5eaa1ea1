"""The experiments of the paper and of its code, and what else is claimed; with the rules that decide."""

from offprint.forward_propagation.experiments.gradient import GradientConfig, gradient
from offprint.forward_propagation.experiments.iris import IrisConfig, iris
from offprint.forward_propagation.experiments.mnist import MnistConfig, mnist
from offprint.forward_propagation.experiments.parameters import ParametersConfig, parameters
from offprint.forward_propagation.experiments.recurrent import RecurrentConfig, recurrent
from offprint.forward_propagation.experiments.surrogates import SurrogatesConfig, surrogates
from offprint.forward_propagation.experiments.xor import XorConfig, xor
from offprint.forward_propagation.experiments.yin_yang import YinYangConfig, yin_yang

__all__ = [
    "GradientConfig",
    "IrisConfig",
    "MnistConfig",
    "ParametersConfig",
    "RecurrentConfig",
    "SurrogatesConfig",
    "XorConfig",
    "YinYangConfig",
    "gradient",
    "iris",
    "mnist",
    "parameters",
    "recurrent",
    "surrogates",
    "xor",
    "yin_yang",
]
