"""The experiments of the paper, as far as two cores go, and at its own scale; with the claims that they check."""

from offprint.gaug.experiments.gaug_m import ModifiedConfig, gaug_m
from offprint.gaug.experiments.gaug_o import JointConfig, gaug_o
from offprint.gaug.experiments.original import OriginalConfig, original
from offprint.gaug.experiments.sampling import SamplingConfig, sampling
from offprint.gaug.experiments.sbm import SBMConfig, sbm
from offprint.gaug.experiments.table import TableConfig, table

__all__ = [
    "JointConfig",
    "ModifiedConfig",
    "OriginalConfig",
    "SBMConfig",
    "SamplingConfig",
    "TableConfig",
    "gaug_m",
    "gaug_o",
    "original",
    "sampling",
    "sbm",
    "table",
]
