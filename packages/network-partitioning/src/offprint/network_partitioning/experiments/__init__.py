"""The experiments of the paper, reduced to what two cores do in minutes, and at its own scale; with their claims."""

from offprint.network_partitioning.experiments.cifar10_affine import Cifar10AffineConfig, cifar10_affine
from offprint.network_partitioning.experiments.data_size import DataSizeConfig, data_size
from offprint.network_partitioning.experiments.feature_extractor import FeatureExtractorConfig, feature_extractor
from offprint.network_partitioning.experiments.federated_rotmnist import FederatedRotmnistConfig, federated_rotmnist
from offprint.network_partitioning.experiments.rings import RingsConfig, rings
from offprint.network_partitioning.experiments.rotmnist import RotmnistConfig, rotmnist
from offprint.network_partitioning.experiments.toy_mask import ToyMaskConfig, toy_mask
from offprint.network_partitioning.experiments.toy_selection import ToySelectionConfig, toy_selection
from offprint.network_partitioning.experiments.validation_split import ValidationSplitConfig, validation_split

__all__ = [
    "Cifar10AffineConfig",
    "DataSizeConfig",
    "FeatureExtractorConfig",
    "FederatedRotmnistConfig",
    "RingsConfig",
    "RotmnistConfig",
    "ToyMaskConfig",
    "ToySelectionConfig",
    "ValidationSplitConfig",
    "cifar10_affine",
    "data_size",
    "feature_extractor",
    "federated_rotmnist",
    "rings",
    "rotmnist",
    "toy_mask",
    "toy_selection",
    "validation_split",
]
