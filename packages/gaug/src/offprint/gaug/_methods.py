"""The paper's classifiers and methods by name, with the sizes and presets of the authors' code."""

from typing import Any

import jax
from flax import nnx

from offprint.core.train import Checkpoint
from offprint.gaug._config import GAugMConfig, GAugOConfig, NodeConfig
from offprint.gaug._convolution import Compat
from offprint.gaug._edge_predictor import EdgePredictor
from offprint.gaug._fit import fit_node_classifier
from offprint.gaug._gat import GAT
from offprint.gaug._gaug_m import fit_gaug_m
from offprint.gaug._gaug_o import fit_gaug_o
from offprint.gaug._gcn import GCN
from offprint.gaug._graph import Graph
from offprint.gaug._jknet import JKNet
from offprint.gaug._problem import Split
from offprint.gaug._result import Result
from offprint.gaug._sage import GraphSAGE

MethodConfig = NodeConfig | GAugMConfig | GAugOConfig
"""The settings of a method: their type says which one, `NodeConfig` the plain classifier and DropEdge."""

_BUILD: dict[str, Any] = {"gcn": GCN, "gsage": GraphSAGE, "gat": GAT, "jknet": JKNet}
_FEW_HEADS = (50, 745, 12047)  # numbers of features for which the authors save memory


def make_classifier(
    gnn: str, in_dim: int, out_dim: int, *, compat: Compat | None = None, hidden: int = 128, rngs: nnx.Rngs
) -> nnx.Module:
    """A classifier of the paper's comparison.

    Args:
        gnn: `"gcn"`, `"gsage"`, `"gat"` or `"jknet"`.
        in_dim: F, features of a node.
        out_dim: C, classes.
        compat: `"gaug_joint"` as the authors have it in GAug-O, `"gaug_dgl"` as in GAug-M and the baselines; None: the
            usual definition.
        hidden: width; of GAT, of all heads together.
        rngs: for parameters and dropout.

    Raises:
        ValueError: an unknown name.
    """
    if gnn not in _BUILD:
        raise ValueError(f"classifier {gnn!r} is unknown; one of {', '.join(_BUILD)} is needed")
    if gnn == "gat" and compat == "gaug_joint" and in_dim in _FEW_HEADS:
        return GAT(in_dim, hidden // 4, out_dim, heads=2, compat=compat, rngs=rngs)
    return _BUILD[gnn](in_dim, hidden, out_dim, compat=compat, rngs=rngs)


def preset(cfg: MethodConfig) -> Compat:
    """Which of the authors' two sets of classifiers goes with a method."""
    return "gaug_joint" if isinstance(cfg, GAugOConfig) else "gaug_dgl"


def fit_method(
    node_model: nnx.Module,
    g: Graph,
    x: Any,
    y: Any,
    split: Split,
    cfg: MethodConfig,
    *,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
) -> Result:
    """Train a classifier by the method that the settings are of, with a fresh edge predictor where one is needed.

    Args:
        node_model: the classifier.
        g: the graph.
        x: (N, F) features.
        y: labels, as in `fit_gaug_o`.
        split: indices of the training, validation and test nodes.
        cfg: the method's settings.
        seed: of the edge predictor, samples and dropped edges.
        checkpoint: save there, and go on from there.
        progress: draw bars.
    """
    key = jax.random.key(seed)
    common: dict[str, Any] = {"key": key, "checkpoint": checkpoint, "progress": progress}
    if isinstance(cfg, NodeConfig):
        return fit_node_classifier(node_model, g, x, y, split, cfg, **common)
    if isinstance(cfg, GAugMConfig):
        return fit_gaug_m(node_model, None, g, x, y, split, cfg, **common)
    edge_model = EdgePredictor(x.shape[1], rngs=nnx.Rngs(jax.random.fold_in(key, 1)))
    return fit_gaug_o(node_model, edge_model, g, x, y, split, cfg, **common)
