"""Graph attention networks (Veličković et al., ICLR 2018), with a gradient for the adjacency matrix."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from offprint.gaug._convolution import Compat, Number, check_classifier, drop, glorot_uniform, parameter
from offprint.gaug._features import Features, project
from offprint.gaug._graph import Graph

_SLOPE = 0.2
_CEILING = 30.0  # of exponents of absent edges: their weight is 0, but their gradient must stay finite
_xavier_normal_relu = nnx.initializers.variance_scaling(2.0, "fan_avg", "normal")  # Glorot-normal times √2


class GATLayer(nnx.Module):
    """Σ_j α_ijk x_j W_k + b for every head k, with attention over the node itself and its neighbours.

    α_ijk is in proportion to a_ij exp(leaky_relu(x_i W_k · l_k + x_j W_k · r_k)): the entry a_ij of the adjacency
    matrix counts as a factor, so that an edge of weight 0 is none, weights are used, and the loss has a gradient with
    respect to every a_ij, those of absent edges too.

    Args:
        in_dim: columns of x.
        out_dim: columns of each head.
        heads: heads, whose outputs stand side by side.
        dropout: rate for attention coefficients.
        compat: as in `GAT`.
        mask_gradient: whether a dense adjacency matrix gets a gradient.
        rngs: where parameters and dropout are drawn from.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        heads: int,
        dropout: Number,
        *,
        compat: Compat | None,
        mask_gradient: bool,
        rngs: nnx.Rngs,
    ):
        self.heads, self.shared, self.mask_gradient = heads, compat == "gaug_joint", mask_gradient
        init = _xavier_normal_relu if compat == "gaug_dgl" else glorot_uniform
        width = out_dim if self.shared else heads * out_dim
        self.kernel = parameter(init, (in_dim, width), rngs)
        self.receive = parameter(init, (heads, out_dim), rngs)
        self.send = parameter(init, (heads, out_dim), rngs)
        if compat != "gaug_dgl":
            self.bias = parameter(nnx.initializers.zeros, (width,), rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(
        self,
        graph: Graph | Float[Array | np.ndarray, "nodes nodes"],
        x: Features,
        *,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "nodes d"]:
        h = project(x, self.kernel[...]).reshape(x.shape[0], 1 if self.shared else self.heads, -1)
        received = (h * self.receive[...]).sum(-1)
        sent = (h * self.send[...]).sum(-1)
        if isinstance(graph, Graph):
            attend = partial(self.dropout, deterministic=deterministic, rngs=rngs)
            out = _attend_sparse(graph, h, received, sent, attend)
        else:
            adjacency = jnp.asarray(graph) if self.mask_gradient else jax.lax.stop_gradient(jnp.asarray(graph))
            out = _attend_dense(adjacency, h, received, sent, self.dropout.rate, self._key(deterministic, rngs))
        if hasattr(self, "bias"):
            out = out + self.bias[...].reshape(h.shape[1:])
        return out.reshape(out.shape[0], -1)

    def _key(self, deterministic: bool | None, rngs: nnx.Rngs | None) -> Array | None:
        """A key for the dropout of a dense attention matrix, whose heads are worked on one after another."""
        off = self.dropout.deterministic if deterministic is None else deterministic
        if off or self.dropout.rate == 0:
            return None
        return self.dropout.rngs() if rngs is None else rngs.dropout()


def _attend_sparse(graph: Graph, h: Array, received: Array, sent: Array, attend: Callable[[Array], Array]) -> Array:
    """(N, K, d): attention over the edges and, apart from them, every node's own loop."""

    def segments(reduce: Callable[..., Array], values: Array) -> Array:
        return reduce(values, graph.receivers, graph.num_nodes, indices_are_sorted=True)

    score = jax.nn.leaky_relu(received[graph.receivers] + sent[graph.senders], _SLOPE)
    own = jax.nn.leaky_relu(received + sent, _SLOPE)
    present = graph.edge_mask[:, None]
    largest = segments(jax.ops.segment_max, jnp.where(present, score, -jnp.inf))
    largest = jax.lax.stop_gradient(jnp.maximum(largest, own))
    exponent = jnp.where(present, score - largest[graph.receivers], 0)
    share = jnp.where(present, graph.weights[:, None] * jnp.exp(exponent), 0)
    own = jnp.exp(own - largest)
    total = segments(jax.ops.segment_sum, share) + own
    share, own = attend(share / total[graph.receivers]), attend(own / total)
    return segments(jax.ops.segment_sum, share[:, :, None] * h[graph.senders]) + own[:, :, None] * h


def _attend_dense(adjacency: Array, h: Array, received: Array, sent: Array, rate: Number, key: Array | None) -> Array:
    """(N, K, d): attention over the entries of a matrix, head after head, so that one N x N array lives at a time."""
    heads = received.shape[1]
    keys = None if key is None else jax.random.split(key, heads)

    @jax.checkpoint
    def attend(adjacency: Array, h: Array, received: Array, sent: Array, key: Array | None) -> Array:
        score = jax.nn.leaky_relu(received[:, None] + sent, _SLOPE)
        largest = jnp.where(adjacency > 0, score, -jnp.inf).max(1, keepdims=True)
        exponent = jnp.minimum(score - jax.lax.stop_gradient(largest), _CEILING)
        share = adjacency * jnp.exp(exponent)
        share = share / share.sum(1, keepdims=True)
        if key is not None:
            share = jnp.where(jax.random.bernoulli(key, 1 - rate, share.shape), share / (1 - rate), 0)
        return share @ h

    def one_head(inputs: tuple[Array, Array, Array, Array | None]) -> Array:
        return attend(adjacency, *inputs)

    by_head = jnp.broadcast_to(h.swapaxes(0, 1), (heads, h.shape[0], h.shape[2]))
    return jax.lax.map(one_head, (by_head, received.T, sent.T, keys)).swapaxes(0, 1)


class GAT(nnx.Module):
    """GAT: `n_layers` hidden layers of several heads with ELU, and an output layer of one head.

    Args:
        in_dim: features F of a node.
        hidden: width of the hidden layers, all heads together.
        out_dim: classes C.
        n_layers: hidden layers.
        dropout: rate, for the features before every layer and for the attention coefficients.
        heads: heads of the hidden layers. The authors keep 16 columns each: 2 heads go with hidden=32.
        compat: None: every head has its own projection; `"gaug_joint"`: the heads of a layer share one projection, and
            there is no dropout of the raw features; `"gaug_dgl"`: as None but without biases and with the wider start
            of the authors' baselines.
        gat_mask_gradient: whether a dense adjacency matrix, as GAug-O samples it, gets a gradient; False as in the
            authors' code, where attention reads the places of edges only.
        rngs: where parameters (stream `params`) and dropout (`dropout`) are drawn from.

    Raises:
        ValueError: a size below 1, heads that do not divide `hidden`, a rate outside [0, 1), `compat` unknown.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int,
        out_dim: int,
        n_layers: int = 1,
        dropout: Number = 0.6,
        *,
        heads: int = 8,
        compat: Compat | None = None,
        gat_mask_gradient: bool = True,
        rngs: nnx.Rngs,
    ):
        check_classifier(in_dim, hidden, out_dim, n_layers, dropout, compat)
        if heads < 1 or hidden % heads:
            raise ValueError(f"heads={heads} do not divide hidden={hidden}; each head needs the same width")
        make = partial(GATLayer, dropout=dropout, compat=compat, mask_gradient=gat_mask_gradient, rngs=rngs)
        sizes = pairwise([in_dim, *[hidden] * n_layers])
        self.layers = nnx.List(make(inputs, outputs // heads, heads) for inputs, outputs in sizes)
        self.layers.append(make(hidden, out_dim, 1))
        self.input_dropout = compat != "gaug_joint"
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(
        self,
        graph: Graph | Float[Array | np.ndarray, "nodes nodes"],
        x: Features,
        *,
        deterministic: bool | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "nodes classes"]:
        """Logits (N, C).

        Args:
            graph: a `Graph` without self-loops or a dense matrix with ones on its diagonal.
            x: features (N, F), dense or sparse.
            deterministic: no dropout; by default what `train()` and `eval()` have set.
            rngs: where dropout is drawn from, in place of the model's own streams.

        Raises:
            ValueError: a sampled graph, whose exact gradient attention does not allow.
        """
        if not isinstance(graph, Graph) and not hasattr(graph, "shape"):
            raise ValueError(
                f"attention cannot work on a {type(graph).__name__}; give it a Graph or a dense adjacency matrix "
                "(for GAug-O: the dense backend), or take another classifier"
            )
        first, *others = self.layers
        given = drop(self.dropout, x, deterministic, rngs) if self.input_dropout else x
        h = first(graph, given, deterministic=deterministic, rngs=rngs)
        for layer in others:
            dropped = drop(self.dropout, jax.nn.elu(h), deterministic, rngs)
            h = layer(graph, dropped, deterministic=deterministic, rngs=rngs)
        return h
