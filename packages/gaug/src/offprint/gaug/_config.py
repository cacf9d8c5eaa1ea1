"""Settings of the methods, and the warm-up of the edge predictor's learning rate."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from offprint.gaug._draw import Estimator, ScoreMap
from offprint.gaug._scores import Score

Backend = Literal["auto", "dense", "blockwise", "candidate", "subgraph"]


def _check_count(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, but is {value!r}")


def _check_number(
    name: str, value: float | int, low: float | int, high: float | int = math.inf, *, above: bool = False
) -> None:
    inside = low < value <= high if above else low <= value <= high
    if not (inside and math.isfinite(value)):
        bounds = f"above {low:g}" if above else f"at least {low:g}"
        bounds += "" if high == math.inf else f" and at most {high:g}"
        raise ValueError(f"{name} must be {bounds}, but is {value!r}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, but is {value!r}")


@dataclass(frozen=True)
class NodeConfig:
    """How a classifier is trained on a graph that is given.

    Raises:
        ValueError: a setting is out of range.
    """

    epochs: int = 200
    """Full-batch updates."""
    patience: int | None = None
    """Stop after so many epochs without a better validation score; None: never."""
    lr: float | int = 0.01
    """Learning rate of Adam."""
    weight_decay: float | int = 5e-4
    """L2 penalty, added to the gradient before Adam sees it (coupled)."""
    drop_edge: float | int = 0.0
    """DropEdge: share of the edges that each epoch goes without, in [0, 1)."""

    def __post_init__(self) -> None:
        _check_count("epochs", self.epochs, 1)
        if self.patience is not None:
            _check_count("patience", self.patience, 1)
        _check_number("lr", self.lr, 0, above=True)
        _check_number("weight_decay", self.weight_decay, 0)
        if not 0 <= self.drop_edge < 1:
            raise ValueError(f"drop_edge is the share of edges left out, in [0, 1), but is {self.drop_edge!r}")


@dataclass(frozen=True)
class GAugMConfig:
    """Settings of GAug-M: train an edge predictor, change the graph once, train a classifier on the changed graph.

    Raises:
        ValueError: a setting is out of range.
    """

    remove: float | int = 0.02
    """Share of the edges that are removed, those with the lowest scores."""
    add: float | int = 0.57
    """Number of added pairs over the number of edges; those with the highest scores."""
    score: Score = "inner"
    """`"inner"`, `"cosine"` or `"sigmoid"`: what of two embeddings is their score."""
    variational: bool = True
    """Scores from a draw of a variational edge predictor (as in the published code), or from a plain one."""
    draw: int = 0
    """Which draw of the embedding; the published settings chose it together with the shares."""
    edge_epochs: int = 200
    """Updates of the edge predictor."""
    edge_lr: float | int = 0.01
    """Its learning rate."""
    node: NodeConfig = field(default_factory=NodeConfig)
    """How the classifier is trained on the changed graph."""

    def __post_init__(self) -> None:
        if not 0 <= self.remove <= 1:
            raise ValueError(f"remove is a share of the edges, in [0, 1], but is {self.remove!r}")
        if not 0 <= self.add <= 1:
            raise ValueError(f"add is a share of the number of edges, in [0, 1], but is {self.add!r} (0.57, not 57)")
        _check_choice("score", self.score, get_args(Score))
        _check_count("draw", self.draw, 0)
        _check_count("edge_epochs", self.edge_epochs, 0)
        _check_number("edge_lr", self.edge_lr, 0, above=True)


@dataclass(frozen=True)
class GAugOConfig:
    """Settings of GAug-O: sample a graph from a differentiable edge predictor in every epoch, train both networks.

    The first six are the ones to tune (`tune`); their defaults are a middle of the published best values.

    Raises:
        ValueError: a setting is out of range, or two do not go together.
    """

    alpha: float | int = 0.5
    """Share of the predicted edges in the probabilities, in [0, 1]; 1 - alpha is that of the given graph."""
    beta: float | int = 1.0
    """Weight of the edge predictor's loss in the joint loss."""
    temperature: float | int = 1.0
    """τ of the relaxed samples; their gradient only depends on it."""
    pretrain_edge: int = 100
    """Epochs of the edge predictor alone."""
    pretrain_nodes: int = 30
    """Epochs of the classifier alone, on the given graph."""
    warmup: float | int = 0
    """w of the sigmoid that raises the edge predictor's learning rate from 0; 0: constant."""
    epochs: int = 200
    """Joint epochs, at most."""
    patience: int = 100
    """Stop after so many epochs without a better validation score."""
    lr: float | int = 0.01
    """Learning rate of both optimisers."""
    weight_decay: float | int = 5e-4
    """Coupled L2 penalty of the classifier."""
    backend: Backend = "auto"
    """`"dense"`: N x N arrays; `"blockwise"`: the same result without them; `"candidate"`: gradients only at likely
    pairs, for large sparse graphs; `"subgraph"`: minibatches of node sets; `"auto"`: dense or blockwise, whichever
    suits the classifier and the device."""
    estimator: Estimator = "binary_concrete"
    """How a graph is sampled; others than the default need the dense backend."""
    score_map: ScoreMap = "max"
    """`"max"`: M = Z Zᵀ / max (the published code); `"sigmoid"`: M = σ(Z Zᵀ) (the paper)."""
    block_size: int | None = None
    """Nodes on a side of a block, blockwise; None: what suits the device."""
    capacity: int | None = None
    """Most edges of a sampled graph, blockwise; None: grows by itself."""
    candidates_per_node: int = 20
    """Likely pairs, and as many at random, for each node, as candidates."""
    refresh: int = 10
    """Epochs after which the candidates are looked for anew."""
    batch_nodes: int = 3000
    """Nodes of a subgraph."""
    seeds_per_batch: int | None = None
    """Labelled nodes that a subgraph is grown from; None: batch_nodes // 60, as published."""

    def __post_init__(self) -> None:
        _check_number("alpha", self.alpha, 0, 1)
        _check_number("beta", self.beta, 0)
        _check_number("temperature", self.temperature, 0, above=True)
        _check_number("warmup", self.warmup, 0)
        _check_number("lr", self.lr, 0, above=True)
        _check_number("weight_decay", self.weight_decay, 0)
        for name in ("pretrain_edge", "pretrain_nodes"):
            _check_count(name, getattr(self, name), 0)
        for name in ("epochs", "patience", "candidates_per_node", "refresh", "batch_nodes"):
            _check_count(name, getattr(self, name), 1)
        for name in ("block_size", "capacity", "seeds_per_batch"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name), 1)
        _check_choice("backend", self.backend, get_args(Backend))
        _check_choice("estimator", self.estimator, get_args(Estimator))
        _check_choice("score_map", self.score_map, get_args(ScoreMap))
        if self.backend not in ("auto", "dense") and (self.estimator, self.score_map) != ("binary_concrete", "max"):
            raise ValueError(
                f"backend={self.backend!r} has the estimator 'binary_concrete' and the score map 'max' only, but "
                f"{self.estimator!r} and {self.score_map!r} were given; use backend='dense'"
            )


def warmup_schedule(warmup: float | int, epochs: int, lr: float | int) -> Float[Array, " epochs"]:
    """The edge predictor's learning rate in each joint epoch: a sigmoid from exactly 0 to exactly `lr`.

    Args:
        warmup: w; the sigmoid runs over [-w, w]. 0: `lr` throughout.
        epochs: T.
        lr: the learning rate at the end.

    Returns:
        lr (f_t - f_0) / (f_{T-1} - f_0) with f_t = σ(2 w t / (T-1) - w), for t = 0 ... T-1.
    """
    if warmup == 0 or epochs == 1:
        return jnp.full(epochs, lr, jnp.result_type(float))
    f = 1 / (1 + jnp.exp(-jnp.linspace(-float(warmup), float(warmup), epochs)))
    return lr * (f - f[0]) / (f[-1] - f[0])
