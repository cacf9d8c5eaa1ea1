"""The network as a flax module."""

import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.resnet_scaling._forward import Activation, Remat, sigma_of
from offprint.resnet_scaling._network import Delta, ResNetParams, delta_kind, init_params, resnet_apply


class DeepResNet(nnx.Module):
    """A residual network of `depth` layers of width `dim`: h_{k+1} = h_k + L^{-α} δ_k σ(h_k A_k + b_k), k = 0 ... L-1.

    `A` (L, d, d), `b` (L, d) and `delta` ((1,), (L,) or (0,)) are `nnx.Param`.

    Args:
        dim: width d of inputs and outputs.
        depth: number of layers L.
        activation: "tanh", "relu", "identity", or an elementwise function.
        delta: "shared" (one trained multiplier, taken as |δ|), "multi" (one, signed, for each layer), "none" (1), or
            a fixed number.
        init, initial_sd, hurst: the law at initialisation, see `init_params`.
        alpha: multiplies every layer by L^{-α} besides; 1/2 and 1 are the scalings of the SDE and the ODE limit for
            weights of order one.
        dtype: floating-point type of the parameters; JAX's default when None.
        rngs: the stream `params` is used.

    Raises:
        ValueError: an unknown option, or a size below 1.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        *,
        activation: Activation = "tanh",
        delta: Delta = "shared",
        init: str = "xavier",
        initial_sd: float | int | None = None,
        hurst: float | int = 0.7,
        alpha: float | int | None = None,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        sigma_of(activation)
        delta_kind(delta)
        params = init_params(
            rngs.params(), depth, dim, delta=delta, init=init, initial_sd=initial_sd, hurst=hurst, dtype=dtype
        )
        self.dim, self.depth = dim, depth
        self.activation, self.delta_type, self.alpha = activation, delta, alpha
        self.A, self.b, self.delta = (nnx.Param(array) for array in params)

    @property
    def params(self) -> ResNetParams:
        """The parameters as the functions of this package take them."""
        return ResNetParams(self.A[...], self.b[...], self.delta[...])

    def __call__(
        self,
        x: Float[Array, "*batch dim"] | Float[np.ndarray, "*batch dim"],
        *,
        mode: str = "scan",
        remat: Remat = None,
        unroll: int = 1,
        return_hidden: bool | int = False,
    ) -> Float[Array, "*batch dim"] | tuple[Float[Array, "*batch dim"], Float[Array, "kept *batch dim"]]:
        """h_L of inputs in rows; see `resnet_apply` for the options."""
        return resnet_apply(
            self.params,
            x,
            activation=self.activation,
            delta=self.delta_type,
            alpha=self.alpha,
            mode=mode,
            remat=remat,
            unroll=unroll,
            return_hidden=return_hidden,
        )
