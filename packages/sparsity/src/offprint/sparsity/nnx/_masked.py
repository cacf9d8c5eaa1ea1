"""Layers with a fixed mask on their kernel."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from offprint.sparsity._apply import as_masks
from offprint.sparsity.nnx._learned import Inputs, Learned


class Mask(nnx.Variable):
    """A boolean mask, True where a weight is kept. It is no parameter: optimisers on `nnx.Param` do not see it."""


def as_mask(mask: Array | np.ndarray, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """`mask` as booleans; ValueError if it has another shape than the kernel, or values other than 0 and 1."""
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"the mask must have the shape of the kernel, {tuple(shape)}, not {tuple(mask.shape)}")
    return as_masks({"mask": mask})["mask"]


class _Masked(Learned):
    keep: Mask

    def _start(self, mask: Array | np.ndarray | None) -> None:
        shape = self.kernel.shape
        self.keep = Mask(jnp.ones(shape, bool) if mask is None else as_mask(mask, shape))

    def kept(self) -> Bool[Array, "..."]:
        """The mask."""
        return self.keep[...]

    def hardened(self) -> tuple[Float[Array, "..."], Float[Array, " out"] | None]:
        """The kernel, 0 where it is masked, and the bias."""
        return jnp.where(self.keep[...], self.kernel[...], 0), self._bias()

    def __call__(self, inputs: Inputs, out_sharding: Any = None) -> Float[Array, "*positions out"]:
        """The output with the masked kernel; the gradient of a masked weight is 0."""
        return self._evaluate(inputs, out_sharding)


class MaskedLinear(_Masked, nnx.Linear):
    """`nnx.Linear` with a mask on its kernel: `y = x @ where(keep, kernel, 0) + bias`.

    Args:
        in_features, out_features: sizes.
        mask: (in, out), True or 1 where a weight is kept; default: all. Changed later by `set_masks`.
        rngs: for the initial parameters.
        **options: further arguments of `nnx.Linear`.

    Raises:
        ValueError: a mask of another shape, or with values other than 0 and 1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        mask: Array | np.ndarray | None = None,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Linear.__init__(self, in_features, out_features, rngs=rngs, **options)
        self._start(mask)


class MaskedConv(_Masked, nnx.Conv):
    """`nnx.Conv` with a mask on its kernel (HWIO), as `MaskedLinear`.

    Unlike the `mask` of `nnx.Conv`, which is multiplied, this one is a variable of the model: it is saved with it and
    can change without compiling anew.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] | None = 1,
        *,
        mask: Array | np.ndarray | None = None,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Conv.__init__(self, in_features, out_features, kernel_size, strides, rngs=rngs, **options)
        self._start(mask)
