"""Training an edge predictor by itself: the embedding by which pairs of nodes are scored. No labels are needed."""

from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.train import Checkpoint
from offprint.gaug._backends import block_size, loss_mode
from offprint.gaug._config import GAugMConfig
from offprint.gaug._edge_predictor import EdgePredictor
from offprint.gaug._features import check_features
from offprint.gaug._graph import Graph
from offprint.gaug._network import Network
from offprint.gaug._pretrain import EdgeStep, embed, train_edge_predictor
from offprint.gaug._stages import Stages


class EdgeFit(NamedTuple):
    """A trained edge predictor and the embedding that it gives."""

    model: nnx.Module
    """In evaluation mode."""
    z: Float[Array, "nodes embed"]
    """(N, z), for `modify_graph`, `top_pairs` and `edge_scores`; the draw `cfg.draw` of a variational one."""


def fit_edge_predictor(
    g: Graph,
    x: Any,
    cfg: GAugMConfig | None = None,
    *,
    edge_model: nnx.Module | None = None,
    key: PRNGKeyArray,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
) -> EdgeFit:
    """Learn to reconstruct a graph from its features and edges: the first step of GAug-M, for use without a classifier.

    With the same key, `fit_gaug_m` gets the same embedding.

    Args:
        g: the graph.
        x: (N, F) features, dense or sparse.
        cfg: `edge_epochs`, `edge_lr`, `variational` and `draw` are used.
        edge_model: an `EdgePredictor`; None makes one of the variant "standalone", as `cfg.variational` says.
        key: of its start, its training and its draws.
        checkpoint: save there, and go on from there.
        progress: draw a bar.

    Raises:
        ValueError: features that do not have a row for each node or are not finite.
        TypeError: a model that is no NNX module.
    """
    cfg = cfg or GAugMConfig()
    check_features(x, g.num_nodes)
    making, training, drawing, _ = jax.random.split(key, 4)
    if edge_model is None:
        edge_model = EdgePredictor(
            x.shape[1], variant="standalone", variational=cfg.variational, rngs=nnx.Rngs(params=making)
        )
    step = EdgeStep(cfg.edge_lr, loss_mode(g.num_nodes), block_size(None))
    stages = Stages(checkpoint, progress)
    network, _ = train_edge_predictor(Network.of(edge_model), g, x, cfg.edge_epochs, step, stages, training)
    model = network.model
    return EdgeFit(model, embed(model, g, x, jax.random.fold_in(drawing, cfg.draw)).z)
