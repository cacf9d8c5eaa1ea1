"""What the learned layers have in common: the ordinary layer that each of them is at the moment."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

Plain = nnx.Linear | nnx.Conv
Inputs = Float[Array | np.ndarray, "*batch in"]

_SHARED = ("use_bias", "dtype", "param_dtype", "precision", "promote_dtype", "preferred_element_type")
_OF_LINEAR = (*_SHARED, "dot_general")
_OF_CONV = (
    *_SHARED,
    "strides",
    "padding",
    "input_dilation",
    "kernel_dilation",
    "feature_group_count",
    "conv_general_dilated",
)
# Nothing is drawn: the initialisers return what is given.
_NO_RNGS: Any = SimpleNamespace(params=lambda: None)


def options_of(layer: Plain) -> dict[str, Any]:
    """The arguments that make another layer of the same settings, other than its parameters."""
    sizes: dict[str, Any] = {"in_features": layer.in_features, "out_features": layer.out_features}
    if isinstance(layer, nnx.Conv):
        sizes["kernel_size"] = layer.kernel_size
    names = _OF_CONV if isinstance(layer, nnx.Conv) else _OF_LINEAR
    return sizes | {name: getattr(layer, name) for name in names}


def plain(layer: Plain, kernel: Float[Array, "..."], bias: Float[Array, " out"] | None) -> Plain:
    """An `nnx.Linear` or `nnx.Conv` with the settings of `layer`, this kernel and this bias (`None`: without).

    A mask that was given to `nnx.Conv` itself is multiplied into the kernel.
    """
    fixed = getattr(layer, "mask", None)
    kernel = kernel if fixed is None else kernel * fixed
    kind = nnx.Conv if isinstance(layer, nnx.Conv) else nnx.Linear
    options = options_of(layer) | {"use_bias": bias is not None}
    return kind(**options, kernel_init=lambda *_: kernel, bias_init=lambda *_: bias, rngs=_NO_RNGS)


class Learned:
    """Mixin of `nnx.Linear` and `nnx.Conv` whose kernel is made from other parameters."""

    kernel: nnx.Param
    bias: nnx.Param | None

    def hardened(self) -> tuple[Float[Array, "..."], Float[Array, " out"] | None]:
        """The kernel and bias of evaluation, with exact zeros."""
        raise NotImplementedError

    def penalty(self) -> Float[Array, ""]:
        """What the layer adds to the loss, before its strength; 0 for methods without a penalty of their own."""
        return jnp.zeros((), self.kernel.dtype)

    def kept(self) -> Bool[Array, "..."]:
        """The mask of the weights that evaluation uses, of the shape of the kernel."""
        return self.to_plain().kernel[...] != 0

    def to_plain(self) -> Plain:
        """The ordinary layer that computes what this one computes in evaluation."""
        return plain(self, *self.hardened())  # type: ignore[arg-type]

    def _with(self, kernel: Array, bias: Array | None, inputs: Inputs, out_sharding: Any) -> Array:
        """The output with another kernel and bias."""
        layer = plain(self, kernel, bias)  # type: ignore[arg-type]
        return layer(jnp.asarray(inputs), out_sharding=out_sharding)

    def _evaluate(self, inputs: Inputs, out_sharding: Any) -> Array:
        """The output of evaluation."""
        return self._with(*self.hardened(), inputs, out_sharding)

    def _bias(self) -> Array | None:
        return None if self.bias is None else self.bias[...]


class Stochastic(Learned):
    """Mixin of learned layers that draw noise in training: `model.train()` and `model.eval()` switch them."""

    deterministic: bool
    rngs: nnx.RngStream

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view(model, deterministic=...)` calls."""
        if deterministic is not None:
            self.deterministic = deterministic
