"""Layers that learn the threshold of their weights (`kusupati2020str`)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from offprint.sparsity._str import STR_INIT, soft_threshold_reparam
from offprint.sparsity.nnx._learned import Inputs, Learned


class _STR(Learned):
    """The threshold; `threshold` is a scalar parameter, which must be in the optimiser's weight decay."""

    threshold: nnx.Param

    def _start(self, threshold_init: float | int, g: Callable[[Array], Array]) -> None:
        self.threshold = nnx.Param(jnp.asarray(threshold_init, self.kernel[...].dtype))
        self.g = g

    def hardened(self) -> tuple[Float[Array, "..."], Float[Array, " out"] | None]:
        """The thresholded kernel and the bias."""
        return soft_threshold_reparam(self.kernel[...], self.threshold[...], self.g), self._bias()

    def __call__(self, inputs: Inputs, out_sharding: Any = None) -> Float[Array, "*positions out"]:
        """The output with the thresholded kernel, in training as in evaluation."""
        return self._evaluate(inputs, out_sharding)


class STRLinear(_STR, nnx.Linear):
    """`nnx.Linear` with the kernel `sign(w) relu(|w| - g(s))`, s learnt; weight decay on s and w sets the sparsity.

    Check the optimiser with `check_str_decay`: s starts where its gradient is zero, and only decay moves it.

    Args:
        in_features, out_features: sizes.
        threshold_init: initial s; the paper's ResNet-50 starts at -3200, with weight decay 2.25e-5 for 90 % and a
            learning rate of 0.256. A short training needs a start nearer to 0, such as -10.
        g: from s to the threshold.
        rngs: for the initial parameters.
        **options: further arguments of `nnx.Linear`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        threshold_init: float | int = STR_INIT,
        g: Callable[[Array], Array] = jax.nn.sigmoid,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Linear.__init__(self, in_features, out_features, rngs=rngs, **options)
        self._start(threshold_init, g)


class STRConv(_STR, nnx.Conv):
    """`nnx.Conv` with a learnt threshold for its kernel; see `STRLinear`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] | None = 1,
        *,
        threshold_init: float | int = STR_INIT,
        g: Callable[[Array], Array] = jax.nn.sigmoid,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Conv.__init__(self, in_features, out_features, kernel_size, strides, rngs=rngs, **options)
        self._start(threshold_init, g)
