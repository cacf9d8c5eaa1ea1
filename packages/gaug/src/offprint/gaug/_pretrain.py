"""Each network by itself, before or without joint training."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.core.train import FullBatch
from offprint.gaug._edge_loss import Mode, edge_loss, kl_term
from offprint.gaug._fit import update_classifier
from offprint.gaug._graph import Graph
from offprint.gaug._network import Network, classifier_optimizer
from offprint.gaug._problem import Problem
from offprint.gaug._pytree import pytree
from offprint.gaug._stages import Stages


@pytree
@dataclass(frozen=True)
class Training:
    """A network and its optimiser."""

    network: Network
    opt_state: optax.OptState


@dataclass(frozen=True)
class EdgeStep:
    """One update of the edge predictor on the reconstruction of the graph, and the KL term if it is variational."""

    lr: float | int
    mode: Mode = "dense"  # of the loss
    block_size: int = 1024

    def __call__(self, state: Training, data: tuple[Graph, Any], key: PRNGKeyArray) -> tuple[Training, dict[str, Any]]:
        g, x = data
        noise_key, pair_key = jax.random.split(key)

        def objective(params: PyTree) -> tuple[Array, PyTree]:
            model = state.network.live(params)
            z, mean, log_std = embed(model, g, x, noise_key)
            loss = edge_loss(z, g, mode=self.mode, block_size=self.block_size, key=pair_key)
            return loss if log_std is None else loss - kl_term(mean, log_std), Network.rest_of(model)

        (loss, rest), grads = jax.value_and_grad(objective, has_aux=True)(state.network.params)
        updates, opt_state = optax.adam(self.lr).update(grads, state.opt_state)
        params = optax.apply_updates(state.network.params, updates)
        return Training(replace(state.network, params=params, rest=rest), opt_state), {"loss": loss}


@dataclass(frozen=True)
class NodeUpdate:
    """One update of the classifier on the given graph."""

    lr: float | int
    weight_decay: float | int

    def __call__(self, state: Training, problem: Problem, key: PRNGKeyArray) -> tuple[Training, dict[str, Any]]:
        graph, x = problem.graph, problem.x
        network, opt_state, loss = update_classifier(state.network, state.opt_state, self, graph, x, problem)
        return Training(network, opt_state), {"loss": loss}


def embed(edge_model: Any, g: Graph, x: Any, key: PRNGKeyArray | None) -> Any:
    """The embedding, with noise if the edge predictor is variational and a key is given."""
    variational = getattr(edge_model, "log_std", None) is not None
    return edge_model(g, x, key if variational else None)


def train_edge_predictor(
    network: Network, g: Graph, x: Any, epochs: int, step: EdgeStep, stages: Stages, key: PRNGKeyArray
) -> tuple[Network, Float[Array, ""] | float]:
    """The edge predictor after so many epochs of a fresh Adam, and its mean loss over the last of them."""
    if not epochs:
        return network, float("nan")
    state = Training(network, optax.adam(step.lr).init(network.params))
    data = FullBatch((g, x))
    done = stages.run("edge predictor", step, state, data, num_steps=epochs, key=key)
    return done.state.network, done.history[-1]["loss"]


def train_classifier(
    network: Network, problem: Problem, epochs: int, step: NodeUpdate, stages: Stages, key: PRNGKeyArray
) -> Network:
    """The classifier after so many epochs of a fresh optimiser on the given graph."""
    if not epochs:
        return network
    state = Training(network, classifier_optimizer(step.lr, step.weight_decay).init(network.params))
    return stages.run("classifier", step, state, FullBatch(problem), num_steps=epochs, key=key).state.network
