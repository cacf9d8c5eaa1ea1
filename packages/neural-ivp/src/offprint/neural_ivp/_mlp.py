"""The network of the paper: sinusoidal features, an MLP for each field, a factor for the boundary."""

from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.neural_ivp._bc import BoundaryCondition, ZeroDirichlet
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._embedding import embed, n_features
from offprint.neural_ivp._functional import Chain

Activation = Callable[[Array], Array]


class Layer(nnx.Module):
    """y W + b for several networks at once, each with its own W and b.

    W is drawn from a normal distribution cut at two standard deviations and scaled by 1/√inputs, *without* the
    correction of the variance by which `flax.linen.initializers.lecun_normal` undoes the cut (its deviation is
    therefore 0.88/√inputs); b is zero.

    Args:
        blocks: how many networks.
        in_features: inputs of each.
        out_features: outputs of each.
        param_dtype: of W and b.
        rngs: where W is drawn from.
    """

    def __init__(self, blocks: int, in_features: int, out_features: int, *, param_dtype: jnp.dtype, rngs: nnx.Rngs):
        self.bias = nnx.Param(jnp.zeros((blocks, out_features), param_dtype))
        self.kernel = nnx.Param(_truncated_normal(rngs.params(), (blocks, in_features, out_features), param_dtype))

    def __call__(self, y: Float[Array, "*blocks inputs"]) -> Float[Array, "blocks outputs"]:
        """(blocks, inputs), or inputs (inputs,) that all networks share, to (blocks, outputs)."""
        inputs = "i" if y.ndim == 1 else "bi"
        return jnp.einsum(f"{inputs},bio->bo", y, self.kernel[...]) + self.bias[...]


class SinusoidalMLP(nnx.Module):
    """u(x) = G(x, t) + B(x) · MLP(c₂ · emb(x)) (paper, sec. 4), for one point x at a time.

    Every field has an MLP of its own, so the Gram matrix of the projection is block diagonal; `shared_trunk` gives
    one MLP with as many outputs as there are fields.

    Args:
        domain: the box; coordinates are normalised to [-1, 1].
        out_features: fields k.
        width: units of each hidden layer.
        depth: hidden layers.
        n_freq: frequencies L of the embedding.
        alpha: decay of its amplitudes with the frequency; see
            [`sinusoidal_embedding`][offprint.neural_ivp.sinusoidal_embedding].
        embed_gain: factor (c₁, c₂) of the amplitudes and of the features as a whole.
        bc: boundary conditions; zero on all faces by default.
        shared_trunk: one MLP for all fields.
        activation: of the hidden layers; swish, σ(z) z, in the paper.
        param_dtype: of the weights and of the network's arithmetic; the default float dtype when None. The weights
            that are integrated in time are kept in float64 (where x64 is enabled) whatever this is.
        rngs: where the weights are drawn from.

    Raises:
        ValueError: a size below 1, or boundary conditions of another number of directions.
    """

    def __init__(
        self,
        domain: Box,
        out_features: int = 1,
        width: int = 100,
        depth: int = 3,
        n_freq: int = 5,
        alpha: float | int = 1.0,
        embed_gain: tuple[float | int, float | int] = (4.0, 1.5),
        bc: BoundaryCondition | None = None,
        shared_trunk: bool = False,
        activation: Activation = jax.nn.swish,
        param_dtype: jnp.dtype | type | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        sizes = {"out_features": out_features, "width": width, "depth": depth, "n_freq": n_freq}
        check_sizes(sizes)
        self.domain, self.bc = domain, ZeroDirichlet() if bc is None else bc
        self.out_features, self.width, self.depth, self.n_freq = out_features, width, depth, n_freq
        self.alpha, self.embed_gain = alpha, (embed_gain[0], embed_gain[1])
        self.shared_trunk, self.activation = shared_trunk, activation
        self.param_dtype = jax.dtypes.canonicalize_dtype(float if param_dtype is None else param_dtype)
        self.blocks = 1 if shared_trunk else out_features
        inputs = n_features(self.bc.faces(domain.dim), n_freq)
        head = out_features if shared_trunk else 1
        self.layers = nnx.List(
            Layer(self.blocks, n_in, n_out, param_dtype=self.param_dtype, rngs=rngs)
            for n_in, n_out in pairwise([inputs, *[width] * depth, head])
        )

    def __call__(self, x: Float[Array, " d"], t: float | int | Float[Array, ""] = 0.0) -> Float[Array, " k"]:
        """The fields (k,) at one point x (d,); t matters to time-dependent boundary values alone.

        Raises:
            ValueError: x is not one point of the domain.
        """
        check_point(x, self.domain)
        y = self.features(x)
        *hidden, head = self.layers
        for layer in hidden:
            y = self.activation(layer(y))
        return lifted(self.bc, self.factor(x) * head(y).reshape(-1), x, t)

    def features(self, x: Float[Array, " d"]) -> Float[Array, " features"]:
        """The inputs c₂·emb(x) of the first layer."""
        gain, scale = self.embed_gain
        faces = self.bc.faces(self.domain.dim)
        return scale * embed(self.domain, faces, x.astype(self.param_dtype), self.n_freq, self.alpha, gain)

    def factor(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        """B(x)."""
        return self.bc.factor(self.domain, x.astype(self.param_dtype))

    def chain(self) -> Chain:
        """The layers, for products with the Jacobian layer by layer."""
        layers = [(layer.kernel[...], layer.bias[...]) for layer in self.layers]
        return Chain(layers, self.activation, self.features, self.factor)

    def fresh(self, rngs: nnx.Rngs) -> "SinusoidalMLP":
        """A network of the same kind with new random weights, as restarts need it."""
        return SinusoidalMLP(
            self.domain,
            self.out_features,
            self.width,
            self.depth,
            self.n_freq,
            self.alpha,
            self.embed_gain,
            self.bc,
            self.shared_trunk,
            self.activation,
            self.param_dtype,
            rngs=rngs,
        )


def check_sizes(sizes: dict[str, int]) -> None:
    """Raises: ValueError: a size of a network is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, but is {size}")


def check_point(x: Array, domain: Box) -> None:
    """Raises: ValueError: x is not one point of the domain."""
    if x.shape != (domain.dim,):
        raise ValueError(
            f"the network takes one point x of shape ({domain.dim},), as its domain has {domain.dim} coordinates, but "
            f"x has shape {x.shape}; for many points use jax.vmap(model)(X)"
        )


def lifted(bc: BoundaryCondition, u: Float[Array, " k"], x: Array, t: Array | float | int) -> Float[Array, " k"]:
    """u + G(x, t)."""
    return u if bc.lifting is None else u + jnp.asarray(bc.lifting(x, t)).astype(u.dtype)


def _truncated_normal(key: PRNGKeyArray, shape: tuple[int, int, int], dtype: jnp.dtype) -> Float[Array, "..."]:
    return jax.random.truncated_normal(key, -2, 2, shape, dtype) / jnp.sqrt(jnp.asarray(shape[1], dtype))
