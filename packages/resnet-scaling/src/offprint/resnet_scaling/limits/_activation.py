"""What the limits need to know of an activation: its first two derivatives at 0."""

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.resnet_scaling._forward import Activation, sigma_of


def derivatives_at_zero(activation: Activation) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """σ'(0) and σ''(0) of an element-wise activation, by automatic differentiation.

    Raises:
        ValueError: where σ(0) is not 0, so that every layer adds a constant of its own and there is no limit of the
            linearised kind; where σ has a kink at 0 (ReLU), so that there is no derivative.
    """
    sigma = sigma_of(activation)
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", repr(activation))
    # Concrete numbers also inside jit: the activation is no traced argument.
    with jax.ensure_compile_time_eval():
        zero = jnp.zeros(())
        value, first, second = sigma(zero), jax.grad(sigma)(zero), jax.grad(jax.grad(sigma))(zero)
        if not any(isinstance(one, jax.core.Tracer) for one in (value, first)):
            _check(name, sigma, float(value))
    return first, second


def _check(name: str, sigma: Callable[[Array], Array], value: float) -> None:
    if abs(value) > 1e-6:
        raise ValueError(
            f"the activation {name} has σ(0) = {value:g}, and the linearised ODE and the SDE need σ(0) = 0: the "
            "arguments of σ vanish as the depth grows, and every layer would add σ(0). Subtract it: lambda x: "
            "sigma(x) - sigma(0.0)"
        )
    near, far = (_jump(sigma, step) for step in (1e-3, 1e-2))
    # A smooth σ has a jump of σ''(0)·step, which falls in proportion to the step; at a kink it stays.
    if near > 1e-2 and near > 0.5 * far:
        raise ValueError(
            f"the activation {name} has a kink at 0: its slope jumps by {near:.3g} there, so σ'(0) does not exist. "
            "ReLU networks have other limits: smooth weights with α + β = 1 give neural_ode with the ReLU itself "
            "(it is positively homogeneous); rough weights give none with δ of one sign (a drift of order √L) and a "
            "limit in law only with random signs"
        )


def _jump(sigma: Callable[[Array], Array], step: float) -> float:
    """Right minus left difference quotient at 0."""
    left, middle, right = np.asarray(sigma(jnp.asarray([-step, 0.0, step])), dtype=float)
    return abs((right - middle) - (middle - left)) / step


def check_exponents(exponents: tuple[float | int, float | int] | None, tolerance: float | int) -> None:
    """Warn where α + β = 1 does not hold within `tolerance`, so that the network has no such ODE limit."""
    if exponents is None:
        return
    alpha, beta = exponents
    total = alpha + beta
    if abs(total - 1) > tolerance:
        reason = "the hidden states blow up" if total < 1 else "the network tends to the identity"
        warnings.warn(
            f"no finite limit of this kind: α + β = {total:g} (α = {alpha:g}, β = {beta:g}), and the ODE limits need "
            f"α + β = 1 within {tolerance:g}; as the depth grows, {reason}",
            stacklevel=3,
        )
