"""A linear layer whose kernel is stored and multiplied in a sparse format."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from offprint.sparsity._matmul import matmul
from offprint.sparsity.formats import BlockELL, NMPacked
from offprint.sparsity.nnx._masked import as_mask

FORMATS = ("block", "nm")


class Layout(nnx.Variable):
    """Where the values of a sparse kernel stand: the format without its values. It is no parameter."""


class SparseLinear(nnx.Module):
    """`y = x @ W + bias` with W in a format that `offprint.sparsity.matmul` multiplies.

    Only the stored values are parameters, so gradients and the optimiser's state have their size: nothing dense is
    kept. The places are fixed; to change them, prune `dense()` anew.

    Args:
        in_features, out_features: sizes.
        mask: (in, out), True or 1 where a weight is kept. Blocks with a kept entry are stored and trained whole.
        format: `block` (`BlockELL`) or `nm` (`NMPacked`).
        block: sides of the blocks.
        nm: n and m.
        use_bias: whether there is a bias, which starts at 0.
        kernel_init: initialiser of the dense kernel from which the kept entries are taken.
        rngs: for the initial parameters.

    Raises:
        ValueError: unknown format, or a mask that does not fit the kernel or the n:m pattern.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        mask: Array | np.ndarray,
        format: str = "block",
        block: tuple[int, int] = (16, 16),
        nm: tuple[int, int] = (2, 4),
        use_bias: bool = True,
        kernel_init: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        init = nnx.initializers.lecun_normal() if kernel_init is None else kernel_init
        kernel = init(rngs.params(), (in_features, out_features), jnp.float32)
        keep = as_mask(mask, kernel.shape)
        if format == "block":
            weight: Any = BlockELL.from_dense(kernel, keep, block=block)
        elif format == "nm":
            weight = NMPacked.from_dense(kernel, keep, n=nm[0], m=nm[1])
        else:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, but is {format!r}")
        self.values = nnx.Param(weight.values)
        self.layout = Layout(weight.with_values(None))
        self.bias = nnx.Param(jnp.zeros(out_features, kernel.dtype)) if use_bias else None
        self.in_features, self.out_features = in_features, out_features

    @classmethod
    def from_linear(
        cls,
        linear: nnx.Linear,
        mask: Array | np.ndarray | None = None,
        *,
        format: str = "block",
        block: tuple[int, int] = (16, 16),
        nm: tuple[int, int] = (2, 4),
    ) -> "SparseLinear":
        """The sparse layer that computes what `linear` does with its kernel masked (default: where it is not zero)."""
        kernel = linear.kernel[...]
        layer = cls(
            *kernel.shape,
            mask=np.asarray(kernel) != 0 if mask is None else mask,
            format=format,
            block=block,
            nm=nm,
            use_bias=linear.bias is not None,
            kernel_init=lambda *_: kernel,
            rngs=nnx.Rngs(0),
        )
        if layer.bias is not None and linear.bias is not None:
            layer.bias[...] = linear.bias[...]
        return layer

    def weight(self) -> BlockELL | NMPacked:
        """The kernel in its format."""
        return self.layout.get_value().with_values(self.values[...])

    def dense(self) -> Float[Array, "in out"]:
        """The kernel as an array, with zeros where nothing is stored."""
        return self.weight().to_dense()

    def __call__(self, inputs: Float[Array | np.ndarray, "*batch in"]) -> Float[Array, "*batch out"]:
        """The output of the layer."""
        y = matmul(inputs, self.weight())
        return y if self.bias is None else y + jnp.asarray(self.bias[...])
