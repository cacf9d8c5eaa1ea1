"""Initial conditions: functions of one point, `x (d,) -> (1,)`. A sum or a product of them is written as a lambda."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._domain import Box


@dataclass(frozen=True)
class Gaussian:
    """amp exp(-|x - centre|² / (2 sigma²)), with a number of its own for sigma and centre in each coordinate or one.

    Made by `gaussian`; a problem recognises it and attaches closed forms.
    """

    sigma: float | tuple[float, ...]
    amp: float
    centre: float | tuple[float, ...]

    def __call__(self, x: Float[Array, "d"]) -> Float[Array, "1"]:
        sigma, centre = (jnp.asarray(part, x.dtype) for part in (self.sigma, self.centre))
        return jnp.asarray(self.amp, x.dtype) * jnp.exp(-(((x - centre) / sigma) ** 2).sum() / 2)[None]

    def along(self, axis: int) -> "Gaussian":
        """The factor of coordinate `axis`, without the amplitude: the Gaussian is `amp` times their product."""
        sigma, centre = (part[axis] if isinstance(part, tuple) else part for part in (self.sigma, self.centre))
        return Gaussian(sigma, 1.0, centre)


Numbers = float | int | Sequence[float | int] | np.ndarray


def gaussian(sigma: Numbers = 0.05, amp: float | int | None = None, centre: Numbers = 0.0) -> Gaussian:
    """The pulse of the paper's experiments: exp(-|x|²/(2σ²)) / (60 π σ²) with σ = 0.05, of height 2.122.

    Args:
        sigma: its width, or one for each coordinate.
        amp: its height; by default 1 / (60 π σ²), the same in any dimension, as the authors' code has it.
        centre: where it is, or one number for each coordinate.

    Raises:
        ValueError: a width that is not positive, or several widths without a height.
    """
    widths = np.atleast_1d(np.asarray(sigma, dtype=float))
    if not (widths > 0).all():
        raise ValueError(f"sigma={sigma}; widths are positive")
    if amp is None:
        if widths.size > 1:
            raise ValueError("give amp, the height, when sigma has a width for each coordinate")
        amp = 1 / (60 * np.pi * float(widths[0]) ** 2)
    return Gaussian(_one_or_each(sigma), float(amp), _one_or_each(centre))


@dataclass(frozen=True)
class GaussianDensity:
    """Density of the normal distribution N(mean, cov). Made by `gaussian_density`."""

    mean: tuple[float, ...]
    cov: tuple[tuple[float, ...], ...]

    def __call__(self, x: Float[Array, "d"]) -> Float[Array, "1"]:
        # Through the Cholesky factor, once in NumPy: the precision of float64 whatever x has.
        lower = np.linalg.cholesky(np.array(self.cov))
        whiten = np.linalg.inv(lower)
        log_norm = np.log(np.diag(lower)).sum() + len(self.mean) / 2 * np.log(2 * np.pi)
        z = jnp.asarray(whiten, x.dtype) @ (x - jnp.asarray(self.mean, x.dtype))
        return jnp.exp(-(z @ z) / 2 - jnp.asarray(log_norm, x.dtype))[None]


def gaussian_density(
    mean: Numbers, cov: Numbers | Sequence[Sequence[float | int]], dim: int | None = None
) -> GaussianDensity:
    """Density of N(mean, cov).

    Args:
        mean: (d,), or one number for all coordinates.
        cov: (d, d), (d,) variances, or one variance for all coordinates.
        dim: d; needed when neither says it.

    Raises:
        ValueError: no dimension, sizes that do not agree, or a covariance that is not symmetric positive definite.
    """
    mean, cov = np.asarray(mean, dtype=float), np.asarray(cov, dtype=float)
    d = dim if dim is not None else max(mean.size, cov.shape[0] if cov.ndim else 1)
    try:
        mean = np.broadcast_to(mean, (d,))
        cov = np.diag(np.broadcast_to(cov, (d,))) if cov.ndim < 2 else np.broadcast_to(cov, (d, d))
    except ValueError as error:
        raise ValueError(
            f"mean of shape {mean.shape} and cov of shape {cov.shape} do not fit {d} dimensions"
        ) from error
    if not np.allclose(cov, cov.T) or np.linalg.eigvalsh(cov).min() <= 0:
        raise ValueError(f"cov={cov.tolist()} is not symmetric positive definite")
    return GaussianDensity(tuple(mean.tolist()), tuple(map(tuple, cov.tolist())))


@dataclass(frozen=True)
class GaussCos:
    """A Gaussian times cos(frequency e·(x - centre)), e the first coordinate. Made by `gauss_cos`."""

    envelope: Gaussian
    frequency: float

    def __call__(self, x: Float[Array, "d"]) -> Float[Array, "1"]:
        centre = self.envelope.centre
        first = centre[0] if isinstance(centre, tuple) else centre
        return self.envelope(x) * jnp.cos(jnp.asarray(self.frequency, x.dtype) * (x[0] - first))


def gauss_cos(
    frequency: float | int = 20.0, sigma: Numbers = 0.2, amp: float | int = 1.0, centre: Numbers = 0.0
) -> GaussCos:
    """A wave packet: a Gaussian envelope times cos(frequency · (x_0 - centre_0)), for tests of fine detail.

    Args:
        frequency: angular frequency in radians for a unit of length.
        sigma, amp, centre: as in `gaussian`.

    Raises:
        ValueError: a width that is not positive.
    """
    return GaussCos(gaussian(sigma, amp, centre), float(frequency))


@dataclass(frozen=True)
class ProductBump:
    """Π_i (3/2) (1 - ξ_i²) / (side i), a density on the box that vanishes on its boundary. Made by `product_bump`."""

    domain: Box

    def __call__(self, x: Float[Array, "d"]) -> Float[Array, "1"]:
        scale = jnp.asarray(1.5 / self.domain.lengths, x.dtype)
        return jnp.prod(scale * (1 - self.domain.normalize(x) ** 2))[None]


def product_bump(domain: Box) -> ProductBump:
    """Π_i (3/4) (1 - x_i²) on [-1, 1]^d, and its like on other boxes: integral 1, mean in the middle, variance 0.2.

    Initial condition of the paper's Fokker-Planck problem.
    """
    return ProductBump(domain)


def _one_or_each(numbers: Numbers) -> float | tuple[float, ...]:
    array = np.asarray(numbers, dtype=float)
    return float(array) if array.ndim == 0 else tuple(array.tolist())
