"""Layers with hard-concrete gates: L0 regularisation (`louizos2018l0`)."""

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from offprint.sparsity._hard_concrete import HardConcrete, clamp_log_alpha, init_log_alpha
from offprint.sparsity.nnx._learned import Inputs, Stochastic

Granularity = Literal["input", "output", "weight"]
_DEFAULT = HardConcrete()


class _HardConcrete(Stochastic):
    """The gates and what follows from them; `log_alpha` is a parameter, trained with the kernel."""

    log_alpha: nnx.Param

    def _start(
        self,
        granularity: Granularity,
        gate: HardConcrete,
        drop_rate: float | int,
        per_example: bool,
        deterministic: bool,
        rngs: nnx.Rngs,
    ) -> None:
        if granularity not in ("input", "output", "weight"):
            raise ValueError(f"granularity={granularity!r} is unknown; 'input', 'output' or 'weight' is needed")
        if per_example and granularity == "weight":
            raise ValueError(
                "per_example=True needs gates on units, granularity='input' or 'output': a gate for each weight and "
                "example would be a kernel for each example"
            )
        kernel = self.kernel[...]
        # `in_features` and not the kernel's, which has fewer in a grouped convolution.
        shape = {
            "input": (self.in_features,),  # type: ignore[attr-defined]
            "output": (self.out_features,),  # type: ignore[attr-defined]
            "weight": kernel.shape,
        }[granularity]
        self.log_alpha = nnx.Param(init_log_alpha(rngs.params(), shape, drop_rate, kernel.dtype))
        self.granularity = granularity
        self.gate = gate
        self.per_example = per_example
        self.deterministic = deterministic
        self.rngs = rngs["dropout"].fork()

    def gates(self) -> Float[Array, "*gates"]:
        """The gates of evaluation, without noise: one per unit or weight, 0 where it is removed."""
        return self.gate.test_gate(self.log_alpha[...])

    def penalty(self) -> Float[Array, ""]:
        """The expected number of kernel weights that are not zero (Eq. 12, each gate times the weights behind it)."""
        gates = clamp_log_alpha(self.log_alpha[...])
        return self.gate.penalty(gates, self.kernel[...].size / gates.size)

    def hardened(self) -> tuple[Float[Array, "..."], Float[Array, " out"] | None]:
        """Kernel and bias times the gates of evaluation."""
        z, kernel, bias = self.gates(), self.kernel[...], self._bias()
        if self.granularity == "input":
            # Rows of the kernel; in a grouped convolution every group of outputs has rows of its own.
            groups = getattr(self, "feature_group_count", 1)
            rows = jnp.repeat(z.reshape(groups, -1).T, kernel.shape[-1] // groups, axis=-1)
            return kernel * rows, bias
        return kernel * z, bias * z if bias is not None and self.granularity == "output" else bias

    def _train(self, inputs: Array | np.ndarray, axes: int, out_sharding: Any) -> Array:
        """The output with gates drawn; the last `axes` axes of the inputs belong to one example."""
        location = clamp_log_alpha(self.log_alpha[...])
        batch = (*inputs.shape[: inputs.ndim - axes], *[1] * (axes - 1)) if self.per_example else ()
        z = self.gate.draw(self.rngs(), location, batch).astype(inputs.dtype)
        if self.granularity == "input":
            return self._with(self.kernel[...], self._bias(), inputs * z, out_sharding)
        if self.granularity == "output":
            return self._with(self.kernel[...], self._bias(), inputs, out_sharding) * z
        return self._with(self.kernel[...] * z, self._bias(), inputs, out_sharding)


class HardConcreteLinear(_HardConcrete, nnx.Linear):
    """`nnx.Linear` with gates that are learnt to be exactly zero.

    In training the gates are drawn for every call, in evaluation (`model.eval()`) they are the fixed `gates()`. Add
    `strength * layer.penalty()` to the loss (all layers: `penalty(model)`); the paper's strength is λ / N, with N
    training examples, on the mean loss of a batch. `log_alpha` must not be decayed.

    Differs from the authors' code: gates on outputs also multiply the bias, in training as in evaluation, so that a
    closed gate removes the unit (theirs does so in evaluation only); and see `clamp_log_alpha`. The code used in "The
    State of Sparsity" gates single weights, `granularity="weight"`.

    Args:
        in_features, out_features: sizes.
        granularity: what a gate opens: an `"input"` unit (as the paper's dense layers), an `"output"` unit, a
            `"weight"`.
        gate: the distribution.
        drop_rate: share of gates that are closed at the start.
        per_example: draw gates for every example of the batch (the first axis), so that their noise averages out in
            the gradient (`local_rep` in the authors' code); by default once for the batch, as there.
        deterministic: start in evaluation mode.
        rngs: `params` for the initial parameters, `dropout` for the gates.
        **options: further arguments of `nnx.Linear`.

    Raises:
        ValueError: an unknown granularity; gates for each weight and example; a drop rate outside (0, 1).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        granularity: Granularity = "input",
        gate: HardConcrete = _DEFAULT,
        drop_rate: float | int = 0.5,
        per_example: bool = False,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Linear.__init__(self, in_features, out_features, rngs=rngs, **options)
        self._start(granularity, gate, drop_rate, per_example, deterministic, rngs)

    def __call__(self, inputs: Inputs, out_sharding: Any = None) -> Float[Array, "*positions out"]:
        """The output, with drawn gates in training and fixed ones in evaluation."""
        if self.deterministic:
            return self._evaluate(inputs, out_sharding)
        return self._train(inputs, max(1, inputs.ndim - 1), out_sharding)


class HardConcreteConv(_HardConcrete, nnx.Conv):
    """`nnx.Conv` with gates, by default on its filters, as in the paper; see `HardConcreteLinear`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] | None = 1,
        *,
        granularity: Granularity = "output",
        gate: HardConcrete = _DEFAULT,
        drop_rate: float | int = 0.5,
        per_example: bool = False,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        nnx.Conv.__init__(self, in_features, out_features, kernel_size, strides, rngs=rngs, **options)
        self._start(granularity, gate, drop_rate, per_example, deterministic, rngs)

    def __call__(self, inputs: Inputs, out_sharding: Any = None) -> Float[Array, "*positions out"]:
        """The output (..., spatial, out), with drawn gates in training and fixed ones in evaluation."""
        if self.deterministic:
            return self._evaluate(inputs, out_sharding)
        return self._train(inputs, len(self.kernel_size) + 1, out_sharding)
