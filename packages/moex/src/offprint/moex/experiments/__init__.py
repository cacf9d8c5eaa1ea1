"""The experiments of the paper, as far as two cores go, and at its own scale; with the claims that they check."""

from offprint.moex.experiments.cutmix import CutMixConfig, cutmix
from offprint.moex.experiments.digits import DigitsConfig, digits
from offprint.moex.experiments.norms import NormsConfig, norms
from offprint.moex.experiments.pointcloud import PointCloudConfig, pointcloud
from offprint.moex.experiments.reduced import ReducedConfig, reduced
from offprint.moex.experiments.table1 import Table1Config, table1

__all__ = [
    "CutMixConfig",
    "DigitsConfig",
    "NormsConfig",
    "PointCloudConfig",
    "ReducedConfig",
    "Table1Config",
    "cutmix",
    "digits",
    "norms",
    "pointcloud",
    "reduced",
    "table1",
]
