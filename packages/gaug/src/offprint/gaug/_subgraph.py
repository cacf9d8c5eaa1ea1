"""GAug-O by minibatches of node sets, for graphs whose pairs are too many (the authors' minibatch program).

The edge predictor sees the whole graph; pairs are looked at, and graphs sampled, among the nodes of a batch.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from offprint.core.train import Minibatches
from offprint.gaug._config import GAugOConfig
from offprint.gaug._edge_loss import loss_weights
from offprint.gaug._edge_predictor import Embedding
from offprint.gaug._features import SparseFeatures
from offprint.gaug._fit import track_of
from offprint.gaug._graph import Graph
from offprint.gaug._joint import HISTORY, JointData, JointLoss, JointState, joint_optimizers, joint_update
from offprint.gaug._network import Network
from offprint.gaug._pretrain import NodeUpdate, Training, embed, train_classifier
from offprint.gaug._problem import classification_loss
from offprint.gaug._pytree import pytree
from offprint.gaug._sample import sample_adjacency
from offprint.gaug._stages import Stages
from offprint.gaug._track import Track

LR_SCALE = {"edge predictor": 1 / 5, "joint": 1 / 10}
"""Learning rates of minibatches over those of whole graphs, as published."""


@pytree
@dataclass(frozen=True)
class NodeBatches:
    """Batches of node ids, each handed on together with the whole data."""

    data: JointData
    ids: Minibatches

    def batch_at(self, step: int | Int[Array, ""], key: PRNGKeyArray) -> tuple[JointData, Int[Array, " batch"]]:
        """The data and the nodes of step `step`."""
        return self.data, self.ids.batch_at(step, key)


def induced(g: Graph, nodes: Int[Array, " batch"], used: Bool[Array, " batch"]) -> Float[Array, "batch batch"]:
    """The 0/1 adjacency matrix among some nodes, without a diagonal; rows of nodes that are not used are 0."""
    size = len(nodes)
    place = jnp.full(g.num_nodes, size, jnp.int32)
    place = place.at[nodes].set(jnp.where(used, jnp.arange(size, dtype=jnp.int32), size))
    rows, columns = place[g.receivers], jnp.where(g.edge_mask, place[g.senders], size)
    return jnp.zeros((size, size), g.weights.dtype).at[rows, columns].set(1, mode="drop")


def neighbourhood(
    key: PRNGKeyArray, g: Graph, seeds: Int[Array, " seeds"], size: int
) -> tuple[Int[Array, " size"], Bool[Array, " size"]]:
    """The seeds first, then nodes one and two edges away, `size` in all; and which are any of these.

    Where there are more, a random part of the farthest is taken. Works under jit.
    """
    far = jnp.full(g.num_nodes, 3, jnp.int32).at[seeds].set(0)
    for distance in (1, 2):
        near = (far[g.senders] < distance) & g.edge_mask
        reached = jax.ops.segment_max(near.astype(jnp.int32), g.receivers, g.num_nodes, indices_are_sorted=True)
        far = jnp.where((reached > 0) & (far > distance), distance, far)
    order = jnp.lexsort((jax.random.uniform(key, (g.num_nodes,)), far))[:size]
    used = far[order] < 3
    # The seeds keep their own order, so that the first rows are theirs.
    return order.at[: len(seeds)].set(seeds).astype(jnp.int32), used


def subset_edge_loss(
    z: Float[Array, "batch embed"], adjacency: Float[Array, "batch batch"], used: Bool[Array, " batch"], g: Graph
) -> Float[Array, ""]:
    """The reconstruction loss over the pairs of a batch, with the class weights of the whole graph."""
    norm_w, pos_weight = loss_weights(g)
    logits, target = z @ z.T, adjacency + jnp.eye(len(z), dtype=adjacency.dtype)
    terms = pos_weight * target * jax.nn.softplus(-logits) + (1 - target) * jax.nn.softplus(logits)
    counted = used[:, None] & used
    return norm_w * jnp.where(counted, terms, 0).sum() / jnp.maximum(counted.sum(), 1)


@dataclass(frozen=True)
class SubsetEdgeStep:
    """One update of the edge predictor on the pairs within a random part of the nodes."""

    lr: float | int

    def __call__(self, state: Training, batch: Any, key: PRNGKeyArray) -> tuple[Training, dict[str, Array]]:
        data, nodes = batch
        g, x = data.problem.graph, data.problem.x

        def objective(params: PyTree) -> tuple[Array, PyTree]:
            model = state.network.live(params)
            used = jnp.ones(len(nodes), bool)
            z = embed(model, g, x, key).z[nodes]
            return subset_edge_loss(z, induced(g, nodes, used), used, g), Network.rest_of(model)

        (loss, rest), grads = jax.value_and_grad(objective, has_aux=True)(state.network.params)
        updates, opt_state = optax.adam(self.lr).update(grads, state.opt_state)
        params = optax.apply_updates(state.network.params, updates)
        return Training(replace(state.network, params=params, rest=rest), opt_state), {"loss": loss}


@dataclass(frozen=True)
class SubgraphStep:
    """One joint update on the neighbourhood of some training nodes, scored on the whole graph."""

    cfg: GAugOConfig
    steps: int

    def __call__(self, state: JointState, batch: Any, key: PRNGKeyArray) -> tuple[JointState, dict[str, Array]]:
        data, seeds = batch
        problem, cfg = data.problem, self.cfg
        size = min(cfg.batch_nodes, problem.graph.num_nodes)

        def loss(node: Any, edge: Any, key: PRNGKeyArray) -> tuple[Array, JointLoss]:
            near_key, noise_key, sample_key = jax.random.split(key, 3)
            nodes, used = neighbourhood(near_key, problem.graph, seeds, size)
            embedding: Embedding = embed(edge, problem.graph, problem.x, noise_key)
            z = jnp.where(used[:, None], embedding.z[nodes], 0)  # what fills up the batch gets no edges
            adjacency = induced(problem.graph, nodes, used)
            sampled = sample_adjacency(
                sample_key, z @ z.T, adjacency,
                alpha=cfg.alpha, temperature=cfg.temperature, estimator=cfg.estimator, score_map=cfg.score_map,
            )  # fmt: skip
            logits = node(sampled, problem.x[nodes])
            node_loss = classification_loss(logits[: len(seeds)], problem.y[seeds])
            reconstruction = subset_edge_loss(z, adjacency, used, problem.graph)
            parts = JointLoss(node_loss, reconstruction, logits, embedding, sampled, problem.y[nodes])
            return node_loss + cfg.beta * reconstruction, parts

        lengths = replace(cfg, epochs=self.steps)  # the warm-up goes over all updates
        return joint_update(state, data, loss, cfg, joint_optimizers(lengths, LR_SCALE["joint"]))


def fit_subgraphs(
    node: Network, edge: Network, data: JointData, cfg: GAugOConfig, stages: Stages, keys: Any, reason: str
) -> tuple[Track, str]:
    """Pretraining and joint training by minibatches; epochs are passes over all nodes, then over the training nodes.

    Early stopping counts updates: the classifier is scored after each.

    Raises:
        ValueError: sparse features, of which rows cannot be taken.
    """
    problem, nodes = data.problem, data.problem.graph.num_nodes
    if isinstance(problem.x, SparseFeatures):
        raise ValueError("backend='subgraph' takes rows of the features, which sparse ones do not give: x.to_dense()")
    if cfg.pretrain_edge:
        parts = max(1, int(nodes / (1.5 * cfg.batch_nodes)))
        batches = NodeBatches(data, Minibatches(jnp.arange(nodes, dtype=jnp.int32), nodes // parts))
        lr = cfg.lr * LR_SCALE["edge predictor"]
        alone = Training(edge, optax.adam(lr).init(edge.params))
        steps = cfg.pretrain_edge * parts
        edge = stages.run(
            "edge predictor", SubsetEdgeStep(lr), alone, batches, num_steps=steps, key=keys[0]
        ).state.network
    update = NodeUpdate(cfg.lr, cfg.weight_decay)
    node = train_classifier(node, problem, cfg.pretrain_nodes, update, stages, keys[1])
    wanted = cfg.seeds_per_batch or max(1, cfg.batch_nodes // 60)
    seeds = Minibatches(problem.train, min(wanted, len(problem.train), cfg.batch_nodes, nodes))
    steps = cfg.epochs * seeds.steps_per_epoch
    state = JointState.start(node, edge, cfg, keys[2], track_of(HISTORY, steps, {"node": node, "edge": edge}, problem))
    joint, batches = SubgraphStep(cfg, steps), NodeBatches(data, seeds)
    done = stages.run("joint", joint, state, batches, num_steps=steps, key=keys[2], reason=reason)
    return done.state.track, done.stopped
