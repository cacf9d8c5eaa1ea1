"""Predict, then propagate: APPNP (Gasteiger et al., ICLR 2019)."""

from itertools import pairwise

import jax
from flax import nnx
from jaxtyping import Array, Float

from offprint.gaug._convolution import Number, check_classifier, drop, glorot_uniform, parameter
from offprint.gaug._features import Features, project
from offprint.gaug._normalize import Adjacency, aggregate


class APPNP(nnx.Module):
    """A perceptron's logits H, spread by personalised PageRank: Z <- (1 - α) Â Z + α H, `steps` times from Z = H.

    The perceptron has `n_layers` hidden layers with ReLU; dropout acts before every layer but the first.

    Args:
        in_dim: features F of a node.
        hidden: width of the hidden layers.
        out_dim: classes C.
        n_layers: hidden layers.
        dropout: rate.
        alpha: α, the probability to return to the node, in [0, 1].
        steps: rounds of message passing.
        rngs: where parameters (stream `params`) and dropout (`dropout`) are drawn from.

    Raises:
        ValueError: a size below 1, a rate outside [0, 1), α outside [0, 1].

    Source: Eq. 5 there.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        out_dim: int,
        n_layers: int = 1,
        dropout: Number = 0.5,
        *,
        alpha: Number = 0.1,
        steps: int = 10,
        rngs: nnx.Rngs,
    ):
        check_classifier(in_dim, hidden, out_dim, n_layers, dropout)
        if not 0 <= alpha <= 1 or steps < 1:
            raise ValueError(f"alpha={alpha} and steps={steps}; alpha in [0, 1] and at least 1 step are needed")
        self.alpha, self.steps = alpha, steps
        sizes = list(pairwise([in_dim, *[hidden] * n_layers, out_dim]))
        self.kernels = nnx.List(parameter(glorot_uniform, size, rngs) for size in sizes)
        self.biases = nnx.List(parameter(nnx.initializers.zeros, size[1:], rngs) for size in sizes)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(
        self, graph: Adjacency, x: Features, *, deterministic: bool | None = None, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "nodes classes"]:
        """Logits (N, C); the arguments are those of `GCN`."""
        h = project(x, self.kernels[0][...]) + self.biases[0][...]
        for kernel, bias in zip(self.kernels[1:], self.biases[1:]):
            h = project(drop(self.dropout, jax.nn.relu(h), deterministic, rngs), kernel[...]) + bias[...]
        z = h
        for _ in range(self.steps):
            z = (1 - self.alpha) * aggregate(graph, z, "sym") + self.alpha * h
        return z
