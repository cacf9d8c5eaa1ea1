"""The experiments of both papers, a figure or a table each, with the claims that they check."""

from offprint.memory_capacity.experiments.figure1_floor import FloorConfig, floor
from offprint.memory_capacity.experiments.figure2_gramian_spectra import GramianConfig, gramian_spectra
from offprint.memory_capacity.experiments.figure3_squeezing import SqueezingConfig, squeezing
from offprint.memory_capacity.experiments.figure6_spectra import SpectraConfig, spectra
from offprint.memory_capacity.experiments.figure45_bands import BandsConfig, bands
from offprint.memory_capacity.experiments.linear_gap import GapConfig, gap
from offprint.memory_capacity.experiments.linear_neutrality import NeutralityConfig, neutrality
from offprint.memory_capacity.experiments.linear_showcase import ShowcaseConfig, showcase
from offprint.memory_capacity.experiments.sampled_dependent import DependentConfig, dependent
from offprint.memory_capacity.experiments.sampled_ipc import IPCConfig, ipc
from offprint.memory_capacity.experiments.sampled_nonlinear import NonlinearConfig, nonlinear
from offprint.memory_capacity.experiments.sampled_null import NullConfig, null

__all__ = [
    "BandsConfig",
    "DependentConfig",
    "FloorConfig",
    "GapConfig",
    "GramianConfig",
    "IPCConfig",
    "NeutralityConfig",
    "NonlinearConfig",
    "NullConfig",
    "ShowcaseConfig",
    "SpectraConfig",
    "SqueezingConfig",
    "bands",
    "dependent",
    "floor",
    "gap",
    "gramian_spectra",
    "ipc",
    "neutrality",
    "nonlinear",
    "null",
    "showcase",
    "spectra",
    "squeezing",
]
