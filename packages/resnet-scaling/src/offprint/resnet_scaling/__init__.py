"""How trained weights of very deep residual networks scale with depth."""

from offprint.resnet_scaling import data, limits, weights
from offprint.resnet_scaling._checkpoint import CheckpointReport, LayerGroup, analyze, find_groups, load_arrays
from offprint.resnet_scaling._classification_study import Study, classification_study
from offprint.resnet_scaling._classify import Evidence, ScalingReport, classify_scaling, classify_statistics
from offprint.resnet_scaling._conv import CONV_STAGES, BlockKernels, ConvResNet, block_kernels, conv_block
from offprint.resnet_scaling._conv_spectrum import conv_layer_norms, conv_scaling_statistics, conv_singular_values
from offprint.resnet_scaling._decompose import Decomposition, decompose_trend_noise, denoised_params
from offprint.resnet_scaling._exponents import Fit, fit_exponent
from offprint.resnet_scaling._module import DeepResNet
from offprint.resnet_scaling._network import ResNetParams, init_params, parallel_apply, resnet_apply
from offprint.resnet_scaling._padding import pad_params, unpad_params
from offprint.resnet_scaling._parallel import ParallelInfo
from offprint.resnet_scaling._parametrisation import Parametrisation, layer_labels, parametrisation
from offprint.resnet_scaling._phase import PhaseDiagram, critical_beta, log_ratios, phase_diagram
from offprint.resnet_scaling._roughness import (
    RoughnessReport,
    critical_p,
    hurst_exponent,
    increment_ratio,
    p_variation,
    roughness,
    spectrum,
)
from offprint.resnet_scaling._shuffle import official_shuffle
from offprint.resnet_scaling._statistics import scaling_statistics
from offprint.resnet_scaling._sweep import train_sweep
from offprint.resnet_scaling._sweep_config import SHIPPED, SweepConfig
from offprint.resnet_scaling._sweep_result import DepthRecord, SweepResult
from offprint.resnet_scaling._train import TrainTest, evaluate_loss

__all__ = [
    "CONV_STAGES",
    "SHIPPED",
    "BlockKernels",
    "CheckpointReport",
    "ConvResNet",
    "Decomposition",
    "DeepResNet",
    "DepthRecord",
    "Evidence",
    "Fit",
    "LayerGroup",
    "ParallelInfo",
    "Parametrisation",
    "PhaseDiagram",
    "ResNetParams",
    "RoughnessReport",
    "ScalingReport",
    "Study",
    "SweepConfig",
    "SweepResult",
    "TrainTest",
    "analyze",
    "block_kernels",
    "classification_study",
    "classify_scaling",
    "classify_statistics",
    "conv_block",
    "conv_layer_norms",
    "conv_scaling_statistics",
    "conv_singular_values",
    "critical_beta",
    "critical_p",
    "data",
    "decompose_trend_noise",
    "denoised_params",
    "evaluate_loss",
    "find_groups",
    "fit_exponent",
    "hurst_exponent",
    "increment_ratio",
    "init_params",
    "layer_labels",
    "limits",
    "load_arrays",
    "log_ratios",
    "official_shuffle",
    "p_variation",
    "pad_params",
    "parallel_apply",
    "parametrisation",
    "phase_diagram",
    "resnet_apply",
    "roughness",
    "scaling_statistics",
    "spectrum",
    "train_sweep",
    "unpad_params",
    "weights",
]
