"""The diffusive limit: an Itô stochastic differential equation, by Euler-Maruyama."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.resnet_scaling._forward import Activation
from offprint.resnet_scaling.limits._activation import derivatives_at_zero
from offprint.resnet_scaling.limits._trend import Curve, Trend, as_curve, as_floating

Number = float | int
QuadraticVariation = Callable[[Array], Array]


class Increments(NamedTuple):
    """Increments of the driving noise W^A, W^b over F equal steps of [0, 1]."""

    A: Float[Array | np.ndarray, "*paths steps d d"]
    b: Float[Array | np.ndarray, "*paths steps d"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Equation:
    """Coefficients of the limit: dH = s₁ [(H Ā + b̄) dt + H dW^A + dW^b] + ½ s₂ Q(H) dt.

    Inside of the loops the paths stand last: states (d, *paths), increments (d, d, *paths) and (d, *paths). XLA works
    along the last axis, and d is small.
    """

    A: Curve
    b: Curve
    slope: Any  # s₁; this and the next are arrays of shape (), but JAX also puts other leaves in
    curvature: Any  # s₂
    scale_A: Any
    scale_b: Any
    Q: QuadraticVariation | None = field(metadata={"static": True})

    def step(self, h: Array, t: Array, dt: Array, dW: Increments) -> Array:
        """One Euler-Maruyama step."""
        return h + self.slope * (self.drift(h, t) * dt + apply_noise(h, dW)) + self.correction(h) * dt

    def drift(self, h: Array, t: Array) -> Array:
        """H Ā_t + b̄_t."""
        return jnp.tensordot(self.A(t), h, axes=((0,), (0,))) + last(self.b(t), h)

    def correction(self, h: Array) -> Array:
        """The Itô term ½ s₂ Q(H), by default with Q = q_A² |H|² + q_b² in every coordinate."""
        if self.Q is not None:
            return 0.5 * self.curvature * jnp.moveaxis(self.Q(jnp.moveaxis(h, 0, -1)), -1, 0)
        return 0.5 * self.curvature * (self.scale_A**2 * jnp.sum(h**2, axis=0) + self.scale_b**2)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Noise:
    """Where the increments come from: given ones (steps first, paths last), a Brownian path, or a key to draw them."""

    source: Any
    steps: int = field(metadata={"static": True})

    def at(self, k: Array, like: Array, equation: Equation) -> Increments:
        """Increments of step k for states like those given, paths last."""
        if isinstance(self.source, Increments):
            return Increments(self.source.A[k], self.source.b[k])
        d = like.shape[0]
        if isinstance(self.source, diffrax.AbstractPath):
            begin, length = self.source.t0, (self.source.t1 - self.source.t0) / self.steps
            A, b = self.source.evaluate(begin + k * length, begin + (k + 1) * length)
            A, b = jnp.moveaxis(A, (-2, -1), (0, 1)), jnp.moveaxis(b, -1, 0)
        else:
            drawn = jax.random.normal(jax.random.fold_in(self.source, k), (d + 1, *like.shape), like.dtype)
            A, b = drawn[:d] * self.steps**-0.5, drawn[d] * self.steps**-0.5
        return Increments(equation.scale_A * A, equation.scale_b * b)


def apply_noise(h: Array, dW: Increments) -> Array:
    """H dW^A + dW^b of every path, paths last. A sum and no product of matrices: thousands of tiny ones are slow."""
    return jnp.sum(h[:, None] * dW.A, axis=0) + dW.b


def last(vector: Array, like: Array) -> Array:
    """A vector (d,) with axes for the paths."""
    return vector.reshape(-1, *(1,) * (like.ndim - 1))


def sde(
    A_bar: Trend,
    b_bar: Trend,
    x0: Float[Array | np.ndarray, "*paths d"],
    *,
    scale_A: Number,
    scale_b: Number,
    activation: Activation = "tanh",
    dW: Increments | diffrax.AbstractPath | None = None,
    key: PRNGKeyArray | None = None,
    n_steps: int | None = None,
    quadratic_variation: QuadraticVariation | None = None,
    ito: bool = True,
    return_path: bool = False,
) -> Float[Array, "*out d"]:
    """Limit of networks with weights Ā/L + ΔW^A, b̄/L + ΔW^b (trend plus noise), multiplier 1 and smooth σ, σ(0) = 0.

    dH = s₁ [(H Ā_t + b̄_t) dt + H dW^A + dW^b] + ½ s₂ Q(H) dt with s₁ = σ'(0), s₂ = σ''(0) and
    Q_i(H) = d⟨(H W^A + W^b)_i⟩/dt, which is q_A² |H|² + q_b² for independent Brownian entries of scales q_A, q_b.
    The equation is an Itô one; `diffrax` solvers for Stratonovich equations (Heun, ...) need another drift.

    Args:
        A_bar, b_bar: trends, as in `neural_ode`.
        x0: initial states, one for each path; `jnp.broadcast_to(x, (10_000, d))` starts many from one point.
        scale_A, scale_b: q_A and q_b.
        activation: σ, a name of `resnet_apply` or an element-wise function.
        dW: the noise itself: `Increments` (scaled already) with the paths of x0 in front, or a standard Brownian
            path of diffrax with values (A, b) of shapes (*paths, d, d), (*paths, d), such as a
            `VirtualBrownianTree`, which is scaled here.
        key: instead of `dW`: draws the increments as the steps go, so that memory does not grow with their number.
        n_steps: F; needed unless `dW` holds increments.
        quadratic_variation: Q for other noise: a function of H (*paths, d) with values of that shape.
        ito: False leaves the term with σ''(0) out, which shows what it is for.
        return_path: whether to return H at 0, 1/F, ..., 1.

    Returns:
        H at 1, like x0; with `return_path` (F + 1, *paths, d). Strong error of order F^-½.

    Raises:
        ValueError: where σ(0) is not 0 or σ has a kink at 0 (ReLU); where not exactly one of `dW` and `key` is given,
            `n_steps` is missing, or shapes do not agree.

    Source: Cohen et al. 2021, the limit under Hypothesis 2; Cont, Rossier, Xu, arXiv:2212.08199.
    """
    equation, h0 = equation_of(A_bar, b_bar, x0, activation, scale_A, scale_b, quadratic_variation, ito)
    return _simulate(equation, h0, noise_of(dW, key, n_steps, h0), return_path)


@partial(jax.jit, static_argnames="return_path")
def _simulate(equation: Equation, h0: Array, noise: Noise, return_path: bool) -> Array:
    dt = jnp.asarray(1 / noise.steps, h0.dtype)

    def body(h: Array, k: Array) -> tuple[Array, Array | None]:
        h = equation.step(h, k * dt, dt, noise.at(k, h, equation))
        return h, h if return_path else None

    h0 = jnp.moveaxis(h0, -1, 0)
    h, path = jax.lax.scan(body, h0, jnp.arange(noise.steps))
    return jnp.moveaxis(h, 0, -1) if path is None else jnp.moveaxis(jnp.concatenate([h0[None], path]), 1, -1)


def brownian_increments(
    key: PRNGKeyArray,
    n_steps: int,
    dim: int,
    *,
    scale_A: Number,
    scale_b: Number,
    paths: tuple[int, ...] = (),
) -> Increments:
    """Increments over `n_steps` equal steps of [0, 1] of independent Brownian entries of scales q_A and q_b.

    Raises:
        ValueError: fewer than one step or a width below 1.
    """
    if n_steps < 1 or dim < 1:
        raise ValueError(f"at least one step and a width of at least 1 are needed, got n_steps={n_steps}, dim={dim}")
    to_A, to_b = jax.random.split(key)
    root = n_steps**-0.5
    return Increments(
        scale_A * root * jax.random.normal(to_A, (*paths, n_steps, dim, dim)),
        scale_b * root * jax.random.normal(to_b, (*paths, n_steps, dim)),
    )


def equation_of(
    A_bar: Trend,
    b_bar: Trend,
    x0: ArrayLike,
    activation: Activation,
    scale_A: Number,
    scale_b: Number,
    quadratic_variation: QuadraticVariation | None,
    ito: bool,
) -> tuple[Equation, Array]:
    """The coefficients, and the initial states as floating-point numbers."""
    h0 = as_floating(x0)
    d, dtype = h0.shape[-1], h0.dtype
    slope, curvature = derivatives_at_zero(activation)
    s1, s2, q_A, q_b = (jnp.asarray(one, dtype) for one in (slope, curvature if ito else 0.0, scale_A, scale_b))
    A, b = as_curve(A_bar, "A_bar", (d, d), dtype), as_curve(b_bar, "b_bar", (d,), dtype)
    return Equation(A, b, s1, s2, q_A, q_b, quadratic_variation), h0


def noise_of(
    dW: Increments | diffrax.AbstractPath | None, key: PRNGKeyArray | None, n_steps: int | None, h0: Array
) -> Noise:
    """The noise for states like `h0`.

    Raises:
        ValueError: not exactly one of `dW` and `key`, no number of steps, or increments that do not fit.
    """
    source = key if dW is None else dW
    if source is None or (dW is not None and key is not None):
        raise ValueError("the noise is needed once: give increments or a Brownian path as dW, or a key, not both")
    if not isinstance(source, Increments):
        if n_steps is None or n_steps < 1:
            raise ValueError(f"n_steps must say how many steps to take, at least 1, got {n_steps}")
        return Noise(source, n_steps)
    A, b = jnp.asarray(source.A, h0.dtype), jnp.asarray(source.b, h0.dtype)
    paths, d = h0.shape[:-1], h0.shape[-1]
    count = A.shape[-3] if A.ndim > 2 else 0
    if A.shape != (*paths, count, d, d) or b.shape != (*paths, count, d) or not count:
        raise ValueError(
            f"dW must hold increments A of shape {_shape(*paths, 'F', d, d)} and b of shape {_shape(*paths, 'F', d)} "
            f"for x0 of shape {h0.shape}, got {A.shape} and {b.shape}"
        )
    if n_steps not in (None, count):
        raise ValueError(f"dW holds {count} increments, so that n_steps={n_steps} is not possible; leave it out")
    # Steps first, which is what the loop goes along, and paths last.
    return Noise(Increments(jnp.moveaxis(A, (-3, -2, -1), (0, 1, 2)), jnp.moveaxis(b, (-2, -1), (0, 1))), count)


def _shape(*sizes: int | str) -> str:
    return f"({', '.join(map(str, sizes))})"
