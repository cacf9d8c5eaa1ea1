"""GraphSAGE with the mean over a node and its neighbours (Hamilton et al., NeurIPS 2017: the "GCN" aggregator)."""

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from offprint.gaug._convolution import (
    Compat,
    Number,
    check_classifier,
    convolve,
    drop,
    glorot_uniform,
    parameter,
    uniform_fan_in,
)
from offprint.gaug._features import Features, project
from offprint.gaug._normalize import Adjacency, aggregate

_xavier_relu = nnx.initializers.variance_scaling(2.0, "fan_avg", "uniform")  # Glorot-uniform times √2


class SAGELayer(nnx.Module):
    """D̃^-1 Ã x W; with `compat="gaug_dgl"` (D̃ + I)^-1 (Ã + I) x W + b, which counts the node itself twice.

    Args:
        in_dim: columns of x.
        out_dim: columns of the result.
        compat: as in `GraphSAGE`.
        rngs: where the parameters are drawn from.
    """

    def __init__(self, in_dim: int, out_dim: int, *, compat: Compat | None, rngs: nnx.Rngs):
        self.compat_l1_gradient = compat == "gaug_joint"
        self.twice = compat == "gaug_dgl"
        self.kernel = parameter(_xavier_relu if self.twice else glorot_uniform, (in_dim, out_dim), rngs)
        if self.twice:
            self.bias = parameter(uniform_fan_in(in_dim), (out_dim,), rngs)

    def __call__(self, graph: Adjacency, x: Features) -> Float[Array, "nodes d"]:
        kernel = self.kernel[...]
        if not self.twice:
            return convolve(graph, x, kernel, "row", compat_l1_gradient=self.compat_l1_gradient)
        h = project(x, kernel)
        degrees = aggregate(graph, jnp.ones((h.shape[0], 1), h.dtype), "sum")
        return (aggregate(graph, h, "sum") + h) / (degrees + 1) + self.bias[...]


class GraphSAGE(nnx.Module):
    """GraphSAGE: `n_layers` hidden layers with ReLU and an output layer, dropout before every layer but the first.

    Args:
        in_dim: features F of a node.
        hidden: width of the hidden layers.
        out_dim: classes C.
        n_layers: hidden layers.
        dropout: rate.
        compat: None: Glorot-uniform kernels, no biases; `"gaug_joint"`: likewise, but a dense adjacency matrix gets the
            gradient of the authors' normaliser (see `normalize_dense`); `"gaug_dgl"`: biases, and the node itself
            counts twice in its mean, as in the authors' baselines and GAug-M.
        rngs: where parameters (stream `params`) and dropout (`dropout`) are drawn from.

    Raises:
        ValueError: a size below 1, a rate outside [0, 1), `compat` unknown.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        out_dim: int,
        n_layers: int = 1,
        dropout: Number = 0.5,
        *,
        compat: Compat | None = None,
        rngs: nnx.Rngs,
    ):
        check_classifier(in_dim, hidden, out_dim, n_layers, dropout, compat)
        self.layers = nnx.List(
            SAGELayer(inputs, outputs, compat=compat, rngs=rngs)
            for inputs, outputs in pairwise([in_dim, *[hidden] * n_layers, out_dim])
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(
        self, graph: Adjacency, x: Features, *, deterministic: bool | None = None, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "nodes classes"]:
        """Logits (N, C); the arguments are those of `GCN`."""
        first, *others = self.layers
        h = first(graph, x)
        for layer in others:
            h = layer(graph, drop(self.dropout, jax.nn.relu(h), deterministic, rngs))
        return h
