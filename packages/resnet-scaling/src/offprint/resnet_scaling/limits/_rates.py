"""How fast networks approach their limits: errors against the depth, and the fitted rate."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.resnet_scaling._exponents import Fit, fit_exponent
from offprint.resnet_scaling._forward import Activation, sigma_of
from offprint.resnet_scaling.limits._activation import check_exponents
from offprint.resnet_scaling.limits._ode import Number, linear_ode, neural_ode
from offprint.resnet_scaling.limits._sde import (
    Equation,
    Increments,
    Noise,
    QuadraticVariation,
    apply_noise,
    equation_of,
    noise_of,
)
from offprint.resnet_scaling.limits._trend import Curve, Trend, as_curve, as_floating

Depths = Sequence[int] | Int[np.ndarray, " depths"]


class Rate(NamedTuple):
    """Distances of networks from their limit, and how they fall with the depth."""

    depths: Int[np.ndarray, " depths"]
    errors: Float[np.ndarray, " depths"]
    """Root mean square over the states of |network - limit|."""
    fit: Fit
    """Fit of log error on log depth."""
    local: Float[np.ndarray, " steps"]
    """Rate between one depth and the next, (depths - 1,)."""

    @property
    def rate(self) -> float:
        """r of error ~ L^-r."""
        return -float(self.fit.slope)


def convergence_rate(
    A_bar: Trend,
    b_bar: Trend,
    x0: Float[Array | np.ndarray, "*batch d"],
    depths: Depths,
    *,
    alpha: Number,
    beta: Number,
    activation: Activation = "tanh",
) -> Rate:
    """Distance of networks with weights Ā(k/L) L^-β and multiplier L^-α from their ODE limit at t = 1.

    The limit is the neural ODE for β = 0 and for a positively homogeneous σ (ReLU), else the linearised ODE. Use
    float64: at large depths the distances are below the rounding of float32.

    Args:
        A_bar, b_bar, x0, activation: as in `neural_ode`.
        depths: L, ascending. All are run by one compiled program.
        alpha, beta: exponents; a warning where α + β is not 1.

    Raises:
        ValueError: where the depths are not ascending positive integers, fewer than 3; where the linearised ODE is
            needed and σ does not allow it.

    Source: Cont, Rossier, Xu, arXiv:2212.08199.
    """
    counts = checked_depths(depths)
    check_exponents((alpha, beta), 1e-6)
    sigma = sigma_of(activation)
    h0 = as_floating(x0)
    d, dtype = h0.shape[-1], h0.dtype
    A, b = as_curve(A_bar, "A_bar", (d, d), dtype), as_curve(b_bar, "b_bar", (d,), dtype)
    limit_of = neural_ode if beta == 0 or is_homogeneous(sigma) else linear_ode
    limit = limit_of(A_bar, b_bar, h0, activation=activation)

    exponents = jnp.asarray([alpha, beta], dtype)
    return _rate(counts, [_network(jnp.asarray(L), exponents, A, b, h0, sigma) - limit for L in counts])


@partial(jax.jit, static_argnames="sigma")
def _network(
    depth: Int[Array, ""], exponents: Array, A: Curve, b: Curve, h0: Array, sigma: Callable[[Array], Array]
) -> Array:
    """Output of the network of `depth` layers, which is traced: the loop ends where it says."""
    multiplier, scale = depth.astype(h0.dtype) ** -exponents

    def layer(k: Array, h: Array) -> Array:
        t = k / depth.astype(h0.dtype)
        return h + multiplier * sigma(scale * (h @ A(t) + b(t)))

    return jax.lax.fori_loop(0, depth, layer, h0)


def strong_convergence_rate(
    A_bar: Trend,
    b_bar: Trend,
    x0: Float[Array | np.ndarray, "*paths d"],
    depths: Depths,
    *,
    scale_A: Number,
    scale_b: Number,
    activation: Activation = "tanh",
    dW: Increments | diffrax.AbstractPath | None = None,
    key: PRNGKeyArray | None = None,
    n_steps: int | None = None,
    quadratic_variation: QuadraticVariation | None = None,
    ito: bool = True,
) -> Rate:
    """Distance of networks with weights Ā/L + ΔW from the SDE limit on the same noise W, at t = 1.

    Every network takes the increments of W over its own layers, and the limit those over `n_steps` finer steps. All
    depths go through one loop over the fine steps, so that nothing but the states is stored.

    Args:
        x0: initial states, one for each path; the error is averaged over them.
        depths: L, ascending divisors of `n_steps`.
        n_steps: steps of the limit, 4 times the largest depth by default. With `dW`, as in `sde`.
        A_bar, b_bar, scale_A, scale_b, activation, dW, key, quadratic_variation, ito: as in `sde`.

    Raises:
        ValueError: where the depths are not ascending divisors of `n_steps`, fewer than 3; and as in `sde`.

    Source: Cont, Rossier, Xu, arXiv:2212.08199.
    """
    counts = checked_depths(depths)
    if n_steps is None and not isinstance(dW, Increments):
        n_steps = 4 * int(counts[-1])
    equation, h0 = equation_of(A_bar, b_bar, x0, activation, scale_A, scale_b, quadratic_variation, ito)
    noise = noise_of(dW, key, n_steps, h0)
    if any(noise.steps % counts):
        raise ValueError(f"every depth must divide the {noise.steps} steps of the limit, got {counts.tolist()}")
    outputs, limit = on_one_path(equation, sigma_of(activation), h0, jnp.asarray(counts), noise)
    return _rate(counts, list(outputs - limit))


@partial(jax.jit, static_argnames="sigma")
def on_one_path(
    equation: Equation, sigma: Callable[[Array], Array], h0: Array, counts: Int[Array, " depths"], noise: Noise
) -> tuple[Array, Array]:
    """Outputs of the networks (depths, *paths, d), and the limit (*paths, d)."""
    dt = jnp.asarray(1 / noise.steps, h0.dtype)

    def advance(h: Array, gathered: Increments, length: Array, f: Array, dW: Increments) -> tuple[Array, Increments]:
        """One network: adds the fine step's noise up, and applies the layer where that is complete."""
        start, width = f // length * length * dt, length * dt
        gathered = Increments(gathered.A + dW.A, gathered.b + dW.b)
        xi = width * equation.drift(h, start) + apply_noise(h, gathered)
        done = (f + 1) % length == 0
        return jnp.where(done, h + sigma(xi), h), jax.tree.map(lambda one: jnp.where(done, 0, one), gathered)

    def body(carry: tuple[Array, Array, Increments], f: Array) -> tuple[tuple[Array, Array, Increments], None]:
        limit, h, gathered = carry
        dW = noise.at(f, limit, equation)
        h, gathered = jax.vmap(partial(advance, f=f, dW=dW))(h, gathered, noise.steps // counts)
        return (equation.step(limit, f * dt, dt, dW), h, gathered), None

    h0 = jnp.moveaxis(h0, -1, 0)  # paths last inside of the loop
    networks = jnp.broadcast_to(h0, (*counts.shape, *h0.shape))
    nothing = Increments(jnp.zeros((*counts.shape, h0.shape[0], *h0.shape), h0.dtype), jnp.zeros_like(networks))
    (limit, outputs, _), _ = jax.lax.scan(body, (h0, networks, nothing), jnp.arange(noise.steps))
    return jnp.moveaxis(outputs, 1, -1), jnp.moveaxis(limit, 0, -1)


def is_homogeneous(sigma: Callable[[Array], Array]) -> bool:
    """Whether σ(cz) = c σ(z) for c > 0, as for ReLU and the identity."""
    with jax.ensure_compile_time_eval():
        z = jnp.asarray([-1.0, -0.3, 0.5, 2.0])
        return bool(jnp.allclose(sigma(4 * z), 4 * sigma(z)))


def checked_depths(depths: Depths) -> Int[np.ndarray, " depths"]:
    """The depths as an array.

    Raises:
        ValueError: fewer than 3, not positive, or not ascending.
    """
    counts = np.asarray(depths)
    if counts.ndim != 1 or counts.size < 3 or counts.dtype.kind not in "iu":
        raise ValueError(f"at least 3 depths, all integers, are needed for a rate, got {depths}")
    if counts[0] < 1 or any(np.diff(counts) <= 0):
        raise ValueError(f"the depths must be positive and ascending, got {counts.tolist()}")
    return counts


def _rate(depths: Int[np.ndarray, " depths"], differences: list[Array]) -> Rate:
    errors = np.array([float(jnp.sqrt(jnp.mean(jnp.sum(one**2, axis=-1)))) for one in differences])
    local = -np.diff(np.log(errors)) / np.diff(np.log(depths))
    return Rate(depths, errors, fit_exponent(depths, errors), local)
