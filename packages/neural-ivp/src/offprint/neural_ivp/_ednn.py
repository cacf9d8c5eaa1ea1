"""The network of the Evolutional Deep Neural Network (Du and Zaki, Phys. Rev. E 104, 045303, 2021), as baseline."""

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from offprint.neural_ivp._bc import BoundaryCondition, ZeroDirichlet
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._embedding import embed, n_features
from offprint.neural_ivp._mlp import Layer, check_point, check_sizes, lifted


class EDNN(nnx.Module):
    """u(x) = G(x, t) + B(x) · (c · B(x) · MLP(ξ) + e): tanh layers on the coordinates themselves, B applied twice.

    It is the baseline that the paper compares with: no sinusoidal features, an MLP for each field. In a box with
    periodic or Neumann directions the inputs are one sine and cosine of each coordinate.

    Args:
        domain: the box.
        out_features: fields k.
        width: units of each hidden layer.
        depth: hidden layers.
        bc: boundary conditions; zero on all faces by default.
        param_dtype: of the weights; the default float dtype when None.
        rngs: where the weights are drawn from.

    Raises:
        ValueError: a size below 1, or boundary conditions of another number of directions.
    """

    def __init__(
        self,
        domain: Box,
        out_features: int = 1,
        width: int = 30,
        depth: int = 4,
        bc: BoundaryCondition | None = None,
        param_dtype: jnp.dtype | type | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        check_sizes({"out_features": out_features, "width": width, "depth": depth})
        self.domain, self.bc = domain, ZeroDirichlet() if bc is None else bc
        self.out_features, self.width, self.depth, self.blocks = out_features, width, depth, out_features
        self.param_dtype = jax.dtypes.canonicalize_dtype(float if param_dtype is None else param_dtype)
        sizes = [n_features(self._faces, 1) if self._wraps else domain.dim, *[width] * depth, 1]
        self.layers = nnx.List(
            Layer(self.blocks, n_in, n_out, param_dtype=self.param_dtype, rngs=rngs) for n_in, n_out in pairwise(sizes)
        )
        self.output = Layer(self.blocks, 1, 1, param_dtype=self.param_dtype, rngs=rngs)

    @property
    def _faces(self) -> tuple:
        return self.bc.faces(self.domain.dim)

    @property
    def _wraps(self) -> bool:
        return any({"periodic", "neumann"} & set(pair) for pair in self._faces)

    def __call__(self, x: Float[Array, " d"], t: float | int | Float[Array, ""] = 0.0) -> Float[Array, " k"]:
        """The fields (k,) at one point x (d,); t matters to time-dependent boundary values alone.

        Raises:
            ValueError: x is not one point of the domain.
        """
        check_point(x, self.domain)
        own = x.astype(self.param_dtype)
        y = embed(self.domain, self._faces, own, 1, 0.0, 1.0) if self._wraps else self.domain.normalize(own)
        *hidden, head = self.layers
        for layer in hidden:
            y = jnp.tanh(layer(y))
        factor = self.bc.factor(self.domain, own)
        return lifted(self.bc, factor * self.output(factor * head(y)).reshape(-1), x, t)

    def fresh(self, rngs: nnx.Rngs) -> "EDNN":
        """A network of the same kind with new random weights."""
        sizes = (self.out_features, self.width, self.depth)
        return EDNN(self.domain, *sizes, self.bc, self.param_dtype, rngs=rngs)
