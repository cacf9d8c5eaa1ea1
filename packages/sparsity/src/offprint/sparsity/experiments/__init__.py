"""Published results, numbers and orderings, reduced to what two cores do in minutes, and at their own scale."""

from offprint.sparsity.experiments.criteria import CriteriaConfig, criteria
from offprint.sparsity.experiments.l0 import L0Config, l0
from offprint.sparsity.experiments.lenet_table import LenetTableConfig, lenet_table
from offprint.sparsity.experiments.lottery import LotteryConfig, lottery
from offprint.sparsity.experiments.published import PublishedConfig, published
from offprint.sparsity.experiments.rn50_budgets import Rn50BudgetsConfig, rn50_budgets
from offprint.sparsity.experiments.schedules import SchedulesConfig, schedules
from offprint.sparsity.experiments.sparse_vd import SparseVdConfig, sparse_vd
from offprint.sparsity.experiments.storage import StorageConfig, storage
from offprint.sparsity.experiments.woodfisher_mnist import WoodfisherMnistConfig, woodfisher_mnist

__all__ = [
    "CriteriaConfig",
    "L0Config",
    "LenetTableConfig",
    "LotteryConfig",
    "PublishedConfig",
    "Rn50BudgetsConfig",
    "SchedulesConfig",
    "SparseVdConfig",
    "StorageConfig",
    "WoodfisherMnistConfig",
    "criteria",
    "l0",
    "lenet_table",
    "lottery",
    "published",
    "rn50_budgets",
    "schedules",
    "sparse_vd",
    "storage",
    "woodfisher_mnist",
]
