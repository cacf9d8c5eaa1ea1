"""Jumping knowledge networks (Xu et al., ICML 2018) of GraphSAGE layers, joined by concatenation."""

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from offprint.gaug._convolution import (
    Compat,
    Number,
    check_classifier,
    drop,
    glorot_uniform,
    parameter,
    uniform_fan_in,
)
from offprint.gaug._features import Features
from offprint.gaug._normalize import Adjacency
from offprint.gaug._sage import SAGELayer


class JKNet(nnx.Module):
    """`n_layers` GraphSAGE layers with ReLU; a linear map of all their outputs, side by side, gives the logits.

    Dropout acts before every GraphSAGE layer but the first.

    Args:
        in_dim: features F of a node.
        hidden: width of the layers.
        out_dim: classes C.
        n_layers: GraphSAGE layers.
        dropout: rate.
        compat: as in `GraphSAGE`; the output layer starts Glorot-uniform with zero biases for None, and uniform in
            ±1/√inputs otherwise.
        rngs: where parameters (stream `params`) and dropout (`dropout`) are drawn from.

    Raises:
        ValueError: a size below 1, a rate outside [0, 1), `compat` unknown.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        out_dim: int,
        n_layers: int = 3,
        dropout: Number = 0.5,
        *,
        compat: Compat | None = None,
        rngs: nnx.Rngs,
    ):
        check_classifier(in_dim, hidden, out_dim, n_layers, dropout, compat)
        self.layers = nnx.List(
            SAGELayer(inputs, outputs, compat=compat, rngs=rngs)
            for inputs, outputs in pairwise([in_dim, *[hidden] * n_layers])
        )
        width = n_layers * hidden
        uniform = uniform_fan_in(width)
        self.kernel = parameter(glorot_uniform if compat is None else uniform, (width, out_dim), rngs)
        self.bias = parameter(nnx.initializers.zeros if compat is None else uniform, (out_dim,), rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(
        self, graph: Adjacency, x: Features, *, deterministic: bool | None = None, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "nodes classes"]:
        """Logits (N, C); the arguments are those of `GCN`."""
        first, *others = self.layers
        outputs = [jax.nn.relu(first(graph, x))]
        for layer in others:
            outputs.append(jax.nn.relu(layer(graph, drop(self.dropout, outputs[-1], deterministic, rngs))))
        return jnp.concatenate(outputs, axis=1) @ self.kernel[...] + self.bias[...]
