"""Fitting GAug-M: train an edge predictor on the graph, change the graph by its scores, train a classifier on that."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import PRNGKeyArray

from offprint.core.train import Checkpoint
from offprint.gaug._config import GAugMConfig
from offprint.gaug._edge_fit import fit_edge_predictor
from offprint.gaug._fit import check_logits, fit_node_classifier
from offprint.gaug._graph import Graph
from offprint.gaug._modify import modify_graph
from offprint.gaug._network import Network
from offprint.gaug._problem import Split, check_problem
from offprint.gaug._result import Result


def fit_gaug_m(
    node_model: nnx.Module,
    edge_model: nnx.Module | None,
    g: Graph,
    x: Any,
    y: Any,
    split: Split,
    cfg: GAugMConfig | None = None,
    *,
    key: PRNGKeyArray,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
) -> Result:
    """Change the graph once by an edge predictor's scores; train the classifier, and use it, on the changed graph.

    Source: section "GAug-M" of the paper; the edge predictor's training is that of the authors' code.

    Args:
        node_model: the classifier, an NNX module with the call `(graph, x) -> (N, C) logits`; it is not changed.
        edge_model: an `EdgePredictor`, of the variant "standalone"; None makes one as `cfg.variational` says.
        g: the graph.
        x: (N, F) features, dense or sparse.
        y: (N,) classes, or (N, C) zeros and ones for several labels per node.
        split: indices of the training, validation and test nodes.
        cfg: the settings; `paper_config(..., "m")` has the published ones.
        key: for the edge predictor, its draws and dropped edges; dropout draws from the classifier's own.
        checkpoint: save there, a folder for each stage, and go on from there.
        progress: draw bars.

    Returns:
        The classifier after the epoch with the best validation score; `graph` is the changed graph, `report` says
        what was changed.

    Raises:
        ValueError: data or settings that do not serve.
    """
    cfg = cfg or GAugMConfig()
    problem = check_problem(g, x, y, split)
    check_logits(Network.of(node_model), problem)
    edge = fit_edge_predictor(
        g, problem.x, cfg, edge_model=edge_model, key=key, checkpoint=checkpoint, progress=progress
    )
    fitting = jax.random.split(key, 4)[3]
    changed, report = modify_graph(g, np.asarray(edge.z), cfg.remove, cfg.add, score=cfg.score)
    folder = None if checkpoint is None else replace(checkpoint, directory=f"{checkpoint.directory}/changed graph")
    found = fit_node_classifier(
        node_model,
        changed,
        x,
        y,
        split,
        cfg.node,
        key=fitting,
        checkpoint=folder,
        progress=progress,
    )
    return replace(found, edge_model=edge.model, report=report)
