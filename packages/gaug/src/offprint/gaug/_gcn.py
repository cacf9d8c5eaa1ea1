"""Graph convolutional networks (Kipf and Welling, ICLR 2017)."""

from itertools import pairwise

import jax
from flax import nnx
from jaxtyping import Array, Float

from offprint.gaug._convolution import (
    Compat,
    Initializer,
    Number,
    check_classifier,
    convolve,
    drop,
    glorot_uniform,
    parameter,
    uniform_fan_out,
)
from offprint.gaug._features import Features
from offprint.gaug._normalize import Adjacency


class GCNLayer(nnx.Module):
    """Â x W + b with Â = D̃^-1/2 Ã D̃^-1/2.

    Args:
        in_dim: columns of x.
        out_dim: columns of the result.
        kernel_init: how W is drawn.
        bias_init: how b is drawn.
        rngs: where they are drawn from.
    """

    def __init__(self, in_dim: int, out_dim: int, *, kernel_init: Initializer, bias_init: Initializer, rngs: nnx.Rngs):
        self.kernel = parameter(kernel_init, (in_dim, out_dim), rngs)
        self.bias = parameter(bias_init, (out_dim,), rngs)

    def __call__(self, graph: Adjacency, x: Features) -> Float[Array, "nodes d"]:
        return convolve(graph, x, self.kernel[...], "sym") + self.bias[...]


class GCN(nnx.Module):
    """A GCN: `n_layers` hidden layers with ReLU and an output layer, dropout before every layer but the first.

    Args:
        in_dim: features F of a node.
        hidden: width of the hidden layers.
        out_dim: classes C.
        n_layers: hidden layers.
        dropout: rate.
        compat: None or `"gaug_joint"`: Glorot-uniform kernels and zero biases; `"gaug_dgl"`: kernels and biases
            uniform in ±1/√outputs, as the authors' baselines and GAug-M start.
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
        uniform = compat == "gaug_dgl"
        kernel_init = uniform_fan_out if uniform else glorot_uniform
        bias_init = uniform_fan_out if uniform else nnx.initializers.zeros
        self.layers = nnx.List(
            GCNLayer(inputs, outputs, kernel_init=kernel_init, bias_init=bias_init, rngs=rngs)
            for inputs, outputs in pairwise([in_dim, *[hidden] * n_layers, out_dim])
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(
        self, graph: Adjacency, x: Features, *, deterministic: bool | None = None, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "nodes classes"]:
        """Logits (N, C).

        Args:
            graph: a `Graph` without self-loops, a dense matrix with ones on its diagonal, or a sampled graph.
            x: features (N, F), dense or sparse.
            deterministic: no dropout; by default what `train()` and `eval()` have set.
            rngs: where dropout is drawn from, in place of the model's own stream.
        """
        first, *others = self.layers
        h = first(graph, x)
        for layer in others:
            h = layer(graph, drop(self.dropout, jax.nn.relu(h), deterministic, rngs))
        return h
