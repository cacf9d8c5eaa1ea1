"""GAug-O: the joint loss of the edge predictor and the classifier on a sampled graph, and one epoch on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray, PyTree

from offprint.core.metrics import roc_auc
from offprint.gaug._backends import block_size
from offprint.gaug._blockwise import SampledGraph, sample_graph
from offprint.gaug._candidates import Candidates
from offprint.gaug._config import GAugOConfig, warmup_schedule
from offprint.gaug._edge_loss import Mode, edge_loss
from offprint.gaug._edge_predictor import Embedding
from offprint.gaug._fit import scores
from offprint.gaug._graph import Graph
from offprint.gaug._network import Network, classifier_optimizer
from offprint.gaug._pretrain import embed
from offprint.gaug._problem import Problem, classification_loss
from offprint.gaug._pytree import pytree
from offprint.gaug._sample import sample_adjacency
from offprint.gaug._scores import edge_scores
from offprint.gaug._track import Track


class JointLoss(NamedTuple):
    """What the joint loss is made of."""

    node_loss: Float[Array, ""]
    """Classification loss of the training nodes on the sampled graph."""
    edge_loss: Float[Array, ""]
    """Reconstruction loss of the given graph."""
    logits: Float[Array, "nodes classes"]
    """Logits on the sampled graph."""
    embedding: Embedding
    """Of the edge predictor."""
    sampled: Any
    """The sampled graph: a dense matrix with unit diagonal, a `SampledGraph`, or a `Graph` of candidates."""
    labels: Num[Array, "sampled *classes"]
    """Labels of its nodes."""


def gaug_o_loss(
    node_model: Any,
    edge_model: Any,
    g: Graph,
    x: Any,
    y: Num[Array | np.ndarray, "nodes *classes"],
    train: Int[Array | np.ndarray, " train"],
    key: PRNGKeyArray | Float[Array | np.ndarray, "nodes nodes"],
    cfg: GAugOConfig,
    *,
    capacity: int | None = None,
    candidates: Candidates | None = None,
) -> tuple[Float[Array, ""], JointLoss]:
    """CE(GNN(A', X), y) + β L_ep(Z Zᵀ) for one sampled graph A', differentiable in the parameters of both models.

    Args:
        node_model: the classifier, `(graph, x) -> (N, C) logits`.
        edge_model: the edge predictor.
        g: the given graph.
        x: features (N, F).
        y: labels (N,), or (N, C) zeros and ones.
        train: training nodes.
        key: for the sample and the noise of a variational edge predictor; or uniform numbers (N, N) in its place, and
            no noise.
        cfg: its alpha, beta, temperature, estimator, score map, block size and backend, all but `"subgraph"`.
        capacity: most edges of the sample, blockwise; by default four times those of the given graph. Of a sample
            with more the loss is NaN: `expected_edges` says what to expect.
        candidates: the pairs that may be sampled, for the backend `"candidate"`.

    Returns:
        The loss and its parts.
    """
    keyed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    noise_key, sample_key, pair_key = jax.random.split(key, 3) if keyed else (None, jnp.asarray(key), None)
    embedding = embed(edge_model, g, x, noise_key)
    z = embedding.z
    settings: dict[str, Any] = {"alpha": cfg.alpha, "temperature": cfg.temperature}
    if candidates is not None:
        sampled: Any = candidates.sample(sample_key, z, **settings)
    elif cfg.backend == "blockwise":
        settings |= {"capacity": capacity or 2 * len(g.senders), "block_size": block_size(cfg.block_size)}
        sampled = sample_graph(sample_key, z, g, **settings)
    else:
        settings |= {"estimator": cfg.estimator, "score_map": cfg.score_map}
        sampled = sample_adjacency(sample_key, z @ z.T if z.shape[0] == z.shape[1] else z, g, **settings)
    logits = _classified(node_model, sampled, x)
    y = jnp.asarray(y)
    node_loss = classification_loss(logits[train], y[train])
    mode = LOSS_MODE[cfg.backend]
    reconstruction = edge_loss(z, g, mode=mode, block_size=block_size(cfg.block_size), key=pair_key)
    parts = JointLoss(node_loss, reconstruction, logits, embedding, sampled, y)
    return node_loss + cfg.beta * reconstruction, parts


def _classified(model: Any, sampled: Any, x: Any) -> Float[Array, "nodes classes"]:
    """The model's logits on a sampled graph, with one pass over all pairs backwards if it is a sparse one."""
    if not (isinstance(sampled, SampledGraph) and isinstance(model, nnx.Module)):
        return model(sampled, x)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def run(graph: Any, params: PyTree, rest: PyTree, x: Any) -> tuple[Array, PyTree]:
        inner = nnx.merge(graphdef, params, rest, copy=True)
        return inner(graph, x), Network.rest_of(inner)

    logits, rest = sampled.apply(run, params, rest, x)
    nnx.update(model, rest)
    return logits


def _overflow(sampled: Any) -> Int[Array, ""]:
    """How many edges were drawn, if there was no room for all of them; else 0."""
    if not isinstance(sampled, SampledGraph):
        return jnp.zeros((), jnp.int32)
    return jnp.where(sampled.num_drawn > sampled.capacity, sampled.num_drawn, 0).astype(jnp.int32)


LOSS_MODE: dict[str, Mode] = {"auto": "dense", "dense": "dense", "blockwise": "blockwise", "candidate": "sampled"}
"""How the edge loss is computed with each backend."""


@pytree
@dataclass(frozen=True)
class JointData:
    """What every joint epoch is given."""

    problem: Problem
    pairs: Int[Array, "pairs 2"]  # edges and as many pairs without one, by which the predictor is watched
    is_edge: Int[Array, " pairs"]
    candidates: Any = None  # the pairs that may be sampled, if not all


@pytree
@dataclass(frozen=True)
class JointState:
    """Both networks in joint training."""

    node: Network
    edge: Network
    node_opt: optax.OptState
    edge_opt: optax.OptState
    key: PRNGKeyArray  # an epoch's key is this one folded with the epoch, so that a repeated epoch draws the same
    needed: Int[Array, ""]  # edges of a sample that did not fit into the capacity, else 0
    track: Track

    @classmethod
    def start(cls, node: Network, edge: Network, cfg: GAugOConfig, key: PRNGKeyArray, track: Track) -> "JointState":
        """With fresh optimisers."""
        node_opt, edge_opt = joint_optimizers(cfg)
        opts = node_opt.init(node.params), edge_opt.init(edge.params)
        return cls(node, edge, *opts, key, jnp.zeros((), jnp.int32), track)


def joint_optimizers(
    cfg: GAugOConfig, lr_scale: float | int = 1
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Of the classifier, with its penalty, and of the edge predictor, whose learning rate warms up."""
    schedule = warmup_schedule(cfg.warmup, cfg.epochs, cfg.lr * lr_scale)
    edge = optax.adam(lambda count: schedule[jnp.minimum(count, cfg.epochs - 1)])
    return classifier_optimizer(cfg.lr * lr_scale, cfg.weight_decay), edge


HISTORY = ("loss", "node_loss", "edge_loss", "edge_auc", "sampled_edges", "sampled_homophily")
"""What the history of GAug-O holds besides the scores."""


@dataclass(frozen=True)
class JointStep:
    """One joint epoch: sample a graph, update both networks, score the classifier on the given graph."""

    cfg: GAugOConfig
    capacity: int | None = None

    def __call__(self, state: JointState, data: JointData, key: PRNGKeyArray) -> tuple[JointState, dict[str, Array]]:
        problem = data.problem

        def loss(node: Any, edge: Any, key: PRNGKeyArray) -> tuple[Array, JointLoss]:
            return gaug_o_loss(
                node, edge, problem.graph, problem.x, problem.y, problem.train, key, self.cfg,
                capacity=self.capacity, candidates=data.candidates,
            )  # fmt: skip

        return joint_update(state, data, loss, self.cfg, joint_optimizers(self.cfg))


def joint_update(
    state: JointState,
    data: JointData,
    loss: Callable[[Any, Any, PRNGKeyArray], tuple[Array, JointLoss]],
    cfg: GAugOConfig,
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
) -> tuple[JointState, dict[str, Array]]:
    """Update both networks on the loss of their live models, and take down how they do on the given graph."""

    def objective(params: tuple[PyTree, PyTree]) -> tuple[Array, Any]:
        node, edge = state.node.live(params[0]), state.edge.live(params[1])
        value, parts = loss(node, edge, jax.random.fold_in(state.key, state.track.epoch))
        return value, (parts, Network.rest_of(node), Network.rest_of(edge))

    both = state.node.params, state.edge.params
    (value, (parts, *rests)), grads = jax.value_and_grad(objective, has_aux=True)(both)
    new = _updated(state, rests, grads, optimizers)
    logits, val, test = scores(new.node, data.problem)
    count, homophily = sample_statistics(parts.sampled, parts.labels, logits.shape[1])
    row = {
        "loss": value,
        "node_loss": parts.node_loss,
        "edge_loss": parts.edge_loss,
        "edge_auc": roc_auc(edge_scores(parts.embedding.z, data.pairs), data.is_edge),
        "sampled_edges": count,
        "sampled_homophily": homophily,
    }
    needed = _overflow(parts.sampled)
    fits = needed == 0
    kept = {"node": new.node, "edge": new.edge, "logits": logits}
    track = state.track.add(val, test, kept, row, cfg.patience, valid=fits)
    # An epoch whose sample did not fit is undone, to be made again with more room.
    new = jax.tree.map(lambda a, b: jnp.where(fits, a, b), replace(new, track=state.track), state)
    stopped = track.stopped(cfg.patience) | ~fits
    metrics = {"loss": jnp.where(fits, value, 0), "stopped": stopped.astype(value.dtype)}
    return replace(new, track=track, needed=needed), metrics


def _updated(state: JointState, rests: Any, grads: Any, optimizers: Any) -> JointState:
    """After one step of each optimiser, the classifier's and the edge predictor's, on their gradients."""
    node_updates, node_opt = optimizers[0].update(grads[0], state.node_opt, state.node.params)
    edge_updates, edge_opt = optimizers[1].update(grads[1], state.edge_opt, state.edge.params)
    node = replace(state.node, params=optax.apply_updates(state.node.params, node_updates), rest=rests[0])
    edge = replace(state.edge, params=optax.apply_updates(state.edge.params, edge_updates), rest=rests[1])
    return replace(state, node=node, edge=edge, node_opt=node_opt, edge_opt=edge_opt)


def sample_statistics(sampled: Any, y: Num[Array, "nodes *classes"], num_classes: int) -> tuple[Array, Array]:
    """Edges of a sampled graph, and the share of those between nodes of known class that lie inside one.

    The share is NaN with several labels per node, for which it is not defined.
    """
    known = y >= 0 if y.ndim == 1 else jnp.ones(len(y), bool)
    classes = y if y.ndim == 1 else jnp.zeros(len(y), jnp.int32)
    if hasattr(sampled, "senders"):
        weights, i, j = jax.lax.stop_gradient(sampled.weights), sampled.senders, sampled.receivers
        counted = weights * (known[i] & known[j])
        total, among, inside = (w.sum() / 2 for w in (weights, counted, counted * (classes[i] == classes[j])))
    else:
        matrix = jax.lax.stop_gradient(sampled)
        members = jax.nn.one_hot(classes, num_classes, dtype=matrix.dtype)
        columns = jnp.concatenate([members, known[:, None].astype(matrix.dtype)], axis=1)
        pairs = (columns * (matrix @ columns)).sum(0)
        total = (matrix.sum() - len(y)) / 2
        among, inside = (pairs[-1] - known.sum()) / 2, (pairs[:-1].sum() - known.sum()) / 2
    share = jnp.where(among > 0, inside / jnp.maximum(among, 1), 0)
    return total, share if y.ndim == 1 else jnp.full_like(share, jnp.nan)
