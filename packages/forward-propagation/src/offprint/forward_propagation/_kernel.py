"""The feeding kernel h of a current-based LIF neuron and its derivatives, exact for every pair of rates.

With α = 1/τ_syn and β = 1/τ_mem, h(s) = (e^(-αs) - e^(-βs)) / (β - α) is the potential that one input spike leaves
after a time s. Written like this it loses all its digits where α is near β. All of its derivatives are integrals

    K_pq(s) = ∫_0^s u^p (s - u)^q e^(-αu) e^(-β(s-u)) du,    h = K_00,

with ∂K_pq/∂α = -K_(p+1)q and ∂K_pq/∂β = -K_p(q+1), so one family, evaluated without cancellation, is enough for
derivatives of every order.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from offprint.forward_propagation._neuron import Real


def kernel(s: Real, alpha: Real, beta: Real) -> Float[Array, "..."]:
    """Feeding kernel h(s) = (e^(-αs) - e^(-βs)) / (β - α), which is s e^(-βs) where α = β, and 0 for s < 0.

    Args:
        s: time since the arrival of an input spike, any shape; +inf (no spike) gives 0.
        alpha: inverse synaptic time constant α = 1/τ_syn > 0, broadcast against `s`.
        beta: inverse membrane time constant β = 1/τ_mem > 0, broadcast against `s`.

    Returns:
        h in the dtype of the inputs. Derivatives of every order by all three arguments are exact to rounding, those
        by s at 0 from the right.

    Source: the membrane equation I' = -αI, V' = -βV + I of the model; h solves it for an impulse.
    """
    return _moment(0, 0, *_same_dtype(s, alpha, beta))


def kernel_ds(s: Real, alpha: Real, beta: Real) -> Float[Array, "..."]:
    """h'(s) = e^(-αs) - β h(s), from the right at s = 0; 0 for s < 0. Arguments as for `kernel`."""
    return _slope(*_same_dtype(s, alpha, beta))


def kernel_dalpha(s: Real, alpha: Real, beta: Real) -> Float[Array, "..."]:
    """∂h/∂α = -∫_0^s u e^(-αu) e^(-β(s-u)) du. Arguments as for `kernel`."""
    return -_moment(1, 0, *_same_dtype(s, alpha, beta))


def kernel_dbeta(s: Real, alpha: Real, beta: Real) -> Float[Array, "..."]:
    """∂h/∂β = -∫_0^s (s-u) e^(-αu) e^(-β(s-u)) du. Arguments as for `kernel`."""
    return -_moment(0, 1, *_same_dtype(s, alpha, beta))


def decay(s: Real, rate: Real) -> Float[Array, "..."]:
    """e^(-rate s) for s >= 0, else 0; 0 also for s = +inf, with all derivatives 0 there."""
    s, rate = _same_dtype(s, rate)
    inside = _inside(s)
    return jnp.where(inside, jnp.exp(-rate * jnp.where(inside, s, 0)), 0)


@jax.custom_jvp
def kernel_and_decay(
    s: Float[Array, "..."], alpha: Float[Array, "..."], beta: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """(h(s), e^(-αs)) for the price of two exponentials instead of three; both 0 outside 0 <= s < inf."""
    inside = _inside(s)
    u = jnp.where(inside, s, 1)
    slow = jnp.exp(-jnp.minimum(alpha, beta) * u)
    difference = jnp.abs(beta - alpha)
    h = u * slow * relative_decay(difference * u)
    return jnp.where(inside, h, 0), jnp.where(inside, jnp.where(alpha <= beta, slow, slow - difference * h), 0)


@functools.partial(kernel_and_decay.defjvp, symbolic_zeros=True)
def _kernel_and_decay_jvp(primals: tuple, tangents: tuple) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    s, alpha, _ = primals
    s_dot, alpha_dot, _ = tangents
    h, fall = kernel_and_decay(*primals)
    _, h_dot = _moment_jvp(0, 0, primals, tangents)
    fall_dot = jnp.zeros_like(fall)
    if not isinstance(s_dot, SymbolicZero):
        fall_dot -= alpha * fall * s_dot
    if not isinstance(alpha_dot, SymbolicZero):
        fall_dot -= _power(s, 1) * fall * alpha_dot
    return (h, fall), (h_dot, fall_dot)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _moment(p: int, q: int, s: Array, alpha: Array, beta: Array) -> Array:
    """K_pq(s; α, β), 0 outside 0 <= s < inf."""
    inside = _inside(s)
    # 1 where it does not count: no branch below may divide by zero or meet an infinity
    u = jnp.where(inside, s, 1)
    return jnp.where(inside, _moment_at(p, q, u, alpha, beta), 0)


def _moment_jvp(p: int, q: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    s, alpha, beta = primals
    s_dot, alpha_dot, beta_dot = tangents
    value = _moment(p, q, s, alpha, beta)
    tangent = jnp.zeros_like(value)
    if not isinstance(s_dot, SymbolicZero):
        tangent += _moment_ds(p, q, s, alpha, beta) * s_dot
    if not isinstance(alpha_dot, SymbolicZero):
        tangent -= _moment(p + 1, q, s, alpha, beta) * alpha_dot
    if not isinstance(beta_dot, SymbolicZero):
        tangent -= _moment(p, q + 1, s, alpha, beta) * beta_dot
    return value, tangent


_moment.defjvp(_moment_jvp, symbolic_zeros=True)


def _moment_ds(p: int, q: int, s: Array, alpha: Array, beta: Array) -> Array:
    if p == q == 0:
        return _slope(s, alpha, beta)
    boundary = q * _moment(p, q - 1, s, alpha, beta) if q else _power(s, p) * decay(s, alpha)
    return boundary - beta * _moment(p, q, s, alpha, beta)


@jax.custom_jvp
def _slope(s: Array, alpha: Array, beta: Array) -> Array:
    """h'(s), with all its digits also beside the maximum of h when α = β or nearly."""
    inside = _inside(s)
    u = jnp.where(inside, s, 1)
    x = (beta - alpha) * u
    small = jnp.abs(x) < 1
    # e^(-αs) - β h = e^(-βs) (1 - αs φ(x)) with φ(x) = (e^x - 1) / x; its leading 1 is taken out of φ
    near = jnp.exp(-beta * u) * ((1 - alpha * u) - alpha * u * x * _hypergeometric(0, 1, jnp.where(small, x, 0)))
    far = jnp.exp(-alpha * u) - beta * _moment_at(0, 0, u, alpha, beta)
    return jnp.where(inside, jnp.where(small, near, far), 0)


@functools.partial(_slope.defjvp, symbolic_zeros=True)
def _slope_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    s, alpha, beta = primals
    s_dot, alpha_dot, beta_dot = tangents
    value = _slope(s, alpha, beta)
    tangent = jnp.zeros_like(value)
    if not isinstance(s_dot, SymbolicZero):
        tangent -= (alpha * decay(s, alpha) + beta * value) * s_dot
    if not isinstance(alpha_dot, SymbolicZero):
        tangent += (beta * _moment(1, 0, s, alpha, beta) - _power(s, 1) * decay(s, alpha)) * alpha_dot
    if not isinstance(beta_dot, SymbolicZero):
        tangent += (beta * _moment(0, 1, s, alpha, beta) - _moment(0, 0, s, alpha, beta)) * beta_dot
    return value, tangent


def _moment_at(p: int, q: int, s: Array, alpha: Array, beta: Array) -> Array:
    """K_pq at finite s >= 0: a Taylor series in x = (β-α)s where |x| is small, integration by parts elsewhere."""
    if p == q == 0:
        # symmetric in the rates: with the smaller one outside, nothing can overflow
        x = jnp.abs(beta - alpha) * s
        return s * jnp.exp(-jnp.minimum(alpha, beta) * s) * relative_decay(x)
    x = (beta - alpha) * s
    small = jnp.abs(x) < 1
    series = s ** (p + q + 1) * jnp.exp(-beta * s) * _hypergeometric(p, q, jnp.where(small, x, 0))
    difference = jnp.where(small, 1, beta - alpha)
    parts = jnp.zeros_like(x)
    if q == 0:
        parts += _power(s, p) * jnp.exp(-alpha * s)
    if p == 0:
        parts -= _power(s, q) * jnp.exp(-beta * s)
    if p > 0:
        parts -= p * _moment_at(p - 1, q, s, alpha, beta)
    if q > 0:
        parts += q * _moment_at(p, q - 1, s, alpha, beta)
    return jnp.where(small, series, parts / difference)


def relative_decay(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """(1 - e^(-x)) / x for x >= 0, which is 1 at x = 0."""
    z = jnp.maximum(x, jnp.finfo(x.dtype).tiny)
    return -jnp.expm1(-z) / z


def _hypergeometric(p: int, q: int, x: Array) -> Array:
    """B(p+1, q+1) 1F1(p+1; p+q+2; x) for |x| <= 1, by its series."""
    beta_function = math.factorial(p) * math.factorial(q) / math.factorial(p + q + 1)
    total = jnp.ones_like(x)
    for n in range(19, -1, -1):
        total = 1 + total * x * ((p + 1 + n) / ((p + q + 2 + n) * (n + 1)))
    return beta_function * total


def _power(s: Array, p: int) -> Array:
    # not s**0, whose derivative is 0 * s^-1; and not of an infinite s, which meets a factor 0
    return jnp.where(_inside(s), s, 0) ** p if p else jnp.ones_like(s)


def _inside(s: Array) -> Array:
    return (s >= 0) & (s < jnp.inf)


def _same_dtype(*values: Any) -> list[Array]:
    dtype = jnp.result_type(*values)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return [jnp.asarray(value, dtype) for value in values]
