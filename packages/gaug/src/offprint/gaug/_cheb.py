"""Chebyshev networks (Defferrard et al., NeurIPS 2016)."""

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from offprint.gaug._convolution import Number, check_classifier, drop, glorot_uniform, parameter
from offprint.gaug._features import Features, project
from offprint.gaug._normalize import Adjacency, aggregate, inverse_root


class ChebLayer(nnx.Module):
    """Σ_k T_k(L̂) x W_k + b for k = 0..K-1, with L̂ = -D^-1/2 A D^-1/2 (largest eigenvalue of L taken as 2).

    Clenshaw's recurrence works on the columns of x W_k, so it aggregates K - 1 times whatever the width of x.

    Args:
        in_dim: columns of x.
        out_dim: columns of the result.
        k: terms K of the polynomial.
        rngs: where the parameters are drawn from.
    """

    def __init__(self, in_dim: int, out_dim: int, k: int, *, rngs: nnx.Rngs):
        self.kernels = nnx.List(parameter(glorot_uniform, (in_dim, out_dim), rngs) for _ in range(k))
        self.bias = parameter(nnx.initializers.zeros, (out_dim,), rngs)

    def __call__(self, graph: Adjacency, x: Features) -> Float[Array, "nodes d"]:
        terms = [project(x, kernel[...]) for kernel in self.kernels]
        # The graph brings the nodes' own loops along: what they add is taken off again.
        degrees = aggregate(graph, jnp.ones((x.shape[0], 1), terms[0].dtype), "sum") - 1
        scale = inverse_root(degrees)

        def laplacian(h: Array) -> Array:
            scaled = scale * h
            return -scale * (aggregate(graph, scaled, "sum") - scaled)

        if len(terms) == 1:
            return terms[0] + self.bias[...]
        after, later = terms[-1], jnp.zeros_like(terms[0])
        for term in terms[-2:0:-1]:
            after, later = term + 2 * laplacian(after) - later, after
        return terms[0] + laplacian(after) - later + self.bias[...]


class ChebNet(nnx.Module):
    """ChebNet: `n_layers` hidden layers with ReLU and an output layer, dropout before every layer but the first.

    Args:
        in_dim: features F of a node.
        hidden: width of the hidden layers.
        out_dim: classes C.
        n_layers: hidden layers.
        dropout: rate.
        k: terms of each polynomial: a layer reaches k - 1 steps.
        rngs: where parameters (stream `params`) and dropout (`dropout`) are drawn from.

    Raises:
        ValueError: a size below 1, a rate outside [0, 1).
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        out_dim: int,
        n_layers: int = 1,
        dropout: Number = 0.5,
        *,
        k: int = 3,
        rngs: nnx.Rngs,
    ):
        check_classifier(in_dim, hidden, out_dim, n_layers, dropout)
        if k < 1:
            raise ValueError(f"k={k}; at least 1 term is needed")
        self.layers = nnx.List(
            ChebLayer(inputs, outputs, k, rngs=rngs)
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
