"""Training a node classifier on a given graph, plain or with edges dropped in every epoch."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.core.train import Checkpoint, FullBatch
from offprint.gaug._augment import Augmentation, drop_edge
from offprint.gaug._config import NodeConfig
from offprint.gaug._graph import Graph
from offprint.gaug._metrics import micro_f1
from offprint.gaug._network import Network, classifier_optimizer
from offprint.gaug._problem import Problem, Split, check_problem, classification_loss
from offprint.gaug._pytree import pytree
from offprint.gaug._result import Result, result_of
from offprint.gaug._stages import Stages
from offprint.gaug._track import Track


@pytree
@dataclass(frozen=True)
class NodeState:
    """A classifier in training."""

    node: Network
    opt_state: optax.OptState
    track: Track


@dataclass(frozen=True)
class NodeStep:
    """One epoch of a classifier: an update on the training nodes, then the scores on the given graph."""

    cfg: NodeConfig
    augment: Augmentation | None = None

    def __call__(self, state: NodeState, problem: Problem, key: PRNGKeyArray) -> tuple[NodeState, dict[str, Array]]:
        graph, x = problem.graph, problem.x
        dropping, augmenting = jax.random.split(key)
        if self.cfg.drop_edge:
            graph = drop_edge(dropping, graph, self.cfg.drop_edge)
        if self.augment is not None:
            graph, x = self.augment(augmenting, graph, x)
        node, opt_state, loss = update_classifier(state.node, state.opt_state, self.cfg, graph, x, problem)
        logits, val, test = scores(node, problem)
        kept = {"node": node, "logits": logits}
        track = state.track.add(val, test, kept, {"loss": loss}, self.cfg.patience)
        stopped = track.stopped(self.cfg.patience)
        return NodeState(node, opt_state, track), {"loss": loss, "stopped": stopped.astype(loss.dtype)}


def update_classifier(
    node: Network, opt_state: optax.OptState, cfg: Any, graph: Any, x: Any, problem: Problem
) -> tuple[Network, optax.OptState, Float[Array, ""]]:
    """One step of Adam with the coupled penalty on the loss of the training nodes."""

    def objective(params: PyTree) -> tuple[Array, PyTree]:
        model = node.live(params)
        logits = model(graph, x)
        return classification_loss(logits[problem.train], problem.y[problem.train]), Network.rest_of(model)

    (loss, rest), grads = jax.value_and_grad(objective, has_aux=True)(node.params)
    optimizer = classifier_optimizer(cfg.lr, cfg.weight_decay)
    updates, opt_state = optimizer.update(grads, opt_state, node.params)
    return replace(node, params=optax.apply_updates(node.params, updates), rest=rest), opt_state, loss


def scores(node: Network, problem: Problem) -> tuple[Float[Array, "nodes classes"], Float[Array, ""], Float[Array, ""]]:
    """Logits on the given graph, and the micro-F1 of the validation and the test nodes."""
    logits = node.evaluate(problem.graph, problem.x)
    val, test = (micro_f1(logits[part], problem.y[part]) for part in (problem.val, problem.test))
    return logits, val, test


def fit_node_classifier(
    model: nnx.Module,
    g: Graph,
    x: Any,
    y: Any,
    split: Split,
    cfg: NodeConfig | None = None,
    *,
    key: PRNGKeyArray,
    augment: Augmentation | None = None,
    checkpoint: Checkpoint | None = None,
    progress: bool = False,
    **settings: Any,
) -> Result:
    """Train a classifier on the whole graph, and give it as it was at the best validation score.

    Args:
        model: an NNX module with the call `(graph, x) -> (N, C) logits`; it is not changed.
        g: the graph.
        x: (N, F) features, dense or sparse.
        y: (N,) classes, or (N, C) zeros and ones for several labels per node.
        split: indices of the training, validation and test nodes.
        cfg: the settings, `NodeConfig()` by default.
        key: for dropped edges and augmentations; dropout draws from the model's own.
        augment: `augment(key, graph, x) -> (graph, x)`, applied in every epoch; scores are of the given graph.
        checkpoint: save there, and go on from there.
        progress: draw a bar.
        **settings: fields of `NodeConfig` to set, such as `drop_edge=0.1` (DropEdge).

    Raises:
        ValueError: data or settings that do not serve; the message says what is needed.
        TypeError: a model that is no NNX module, or a setting that does not exist.
    """
    cfg = replace(cfg or NodeConfig(), **settings)
    problem = check_problem(g, x, y, split)
    network = Network.of(model)
    check_logits(network, problem)
    track = track_of(("loss",), cfg.epochs, {"node": network}, problem)
    state = NodeState(network, classifier_optimizer(cfg.lr, cfg.weight_decay).init(network.params), track)
    done = Stages(checkpoint, progress).run(
        "classifier",
        NodeStep(cfg, augment),
        state,
        FullBatch(problem),
        num_steps=cfg.epochs,
        key=key,
        reason=f"no better validation score for {cfg.patience} epochs",
    )
    return result_of(done.state.track, g, done.stopped)


def track_of(names: tuple[str, ...], epochs: int, networks: dict[str, Network], problem: Problem) -> Track:
    """An empty track that will keep the networks and the logits."""
    shape = jax.eval_shape(networks["node"].evaluate, problem.graph, problem.x)
    return Track.start(names, epochs, {**networks, "logits": jnp.zeros(shape.shape, shape.dtype)})


def check_logits(network: Network, problem: Problem) -> None:
    """Refuse a model whose output does not fit the labels.

    Raises:
        ValueError: logits of another shape than (N, C), or fewer classes than the labels have.
    """
    shape = jax.eval_shape(network.evaluate, problem.graph, problem.x).shape
    nodes = problem.graph.num_nodes
    needed = problem.y.shape[1] if problem.y.ndim == 2 else int(problem.y.max()) + 1
    fits = len(shape) == 2 and shape[0] == nodes and (shape[1] == needed if problem.y.ndim == 2 else shape[1] >= needed)
    if not fits:
        raise ValueError(f"the model's logits have the shape {shape}; these labels need ({nodes}, {needed})")
