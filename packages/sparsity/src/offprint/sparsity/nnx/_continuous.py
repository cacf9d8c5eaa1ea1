"""Layers with gates that harden during training (`savarese2020cs`)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from offprint.sparsity._continuous import continuous_gate, continuous_mask, continuous_penalty
from offprint.sparsity.nnx._learned import Inputs, Learned


class Beta(nnx.Variable):
    """The sharpness β of the gates; not trained, but set by `set_beta`."""


class _Continuous(Learned):
    """`gate_scores` is a parameter of the kernel's shape."""

    gate_scores: nnx.Param
    beta: Beta
    deterministic: bool

    def _start(self, score_init: float | int, deterministic: bool) -> None:
        kernel = self.kernel[...]
        self.gate_scores = nnx.Param(jnp.full_like(kernel, score_init))
        self.beta = Beta(jnp.ones((), kernel.dtype))
        self.scale = float(1 / jax.nn.sigmoid(float(score_init)))
        self.deterministic = deterministic

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view(model, deterministic=...)` calls."""
        if deterministic is not None:
            self.deterministic = deterministic

    def penalty(self) -> Float[Array, ""]:
        """Σ σ(β s) over the weights."""
        return continuous_penalty(self.gate_scores[...], self.beta[...])

    def kept(self) -> Bool[Array, "..."]:
        """Where the gate's score is positive."""
        return continuous_mask(self.gate_scores[...])

    def hardened(self) -> tuple[Float[Array, "..."], Float[Array, " out"] | None]:
        """The weights whose gate is open, and the bias."""
        return jnp.where(self.kept(), self.scale * self.kernel[...], 0), self._bias()

    def __call__(self, inputs: Inputs, out_sharding: Any = None) -> Float[Array, "*positions out"]:
        """The output with soft gates in training and with 0 or 1 in evaluation."""
        if self.deterministic:
            return self._evaluate(inputs, out_sharding)
        gates = continuous_gate(self.gate_scores[...], self.beta[...])
        return self._with(self.scale * gates * self.kernel[...], self._bias(), inputs, out_sharding)


class ContinuousLinear(_Continuous, nnx.Linear):
    """`nnx.Linear` with a gate `σ(β s)` on every weight: soft at first, 0 or 1 in the end.

    Call `set_beta(model, beta_schedule(step, num_steps))` as training goes on, and add `λ · penalty(model)` to the
    loss. `gate_scores` must not be decayed. The weights are scaled by 1 / σ(s₀), so that the layer starts as
    `nnx.Linear`.

    Args:
        in_features, out_features: sizes.
        score_init: initial score s₀ of the gates; the lower, the sparser in the end.
        deterministic: start in evaluation mode.
        rngs: for the initial parameters.
        **options: further arguments of `nnx.Linear`.

    From memory of the paper, not checked against it.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        score_init: float | int = 0.0,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Linear.__init__(self, in_features, out_features, rngs=rngs, **options)
        self._start(score_init, deterministic)


class ContinuousConv(_Continuous, nnx.Conv):
    """`nnx.Conv` with a gate on every weight; see `ContinuousLinear`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] | None = 1,
        *,
        score_init: float | int = 0.0,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Conv.__init__(self, in_features, out_features, kernel_size, strides, rngs=rngs, **options)
        self._start(score_init, deterministic)


def set_beta(model: nnx.Module, beta: float | int | Float[Array, ""]) -> None:
    """Set the sharpness of the gates of every `ContinuousLinear` and `ContinuousConv` of a model, in place.

    Raises:
        ValueError: the model has none.
    """
    layers = [module for _, module in nnx.iter_modules(model) if isinstance(module, _Continuous)]
    if not layers:
        raise ValueError("the model has no ContinuousLinear or ContinuousConv whose beta could be set")
    for layer in layers:
        layer.beta[...] = jnp.asarray(beta, layer.beta[...].dtype)
