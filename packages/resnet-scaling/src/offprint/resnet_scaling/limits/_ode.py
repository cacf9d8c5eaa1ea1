"""Deterministic limits: the neural ODE and the linearised ODE, and how gradients flow back through them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from offprint.resnet_scaling._forward import Activation, sigma_of
from offprint.resnet_scaling.limits._activation import check_exponents, derivatives_at_zero
from offprint.resnet_scaling.limits._trend import Curve, Trend, as_curve, as_floating

Number = float | int
TOLERANCE = 0.15
"""How far α + β may be from 1 before the ODE limits warn: measured exponents of trained networks come this close."""
_MAX_STEPS = 2**16


def neural_ode(
    A_bar: Trend,
    b_bar: Trend,
    x0: Float[Array | np.ndarray, "*batch d"],
    *,
    activation: Activation = "tanh",
    times: Float[Array | np.ndarray, " times"] | None = None,
    exponents: tuple[Number, Number] | None = None,
    rtol: Number = 1e-8,
    atol: Number = 1e-10,
) -> Float[Array, "*out d"]:
    """Limit dH = σ(H Ā_t + b̄_t) dt on [0, 1] of networks with weights Ā/L^β, b̄/L^β and multiplier L^-α.

    It holds for smooth weights with α = 1, β = 0, and for ReLU, which is positively homogeneous, wherever α + β = 1
    (error of order 1/L). Solved by Dopri8; differentiable.

    Args:
        A_bar: Ā as a function of t with values (d, d), or an array (N, d, d) of its values at k/N. Row vectors
            multiply from the left, as in `resnet_apply`.
        b_bar: b̄ likewise, values (d,).
        x0: initial states.
        activation: σ, a name of `resnet_apply` or an element-wise function.
        times: where in [0, 1] to give the solution, ascending; at 1 alone by default.
        exponents: (α, β) measured on the network, to be warned where they do not allow this limit.
        rtol, atol: tolerances of the solver; `rtol` is not taken below 16 units of rounding of the dtype of x0.

    Returns:
        H at 1, like x0, or at `times`, shape (times, *batch, d).

    Raises:
        ValueError: where shapes do not agree.

    Source: Cont, Rossier, Xu, arXiv:2212.08199; Sander, Ablin, Peyré 2022.
    """
    check_exponents(exponents, TOLERANCE)
    x0, A, b = _prepared(A_bar, b_bar, x0)
    return _solve(_neural_field, x0, (A, b, sigma_of(activation)), times, rtol, atol)


def linear_ode(
    A_bar: Trend,
    b_bar: Trend,
    x0: Float[Array | np.ndarray, "*batch d"],
    *,
    activation: Activation = "tanh",
    times: Float[Array | np.ndarray, " times"] | None = None,
    exponents: tuple[Number, Number] | None = None,
    rtol: Number = 1e-8,
    atol: Number = 1e-10,
) -> Float[Array, "*out d"]:
    """Limit dH = σ'(0) (H Ā_t + b̄_t) dt of networks with smooth weights, β > 0, α + β = 1 and smooth σ, σ(0) = 0.

    Of the activation only σ'(0) is left. The network's distance is of order L^-min(1, β) in general and of order
    L^-min(1, 2β) where σ''(0) = 0, as for tanh.

    Args and returns: as in `neural_ode`.

    Raises:
        ValueError: where σ(0) is not 0 or σ has a kink at 0, and where shapes do not agree.

    Source: Cont, Rossier, Xu, arXiv:2212.08199.
    """
    check_exponents(exponents, TOLERANCE)
    slope, _ = derivatives_at_zero(activation)
    x0, A, b = _prepared(A_bar, b_bar, x0)
    return _solve(_linear_field, x0, (A, b, slope), times, rtol, atol)


def neural_ode_adjoint(
    A_bar: Trend,
    b_bar: Trend,
    x0: Float[Array | np.ndarray, "*batch d"],
    g1: Float[Array | np.ndarray, "*batch d"],
    *,
    activation: Activation = "tanh",
    times: Float[Array | np.ndarray, " times"] | None = None,
    rtol: Number = 1e-8,
    atol: Number = 1e-10,
) -> Float[Array, "*out d"]:
    """Limit of the back-propagated gradients g_k = ∂loss/∂h_k in the regime of `neural_ode`.

    ġ = -(g ∘ σ'(H Ā_t + b̄_t)) Ā_tᵀ from g(1) = g1 back, with H solved backwards along with it, so that nothing is
    stored.

    Args:
        A_bar, b_bar, x0, activation, rtol, atol: as in `neural_ode`.
        g1: gradient with respect to H at 1.
        times: where in [0, 1] to give g, ascending; at 0 alone by default.

    Returns:
        g at 0, like g1, or at `times`, shape (times, *batch, d).
    """
    x0, A, b = _prepared(A_bar, b_bar, x0)
    flow = A, b, sigma_of(activation)
    h1 = _solve(_neural_field, x0, flow, None, rtol, atol)
    start = _StateAndGradient(h1, jnp.asarray(g1, h1.dtype))
    return _backward(_neural_field_back, start, flow, times, rtol, atol).g


def linear_ode_adjoint(
    A_bar: Trend,
    g1: Float[Array | np.ndarray, "*batch d"],
    *,
    activation: Activation = "tanh",
    times: Float[Array | np.ndarray, " times"] | None = None,
    rtol: Number = 1e-8,
    atol: Number = 1e-10,
) -> Float[Array, "*out d"]:
    """Limit ġ = -σ'(0) g Ā_tᵀ of the back-propagated gradients in the regime of `linear_ode`.

    Args and returns: as in `neural_ode_adjoint`; the states do not matter.

    Raises:
        ValueError: where σ(0) is not 0 or σ has a kink at 0, and where shapes do not agree.
    """
    slope, _ = derivatives_at_zero(activation)
    g1 = as_floating(g1)
    A = as_curve(A_bar, "A_bar", (g1.shape[-1],) * 2, g1.dtype)
    return _backward(_linear_field_back, g1, (A, slope), times, rtol, atol)


class _StateAndGradient(NamedTuple):
    h: Array
    g: Array


def _neural_field(t: Array, h: Array, flow: tuple[Curve, Curve, Callable[[Array], Array]]) -> Array:
    A, b, sigma = flow
    return sigma(h @ A(t) + b(t))


def _linear_field(t: Array, h: Array, flow: tuple[Curve, Curve, Array]) -> Array:
    A, b, slope = flow
    return slope.astype(h.dtype) * (h @ A(t) + b(t))


# Backward fields are in the reversed time s = 1 - t.


def _neural_field_back(
    s: Array, state: _StateAndGradient, flow: tuple[Curve, Curve, Callable[[Array], Array]]
) -> _StateAndGradient:
    value, pull = jax.vjp(lambda h: _neural_field(1 - s, h, flow), state.h)
    return _StateAndGradient(-value, *pull(state.g))


def _linear_field_back(s: Array, g: Array, flow: tuple[Curve, Array]) -> Array:
    A, slope = flow
    return slope.astype(g.dtype) * (g @ A(1 - s).T)


def _prepared(A_bar: Trend, b_bar: Trend, x0: ArrayLike) -> tuple[Array, Curve, Curve]:
    x0 = as_floating(x0)
    d = x0.shape[-1]
    return x0, as_curve(A_bar, "A_bar", (d, d), x0.dtype), as_curve(b_bar, "b_bar", (d,), x0.dtype)


def _solve(field: Callable, start: Any, flow: Any, times: ArrayLike | None, rtol: Number, atol: Number) -> Any:
    dtype = jax.tree.leaves(start)[0].dtype
    finest = 16 * float(jnp.finfo(dtype).eps)
    # Everything that is an array goes in as one, so that a second call with the same functions compiles nothing.
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Dopri8(),
        t0=jnp.zeros((), dtype),
        t1=jnp.ones((), dtype),
        dt0=None,
        y0=start,
        args=flow,
        saveat=diffrax.SaveAt(t1=True) if times is None else diffrax.SaveAt(ts=jnp.asarray(times, dtype)),
        stepsize_controller=diffrax.PIDController(rtol=max(float(rtol), finest), atol=float(atol)),
        max_steps=_MAX_STEPS,
    )
    return jax.tree.map(lambda ys: ys[0], solution.ys) if times is None else solution.ys


def _backward(field: Callable, start: Any, flow: Any, times: ArrayLike | None, rtol: Number, atol: Number) -> Any:
    """Solution in the reversed time s = 1 - t, given at `times` of t."""
    if times is None:
        return _solve(field, start, flow, None, rtol, atol)
    return jax.tree.map(lambda ys: ys[::-1], _solve(field, start, flow, 1 - jnp.asarray(times)[::-1], rtol, atol))
