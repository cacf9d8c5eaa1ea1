"""The edge predictor: a graph auto-encoder whose inner products score pairs of nodes."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from offprint.gaug._normalize import Adjacency, aggregate

Variant = Literal["joint", "standalone"]
_WIDTHS: dict[str, tuple[int, int]] = {"joint": (128, 32), "standalone": (32, 16)}


class Embedding(NamedTuple):
    """What the edge predictor says of every node."""

    z: Float[Array, "nodes embed"]
    """The embedding Z; the logit of an edge i - j is z_i · z_j."""
    mean: Float[Array, "nodes embed"]
    """μ; the same as `z` unless noise was added."""
    log_std: Float[Array, "nodes embed"] | None
    """log σ of a variational predictor, else None."""


class EdgePredictor(nnx.Module):
    """Two graph convolutions from features to an embedding Z: a (variational) graph auto-encoder.

    With Â = D̃^-1/2 (A + I) D̃^-1/2:

        H = act0(Â X W0),  Z = act1(Â H W1)                             auto-encoder
        μ = act1(Â H W1),  log σ = act1(Â H W2),  Z = μ + ε ⊙ exp(log σ)    variational, ε ~ N(0, I)

    | variant | act0 | act1 | hidden, embed | made for |
    | --- | --- | --- | --- | --- |
    | `"joint"` | identity | ReLU | 128, 32 | training together with the classifier (GAug-O) |
    | `"standalone"` | ELU | identity | 32, 16 | scores for changing the graph once (GAug-M) |

    Args:
        in_dim: F, features of a node.
        hidden: h; by default as in the table.
        embed: width of Z; by default as in the table.
        variant: which activations.
        variational: learn log σ as well.
        param_dtype: of the weights, which start Glorot-uniform.
        rngs: its key `params` is used.

    Raises:
        ValueError: a width below 1 or an unknown variant.

    Source: section "Edge predictor" of the paper; Kipf and Welling, "Variational Graph Auto-Encoders", 2016. The two
    sets of activations are those of the authors' code.
    """

    def __init__(
        self,
        in_dim: int,
        hidden: int | None = None,
        embed: int | None = None,
        variant: Variant = "joint",
        variational: bool = False,
        *,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if variant not in get_args(Variant):
            raise ValueError(f"variant {variant!r} is unknown; one of {', '.join(get_args(Variant))} is needed")
        hidden = _WIDTHS[variant][0] if hidden is None else hidden
        embed = _WIDTHS[variant][1] if embed is None else embed
        for name, width in (("in_dim", in_dim), ("hidden", hidden), ("embed", embed)):
            if width < 1:
                raise ValueError(f"{name} must be at least 1, but is {width}")

        def weights(rows: int, columns: int) -> nnx.Param[Array]:
            return nnx.Param(jax.nn.initializers.glorot_uniform()(rngs.params(), (rows, columns), param_dtype))

        self.variant = variant
        self.base = weights(in_dim, hidden)
        self.mean = weights(hidden, embed)
        self.log_std = weights(hidden, embed) if variational else None

    def __call__(
        self,
        graph: Adjacency,
        x: Any,
        noise_or_key: Float[Array | np.ndarray, "nodes embed"] | Key[Array, ""] | None = None,
    ) -> Embedding:
        """The embedding of every node.

        Args:
            graph: a `Graph` without self-loops, or a dense adjacency matrix (N, N) with ones on the diagonal.
            x: features (N, F).
            noise_or_key: of a variational predictor: ε (N, embed), or a key to draw it from; None takes Z = μ.

        Raises:
            ValueError: noise for a predictor that is not variational, or of the wrong shape.
        """
        act0, act1 = (jnp.asarray, jax.nn.relu) if self.variant == "joint" else (jax.nn.elu, jnp.asarray)
        hidden = act0(aggregate(graph, x @ self.base[...], "sym"))
        mean = act1(aggregate(graph, hidden @ self.mean[...], "sym"))
        if self.log_std is None:
            if noise_or_key is not None:
                raise ValueError("noise was given, but this edge predictor is not variational: set variational=True")
            return Embedding(mean, mean, None)
        log_std = act1(aggregate(graph, hidden @ self.log_std[...], "sym"))
        if noise_or_key is None:
            return Embedding(mean, mean, log_std)
        return Embedding(mean + _noise(noise_or_key, mean) * jnp.exp(log_std), mean, log_std)


def _noise(noise_or_key: Any, mean: Array) -> Array:
    if jnp.issubdtype(noise_or_key.dtype, jax.dtypes.prng_key):
        return jax.random.normal(noise_or_key, mean.shape, mean.dtype)
    if noise_or_key.shape != mean.shape:
        raise ValueError(f"noise has shape {noise_or_key.shape}, but the embedding has {mean.shape}")
    return jnp.asarray(noise_or_key, mean.dtype)
