"""Heat and wave equations on a box with zero boundary values, as sine series.

Every mode Π sin(n_i π (x_i - lo_i) / L_i) of the initial condition evolves on its own. The coefficients are computed
once, in NumPy and float64, at the first use.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._problem import Field, Real
from offprint.neural_ivp.ics import Gaussian

MODES = {1: 256, 2: 96, 3: 48}
"""Modes for each coordinate of an initial condition that is not a Gaussian."""

MOST_MODES = {1: 512, 2: 256, 3: 128}
"""Likewise of a Gaussian; widths of 1/180, 1/90 and 1/45 of the side need them."""


class SineSeries:
    """Σ_n b_n Π_i sin(n_i π (x_i - lo_i) / L_i) of a function that vanishes on the boundary of a box.

    A Gaussian of any width is resolved to round-off, other functions with `MODES` modes for each coordinate.

    Args:
        f: `x (d,) -> (1,)`, without traced numbers in it.
        domain: the box, of at most 3 dimensions.
    """

    def __init__(self, f: Field, domain: Box):
        self.f = f
        self.domain = domain

    @cached_property
    def _modes(self) -> tuple[list[np.ndarray], np.ndarray]:
        """The numbers n_i for each coordinate, and the coefficients, one axis for each coordinate."""
        if isinstance(self.f, Gaussian):
            most = MOST_MODES[self.domain.dim]
            factors = [gaussian_modes(self.f.along(i), *side, most) for i, side in enumerate(_sides(self.domain))]
            coefficients = np.array(self.f.amp)
            for _, b in factors:
                coefficients = np.multiply.outer(coefficients, b)
            return [n for n, _ in factors], coefficients
        return _tensor_modes(self.f, self.domain)

    def __call__(self, x: Float[Array, "d"], evolve: Callable[[Array], Array]) -> Float[Array, ""]:
        """The series at x with each coefficient times `evolve(λ)`, λ = Σ (n_i π / L_i)² of its mode."""
        numbers, coefficients = self._modes
        waves = [n * np.pi / side for n, side in zip(numbers, self.domain.lengths)]
        eigenvalues = sum(np.ix_(*[wave**2 for wave in waves]))
        total = jnp.asarray(coefficients, x.dtype) * evolve(jnp.asarray(eigenvalues, x.dtype))
        for i, wave in enumerate(waves):
            total = jnp.tensordot(jnp.sin(jnp.asarray(wave, x.dtype) * (x[i] - self.domain.lo[i])), total, axes=1)
        return total


def heat_solution(ic: Field, domain: Box, diffusivity: Real) -> Callable[[Array, Any], Array] | None:
    """u(x, t) of u_t = D Δu, u = 0 on the boundary.

    Args:
        ic: u0, `x -> (1,)`.
        domain: the box.
        diffusivity: D.

    Returns:
        `(x, t) -> (1,)`: a product of one-dimensional series for a Gaussian, in any dimension; otherwise the series
        up to 3 dimensions, and None beyond.
    """
    if isinstance(ic, Gaussian):
        sides = [SineSeries(ic.along(i), Box([lo], [hi])) for i, (lo, hi) in enumerate(_sides(domain))]

        def product(x: Array, t: Any) -> Array:
            factors = [side(x[i : i + 1], lambda lam: jnp.exp(-diffusivity * lam * t)) for i, side in enumerate(sides)]
            return jnp.asarray(ic.amp, x.dtype) * jnp.prod(jnp.stack(factors))[None]

        return product
    if domain.dim > max(MODES):
        return None
    series = SineSeries(ic, domain)
    return lambda x, t: series(x, lambda lam: jnp.exp(-diffusivity * lam * t))[None]


def wave_solution(ic: Field, velocity: Field | None, domain: Box, c2: Real) -> Callable[[Array, Any], Array] | None:
    """(u, u_t)(x, t) of u_tt = c² Δu, u = 0 on the boundary.

    Args:
        ic: u0, `x -> (1,)`.
        velocity: u_t at t = 0, `x -> (1,)`, or None for 0.
        domain: the box.
        c2: c².

    Returns:
        `(x, t) -> (2,)`, up to 3 dimensions, or None.
    """
    if domain.dim > max(MODES):
        return None
    series = SineSeries(ic, domain)
    moving = None if velocity is None else SineSeries(velocity, domain)

    def solution(x: Array, t: Any) -> Array:
        def omega(lam: Array) -> Array:
            return jnp.sqrt(c2 * lam)

        u = series(x, lambda lam: jnp.cos(omega(lam) * t))
        w = series(x, lambda lam: -omega(lam) * jnp.sin(omega(lam) * t))
        if moving is not None:
            u += moving(x, lambda lam: jnp.sin(omega(lam) * t) / omega(lam))
            w += moving(x, lambda lam: jnp.cos(omega(lam) * t))
        return jnp.stack([u, w])

    return solution


def gaussian_modes(g: Gaussian, lo: float, hi: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and coefficients of the modes of a one-dimensional Gaussian that are above round-off.

    The coefficients of a Gaussian fall as exp(-(n π σ/L)²/2), under 1e-17 from n π σ/L = 9 on; one that is cut off by
    the boundary has more, and is resolved as far as `most` modes go.
    """
    sigma, centre = float(np.asarray(g.sigma)), float(np.asarray(g.centre))
    cut = max(np.exp(-(((end - centre) / sigma) ** 2) / 2) for end in (lo, hi)) > 1e-14
    count = most if cut else min(most, int(np.ceil(9 * (hi - lo) / (np.pi * sigma))))
    numbers = np.arange(1, count + 1)
    places, sines = _quadrature(count, lo, hi)
    coefficients = sines @ np.exp(-(((places - centre) / sigma) ** 2) / 2)
    large = np.abs(coefficients) > 1e-16 * np.abs(coefficients).max()  # a centred one has no even modes
    return numbers[large], coefficients[large]


def _tensor_modes(f: Field, domain: Box) -> tuple[list[np.ndarray], np.ndarray]:
    count = MODES[domain.dim]
    rules = [_quadrature(count, lo, hi) for lo, hi in _sides(domain)]
    grid = np.stack(np.meshgrid(*[places for places, _ in rules], indexing="ij"), axis=-1)
    with jax.ensure_compile_time_eval():  # the series may be first used inside a jitted function
        flat = jnp.asarray(grid.reshape(-1, domain.dim))
        values = np.asarray(jax.jit(lambda X: jax.lax.map(f, X, batch_size=4096))(flat))
    coefficients = values.reshape(grid.shape[:-1]).astype(float)
    for _, sines in rules:  # each turn contracts the first axis and puts that of its modes last
        coefficients = np.tensordot(coefficients, sines, axes=(0, 1))
    return [np.arange(1, count + 1)] * domain.dim, coefficients


def _quadrature(count: int, lo: float, hi: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes (m,), and the matrix (count, m) from values there to sine coefficients."""
    nodes, weights = np.polynomial.legendre.leggauss(2 * count + 40)
    share = (nodes + 1) / 2
    sines = np.sin(np.pi * np.arange(1, count + 1)[:, None] * share)
    return lo + (hi - lo) * share, sines * weights


def _sides(domain: Box) -> list[tuple[float, float]]:
    return list(zip(domain.lo, domain.hi))
