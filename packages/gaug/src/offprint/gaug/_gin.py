"""Graph isomorphism networks (Xu et al., ICLR 2019), for nodes."""

from itertools import pairwise

import jax
from flax import nnx
from jaxtyping import Array, Float

from offprint.gaug._convolution import Number, check_classifier, drop, glorot_uniform, parameter
from offprint.gaug._features import Features, project
from offprint.gaug._normalize import Adjacency, aggregate


class GINLayer(nnx.Module):
    """MLP((1 + ε) x_i + Σ_j x_j): a hidden layer with ReLU and an output layer, ε learnt from 0.

    Args:
        in_dim: columns of x.
        hidden: width of the MLP's hidden layer.
        out_dim: columns of the result.
        rngs: where the parameters are drawn from.
    """

    def __init__(self, in_dim: int, hidden: int, out_dim: int, *, rngs: nnx.Rngs):
        self.epsilon = parameter(nnx.initializers.zeros, (), rngs)
        self.kernel1 = parameter(glorot_uniform, (in_dim, hidden), rngs)
        self.bias1 = parameter(nnx.initializers.zeros, (hidden,), rngs)
        self.kernel2 = parameter(glorot_uniform, (hidden, out_dim), rngs)
        self.bias2 = parameter(nnx.initializers.zeros, (out_dim,), rngs)

    def __call__(self, graph: Adjacency, x: Features) -> Float[Array, "nodes d"]:
        h = project(x, self.kernel1[...])  # linear, so it may come before the sum
        h = aggregate(graph, h, "sum") + self.epsilon[...] * h + self.bias1[...]
        return jax.nn.relu(h) @ self.kernel2[...] + self.bias2[...]


class GIN(nnx.Module):
    """GIN: `n_layers` hidden layers with ReLU and an output layer, dropout before every layer but the first.

    Sums over neighbours grow with the degree: where degrees reach hundreds, a lower learning rate is needed.

    Args:
        in_dim: features F of a node.
        hidden: width of the hidden layers and of every layer's MLP.
        out_dim: classes C.
        n_layers: hidden layers.
        dropout: rate.
        rngs: where parameters (stream `params`) and dropout (`dropout`) are drawn from.

    Raises:
        ValueError: a size below 1, a rate outside [0, 1).

    Source: Eq. 4.1 there.
    """

    def __init__(
        self, in_dim: int, hidden: int, out_dim: int, n_layers: int = 1, dropout: Number = 0.5, *, rngs: nnx.Rngs
    ):
        check_classifier(in_dim, hidden, out_dim, n_layers, dropout)
        self.layers = nnx.List(
            GINLayer(inputs, hidden, outputs, rngs=rngs)
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
