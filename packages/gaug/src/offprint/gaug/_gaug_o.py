"""Fitting GAug-O: pretraining of both networks, joint training by the backend that suits the graph."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import PRNGKeyArray

from offprint.core.train import Checkpoint, FullBatch
from offprint.gaug._backends import block_size, chosen_backend
from offprint.gaug._blockwise import expected_edges
from offprint.gaug._candidate_fit import fit_candidates
from offprint.gaug._config import GAugOConfig
from offprint.gaug._fit import check_logits, track_of
from offprint.gaug._graph import Graph
from offprint.gaug._joint import HISTORY, LOSS_MODE, JointData, JointState, JointStep
from offprint.gaug._metrics import validation_pairs
from offprint.gaug._network import Network
from offprint.gaug._pretrain import EdgeStep, NodeUpdate, embed, train_classifier, train_edge_predictor
from offprint.gaug._problem import Problem, Split, check_problem
from offprint.gaug._result import Result, result_of
from offprint.gaug._stages import Stages
from offprint.gaug._subgraph import fit_subgraphs


def fit_gaug_o(
    node_model: nnx.Module,
    edge_model: nnx.Module,
    g: Graph,
    x: Any,
    y: Any,
    split: Split,
    cfg: GAugOConfig | None = None,
    *,
    key: PRNGKeyArray,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
) -> Result:
    """Train a classifier on graphs that a differentiable edge predictor draws, both together; infer on the given one.

    First the edge predictor alone learns to reconstruct the graph, then the classifier alone learns on the given
    graph, then both learn together with fresh optimisers. Source: section "GAug-O" of the paper, the authors' code.

    Args:
        node_model: the classifier, an NNX module with the call `(graph, x) -> (N, C) logits`; it is not changed.
            What it does with the graph must go through `aggregate` for the blockwise backend.
        edge_model: an `EdgePredictor`, of the variant "joint"; it is not changed.
        g: the graph.
        x: (N, F) features, dense or sparse.
        y: (N,) classes, or (N, C) zeros and ones for several labels per node.
        split: indices of the training, validation and test nodes.
        cfg: the settings; `paper_config` has the published ones.
        key: for samples, noise and pairs; dropout draws from the classifier's own.
        checkpoint: save there, a folder for each stage, and go on from there.
        progress: draw bars.

    Returns:
        The classifier after the epoch with the best validation score on the given graph.

    Raises:
        ValueError: data or settings that do not serve; the dense backend for a graph too large for the memory.
        RuntimeError: samples with more edges than a `capacity` that was given.
        TypeError: a model that is no NNX module.
    """
    cfg = cfg or GAugOConfig()
    problem = check_problem(g, x, y, split)
    node, edge = Network.of(node_model), Network.of(edge_model)
    check_logits(node, problem)
    cfg = replace(cfg, backend=chosen_backend(cfg, node, problem), block_size=block_size(cfg.block_size))
    stages = Stages(checkpoint, progress)
    keys = jax.random.split(key, 4)
    data = watched(problem, keys[3])
    if cfg.backend == "subgraph":
        track, stopped = fit_subgraphs(node, edge, data, cfg, stages, keys, patience(cfg))
        return result_of(track, g, stopped)
    node, edge = pretrained(node, edge, problem, cfg, stages, keys)
    track = track_of(HISTORY, cfg.epochs, {"node": node, "edge": edge}, problem)
    state = JointState.start(node, edge, cfg, keys[2], track)
    if cfg.backend == "candidate":
        state, stopped = fit_candidates(state, data, cfg, stages, patience(cfg))
    elif cfg.backend == "blockwise":
        state, stopped = _fit_blockwise(state, data, cfg, stages)
    else:
        done = stages.run(
            "joint", JointStep(cfg), state, FullBatch(data), num_steps=cfg.epochs, key=keys[2], reason=patience(cfg)
        )
        state, stopped = done.state, done.stopped
    return result_of(state.track, g, stopped)


def pretrained(
    node: Network, edge: Network, problem: Problem, cfg: GAugOConfig, stages: Stages, keys: Any
) -> tuple[Network, Network]:
    """Both networks after the epochs that each has for itself."""
    edge_step = EdgeStep(cfg.lr, LOSS_MODE[cfg.backend], block_size(cfg.block_size))
    node_step = NodeUpdate(cfg.lr, cfg.weight_decay)
    edge, _ = train_edge_predictor(edge, problem.graph, problem.x, cfg.pretrain_edge, edge_step, stages, keys[0])
    return train_classifier(node, problem, cfg.pretrain_nodes, node_step, stages, keys[1]), edge


def patience(cfg: GAugOConfig) -> str:
    """Why a run may end early."""
    return f"no better validation score for {cfg.patience} {'updates' if cfg.backend == 'subgraph' else 'epochs'}"


def _fit_blockwise(state: JointState, data: JointData, cfg: GAugOConfig, stages: Stages) -> tuple[JointState, str]:
    """Joint training with room for the sampled edges, which grows where it is too little."""
    capacity = cfg.capacity or _roomy(_sample_size(state, data, cfg))
    while True:
        done = stages.run(
            f"joint-{capacity}",
            JointStep(cfg, capacity),
            state,
            FullBatch(data),
            num_steps=cfg.epochs - int(state.track.epoch),
            key=state.key,
            reason=patience(cfg),
        )
        state, needed = done.state, int(done.state.needed)
        if not needed:
            return state, done.stopped
        if cfg.capacity is not None:
            raise RuntimeError(
                f"the sampled graph of epoch {int(state.track.epoch)} has {needed} edges, but capacity={cfg.capacity}; "
                f"set capacity={_roomy(needed)}, or None for one that grows by itself"
            )
        capacity, state = _roomy(needed), replace(state, needed=jnp.zeros_like(state.needed))


def _sample_size(state: JointState, data: JointData, cfg: GAugOConfig) -> int:
    """Edges to expect in the first sample."""
    g, x = data.problem.graph, data.problem.x
    z = embed(state.edge.model, g, x, None).z
    return int(expected_edges(z, g, alpha=cfg.alpha))


def _roomy(count: int) -> int:
    """Half as many again, rounded up to two leading bits, so that few sizes occur and few programs are compiled."""
    wanted = max(256, count + count // 2)
    unit = 1 << (wanted.bit_length() - 2)
    return -(-wanted // unit) * unit


def watched(problem: Problem, key: PRNGKeyArray) -> JointData:
    """The data of joint training, with the pairs by which the edge predictor is watched.

    A tenth of the edges (a hundredth above 5000 nodes) and as many pairs without one. The edges are not hidden from
    training.
    """
    g = problem.graph
    if not g.num_edges:
        return JointData(problem, jnp.zeros((0, 2), jnp.int32), jnp.zeros(0, jnp.int32))
    half = (2 * g.num_edges + g.num_nodes) / 2
    share = max(0.1 if g.num_nodes <= 5000 else 0.01, 1.5 / half)
    pairs, is_edge = validation_pairs(g, int(jax.random.randint(key, (), 0, 2**31 - 1)), share)
    return JointData(problem, jnp.asarray(pairs), jnp.asarray(is_edge, jnp.int32))
