"""A node classification problem: what is given, checked once, and the loss and score of its logits."""

import warnings
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num

from offprint.gaug._features import check_features
from offprint.gaug._graph import Graph
from offprint.gaug._pytree import pytree

Split = tuple[Any, Any, Any]
"""Indices of the training, validation and test nodes; a named tuple of three serves too."""


@pytree
@dataclass(frozen=True)
class Problem:
    """Graph, features, labels and split, as arrays of the device."""

    graph: Graph
    x: Any  # (N, F) floats, or sparse features
    y: Num[Array, "nodes *classes"]  # (N,) classes, or (N, C) zeros and ones for several labels per node
    train: Int[Array, " train"]
    val: Int[Array, " val"]
    test: Int[Array, " test"]


def check_problem(g: Graph, x: Any, y: Any, split: Split) -> Problem:
    """The problem as device arrays.

    Args:
        g: the graph.
        x: (N, F) finite floats, or sparse features with N rows.
        y: (N,) classes 0 ... C-1, negative where unknown and outside the split; or (N, C) zeros and ones.
        split: indices of the training, validation and test nodes.

    Raises:
        ValueError: features or labels that do not have a row for each node, are not finite or no classes; a
            part of the split that is empty, out of range, repeats nodes or shares some with another.

    Warns:
        UserWarning: a class without a training node, or a graph that joins different classes.
    """
    check_features(x, g.num_nodes)
    labels = _checked_labels(y, g.num_nodes)
    parts = _checked_split(split, g.num_nodes)
    _check_known(labels, parts)
    _warn_of_classes(labels, parts[0])
    _warn_of_heterophily(g, labels, parts[0])
    if isinstance(x, np.ndarray | jax.Array):
        x = jnp.asarray(x, jnp.result_type(float) if isinstance(x, np.ndarray) else x.dtype)
    train, val, test = (jnp.asarray(part, jnp.int32) for part in parts)
    return Problem(g, x, jnp.asarray(labels), train, val, test)


def _checked_labels(y: Any, num_nodes: int) -> np.ndarray:
    labels = np.asarray(y)
    if labels.ndim not in (1, 2) or labels.shape[0] != num_nodes:
        raise ValueError(
            f"the labels have the shape {labels.shape}; needed is ({num_nodes},), or ({num_nodes}, C) for several "
            "labels per node"
        )
    if labels.ndim == 2:
        if not np.isin(labels, (0, 1)).all():
            raise ValueError("several labels per node, (N, C), must be zeros and ones")
        return labels.astype(np.int32)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"classes must be whole numbers 0 ... C-1, but the labels are {labels.dtype}")
    return labels.astype(np.int32)


def _checked_split(split: Split, num_nodes: int) -> list[np.ndarray]:
    names = ("training", "validation", "test")
    if len(split) != 3:
        raise ValueError(f"the split must have three parts, training, validation and test nodes, but has {len(split)}")
    parts = [np.asarray(part) for part in split]
    for name, part in zip(names, parts, strict=True):
        if part.ndim != 1 or not part.size or not np.issubdtype(part.dtype, np.integer):
            raise ValueError(
                f"the {name} nodes must be a list of node numbers that is not empty, but have the shape "
                f"{part.shape} and the type {part.dtype}"
            )
        outside = part[(part < 0) | (part >= num_nodes)]
        if outside.size:
            raise ValueError(f"the {name} nodes hold {outside[0]}, but the graph has the nodes 0 ... {num_nodes - 1}")
        if len(np.unique(part)) < part.size:
            raise ValueError(f"the {name} nodes hold {part.size - len(np.unique(part))} repetitions")
    for first, second in ((0, 1), (0, 2), (1, 2)):
        shared = np.intersect1d(parts[first], parts[second])
        if shared.size:
            listed = ", ".join(map(str, shared[:5])) + (", ..." if shared.size > 5 else "")
            raise ValueError(
                f"the {names[first]} and the {names[second]} nodes share {shared.size} of them: {listed}; "
                "a score on nodes that were trained or chosen on says nothing"
            )
    return parts


def _check_known(labels: np.ndarray, parts: list[np.ndarray]) -> None:
    """Nodes outside the split may have negative labels: theirs are not known."""
    for part in parts:
        unknown = part[labels[part] < 0] if labels.ndim == 1 else part[:0]
        if unknown.size:
            raise ValueError(
                f"classes are 0 ... C-1, but node {unknown[0]} of the split has the label {labels[unknown[0]]}; only "
                "nodes outside the split may have negative labels, for classes that are not known"
            )


def _warn_of_classes(labels: np.ndarray, train: np.ndarray) -> None:
    if labels.ndim == 1:
        absent = np.setdiff1d(np.unique(labels[labels >= 0]), labels[train])
    else:
        absent = np.flatnonzero(labels.any(axis=0) & ~labels[train].any(axis=0))
    if absent.size:
        warnings.warn(f"no training node has the classes {absent.tolist()}: they cannot be learnt", stacklevel=4)


def _warn_of_heterophily(g: Graph, labels: np.ndarray, train: np.ndarray) -> None:
    """Edges between training nodes alone are looked at: other labels are not for choosing a method by."""
    if labels.ndim != 1:
        return
    known = np.zeros(g.num_nodes, bool)
    known[train] = True
    i, j = g.edges().T
    both = known[i] & known[j]
    if both.sum() < 20:
        return  # too few to say anything
    share, num_classes = float(np.mean(labels[i[both]] == labels[j[both]])), int(labels.max()) + 1
    if share < 1 / num_classes + 0.05:
        warnings.warn(
            f"only {share:.2f} of the edges between training nodes join nodes of one class, with {num_classes} "
            "classes: augmentation by edge prediction assumes that neighbours are alike",
            stacklevel=4,
        )


def classification_loss(logits: Float[Array, "nodes classes"], y: Num[Array, "nodes *classes"]) -> Float[Array, ""]:
    """Mean cross-entropy over the nodes; with several labels per node, the mean binary one over all entries."""
    if y.ndim == 1:
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return optax.sigmoid_binary_cross_entropy(logits, y.astype(logits.dtype)).mean()
