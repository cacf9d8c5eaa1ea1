"""Graph data augmentation (GAug-M and GAug-O) by edge prediction."""

from offprint.gaug._adaedge import AdaEdgeConfig, adaedge
from offprint.gaug._appnp import APPNP
from offprint.gaug._augment import add_edges, compose, drop_edge, drop_nodes, mask_features
from offprint.gaug._blockwise import SampledGraph, expected_edges, sample_graph
from offprint.gaug._candidates import Candidates, find_candidates
from offprint.gaug._cheb import ChebNet
from offprint.gaug._config import GAugMConfig, GAugOConfig, NodeConfig, warmup_schedule
from offprint.gaug._diffusion import gdc
from offprint.gaug._edge_fit import EdgeFit, fit_edge_predictor
from offprint.gaug._edge_loss import edge_loss, kl_term, loss_weights
from offprint.gaug._edge_predictor import EdgePredictor, Embedding
from offprint.gaug._features import SparseFeatures, row_normalize, standardize
from offprint.gaug._fit import fit_node_classifier
from offprint.gaug._gat import GAT
from offprint.gaug._gaug_m import fit_gaug_m
from offprint.gaug._gaug_o import fit_gaug_o
from offprint.gaug._gcn import GCN
from offprint.gaug._gin import GIN
from offprint.gaug._graph import Graph
from offprint.gaug._jknet import JKNet
from offprint.gaug._joint import gaug_o_loss
from offprint.gaug._metrics import (
    EdgeCounts,
    edge_ap,
    edge_auc,
    homophily,
    homophily_report,
    intra_inter_counts,
    micro_f1,
)
from offprint.gaug._modify import ModifyReport, modify_graph
from offprint.gaug._normalize import aggregate, normalize, normalize_dense, propagate
from offprint.gaug._published import paper_config
from offprint.gaug._result import Result
from offprint.gaug._sage import GraphSAGE
from offprint.gaug._sample import sample_adjacency
from offprint.gaug._scores import edge_scores, top_pairs
from offprint.gaug._tune import Trial, TuneResult, tune
from offprint.gaug.data import NodeData, load_npz, save_npz

__all__ = [
    "APPNP",
    "GAT",
    "GCN",
    "GIN",
    "AdaEdgeConfig",
    "Candidates",
    "ChebNet",
    "EdgeCounts",
    "EdgeFit",
    "EdgePredictor",
    "Embedding",
    "GAugMConfig",
    "GAugOConfig",
    "Graph",
    "GraphSAGE",
    "JKNet",
    "ModifyReport",
    "NodeConfig",
    "NodeData",
    "Result",
    "SampledGraph",
    "SparseFeatures",
    "Trial",
    "TuneResult",
    "adaedge",
    "add_edges",
    "aggregate",
    "compose",
    "drop_edge",
    "drop_nodes",
    "edge_ap",
    "edge_auc",
    "edge_loss",
    "edge_scores",
    "expected_edges",
    "find_candidates",
    "fit_edge_predictor",
    "fit_gaug_m",
    "fit_gaug_o",
    "fit_node_classifier",
    "gaug_o_loss",
    "gdc",
    "homophily",
    "homophily_report",
    "intra_inter_counts",
    "kl_term",
    "load_npz",
    "loss_weights",
    "mask_features",
    "micro_f1",
    "modify_graph",
    "normalize",
    "normalize_dense",
    "paper_config",
    "propagate",
    "row_normalize",
    "sample_adjacency",
    "sample_graph",
    "save_npz",
    "standardize",
    "top_pairs",
    "tune",
    "warmup_schedule",
]
