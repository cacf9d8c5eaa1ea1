"""Memory-augmented graph neural networks (MA-GNN) for sequential recommendation."""

from offprint.magnn import baselines
from offprint.magnn._config import TrainConfig
from offprint.magnn._export import Vectors, export_vectors
from offprint.magnn._graph import ItemGraph, check_graph, item_graph, propagate
from offprint.magnn._log import InteractionLog
from offprint.magnn._loss import bce_loss, bpr_loss, sampled_softmax_loss, softmax_loss
from offprint.magnn._metrics import RankingMetrics, evaluate
from offprint.magnn._model import MAGNN, Explanation, item_scores
from offprint.magnn._negatives import SeenItems, sample_negatives, seen_items
from offprint.magnn._prepare import prepare
from offprint.magnn._recommend import Recommendations, Recommender, recommend, recommend_history
from offprint.magnn._report import PrepareReport
from offprint.magnn._sequences import Sequences
from offprint.magnn._shard import shard_items
from offprint.magnn._split import Split, split_leave_last, split_ratio
from offprint.magnn._storage import load_model, save_model
from offprint.magnn._train import Fitted, fit
from offprint.magnn._windows import Batch, Windows, gather, last_windows, windows

__all__ = [
    "MAGNN",
    "Batch",
    "Explanation",
    "Fitted",
    "InteractionLog",
    "ItemGraph",
    "PrepareReport",
    "RankingMetrics",
    "Recommendations",
    "Recommender",
    "SeenItems",
    "Sequences",
    "Split",
    "TrainConfig",
    "Vectors",
    "Windows",
    "baselines",
    "bce_loss",
    "bpr_loss",
    "check_graph",
    "evaluate",
    "export_vectors",
    "fit",
    "gather",
    "item_graph",
    "item_scores",
    "last_windows",
    "load_model",
    "prepare",
    "propagate",
    "recommend",
    "recommend_history",
    "sample_negatives",
    "sampled_softmax_loss",
    "save_model",
    "seen_items",
    "shard_items",
    "softmax_loss",
    "split_leave_last",
    "split_ratio",
    "windows",
]
