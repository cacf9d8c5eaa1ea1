"""Layers with powerpropagated weights (`schwarz2021powerprop`)."""

from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from offprint.sparsity._powerprop import powerprop, powerprop_init
from offprint.sparsity.nnx._learned import Inputs, Learned


class _Powerprop(Learned):
    """`kernel` holds θ; the weight is `θ |θ|^(α-1)`."""

    def _start(self, alpha: float | int) -> None:
        self.kernel[...] = powerprop_init(self.kernel[...], alpha)
        self.alpha = alpha

    def hardened(self) -> tuple[Float[Array, "..."], Float[Array, " out"] | None]:
        """The weights and the bias. Nothing is zero by itself: prune θ or w by magnitude, in the same order."""
        return powerprop(self.kernel[...], self.alpha), self._bias()

    def __call__(self, inputs: Inputs, out_sharding: Any = None) -> Float[Array, "*positions out"]:
        """The output with the weights."""
        return self._evaluate(inputs, out_sharding)


class PowerpropLinear(_Powerprop, nnx.Linear):
    """`nnx.Linear` with the kernel `θ |θ|^(α-1)`, initialised so that the weights are those of `nnx.Linear`.

    Large weights learn fast and small ones hardly move, so that magnitude pruning costs less. No weight decay on θ: it
    would act on |w|^(2/α).

    Args:
        in_features, out_features: sizes.
        alpha: the exponent, at least 1; the paper uses 2 to 4.
        rngs: for the initial parameters.
        **options: further arguments of `nnx.Linear`; `kernel_init` is that of the weights, not of θ.

    Raises:
        ValueError: alpha below 1.
    """

    def __init__(
        self, in_features: int, out_features: int, *, alpha: float | int = 2.0, rngs: nnx.Rngs, **options: Any
    ) -> None:
        nnx.Linear.__init__(self, in_features, out_features, rngs=rngs, **options)
        self._start(alpha)


class PowerpropConv(_Powerprop, nnx.Conv):
    """`nnx.Conv` with the kernel `θ |θ|^(α-1)`; see `PowerpropLinear`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] | None = 1,
        *,
        alpha: float | int = 2.0,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Conv.__init__(self, in_features, out_features, kernel_size, strides, rngs=rngs, **options)
        self._start(alpha)
