"""What all classifiers share: their settings, the linear map of a layer, and dropout of features."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from offprint.gaug._features import Features, SparseFeatures, project
from offprint.gaug._normalize import Adjacency, AggregateKind, aggregate

Compat = Literal["gaug_joint", "gaug_dgl"]
Initializer = Callable[..., Array]
Number = float | int

glorot_uniform: Initializer = nnx.initializers.glorot_uniform()
"""U(±√(6 / (inputs + outputs)))."""


def uniform_fan_out(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """U(±1/√outputs), for kernels and for biases."""
    return uniform_fan_in(shape[-1])(key, shape, dtype)


def uniform_fan_in(inputs: int) -> Initializer:
    """U(±1/√inputs), for the bias of a layer with so many inputs, and for its kernel."""

    def draw(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        return jax.random.uniform(key, shape, dtype, -(inputs**-0.5), inputs**-0.5)

    return draw


def parameter(initializer: Initializer, shape: tuple[int, ...], rngs: nnx.Rngs) -> nnx.Param[Array]:
    """A parameter in the default float type, drawn from the stream `params`."""
    return nnx.Param(initializer(rngs.params(), shape, jnp.result_type(float)))


def convolve(
    graph: Adjacency,
    x: Features,
    kernel: Float[Array, "features d"],
    kind: AggregateKind,
    *,
    compat_l1_gradient: bool = False,
) -> Float[Array, "nodes d"]:
    """(normalised Ã) x W: a layer's linear part, in the order that aggregates the smaller width."""
    if isinstance(x, SparseFeatures) or kernel.shape[0] >= kernel.shape[1]:
        return aggregate(graph, project(x, kernel), kind, compat_l1_gradient=compat_l1_gradient)
    return aggregate(graph, x, kind, compat_l1_gradient=compat_l1_gradient) @ kernel


def drop(dropout: nnx.Dropout, x: Features, deterministic: bool | None, rngs: nnx.Rngs | None) -> Features:
    """Dropout of the entries of x; the zeros of sparse features are not drawn for, since they stay zeros."""
    if isinstance(x, SparseFeatures):
        return x.with_values(dropout(x.values, deterministic=deterministic, rngs=rngs))
    return dropout(x, deterministic=deterministic, rngs=rngs)


def check_classifier(
    in_dim: int, hidden: int, out_dim: int, n_layers: int, dropout: Number, compat: str | None = None
) -> None:
    """Raise ValueError for settings that no classifier can have."""
    for name, value in (("in_dim", in_dim), ("hidden", hidden), ("out_dim", out_dim), ("n_layers", n_layers)):
        if value < 1:
            raise ValueError(f"{name}={value}; at least 1 is needed")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout}; a rate of at least 0 and below 1 is needed")
    if compat is not None and compat not in get_args(Compat):
        raise ValueError(f"compat {compat!r} is unknown; None, 'gaug_joint' or 'gaug_dgl' is needed")
