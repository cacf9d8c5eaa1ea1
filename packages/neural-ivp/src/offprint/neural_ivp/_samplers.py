"""Where the projection puts its points: a measure on the box, and points that stand for it."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.stats import qmc

from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._functional import Functional

Resample = Literal["step", "never", "rhs"]
Points = tuple[Float[Array, "n d"], Float[Array, " n"] | None]


@runtime_checkable
class Sampler(Protocol):
    """Draws the points X (N, d) and their weights of one projection: pure, and traced inside the step.

    Weights are those of an average, Σ w_i g(x_i)/N, and have mean 1; None means 1. Samplers are frozen dataclasses,
    static under `jit`.
    """

    @property
    def resample(self) -> Resample:
        """When there are new points: at each attempted step, never, or at each right-hand side."""

    def sample(
        self,
        key: PRNGKeyArray,
        apply: Functional,
        theta: Float[Array, " p"],
        t: Any = 0.0,
        *,
        pde: Callable[..., Array] | None = None,
        velocity: Float[Array, " p"] | None = None,
        previous: Float[Array, "n d"] | None = None,
    ) -> Points:
        """Points and weights.

        Args:
            key: where they are drawn from.
            apply: the network; its domain is the box.
            theta: its weights.
            t: the time.
            pde: the right-hand side L[u](x, t), for samplers that follow the residual.
            velocity: dθ/dt of the step before, likewise.
            previous: the points of the step before, for samplers that move points.

        Returns:
            X (N, d) and weights (N,) or None.
        """


@dataclass(frozen=True)
class Uniform:
    """`n` independent uniform points (the paper's), new at every attempted step.

    Args:
        n: points.
        resample: "step", "never" (the same points for the whole run) or "rhs".

    Raises:
        ValueError: n below 1, `resample` unknown.
    """

    n: int = 10_000
    resample: Resample = "step"

    def __post_init__(self):
        check_sampler(self.n, self.resample)

    def sample(self, key: PRNGKeyArray, apply: Functional, theta: Array, t: Any = 0.0, **_: Any) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler]."""
        return box_of(apply).uniform(key, self.n), None


@dataclass(frozen=True)
class Sobol:
    """A scrambled Sobol sequence with a random digital shift from the key: uniform points without clusters.

    The matrix scramble is one for all (SciPy's), the shift is new for each key, so averages are unbiased.

    Args:
        n: points, a power of two.
        resample: as in `Uniform`.

    Raises:
        ValueError: n is no power of two, `resample` unknown.
    """

    n: int = 8192
    resample: Resample = "step"

    def __post_init__(self):
        check_sampler(self.n, self.resample)
        if self.n & (self.n - 1):
            raise ValueError(f"a Sobol sequence needs a power of two of points, but n={self.n}; use Halton for others")

    def sample(self, key: PRNGKeyArray, apply: Functional, theta: Array, t: Any = 0.0, **_: Any) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler]."""
        domain = box_of(apply)
        shift = jax.random.bits(key, (domain.dim,), jnp.uint32)
        digits = jnp.asarray(_sobol_digits(domain.dim, self.n)) ^ shift
        return domain.from_unit(_as_unit(digits)), None


@dataclass(frozen=True)
class Halton:
    """A scrambled Halton sequence, shifted modulo 1 by the key; any number of points.

    Args:
        n: points.
        resample: as in `Uniform`.

    Raises:
        ValueError: n below 1, `resample` unknown.
    """

    n: int = 10_000
    resample: Resample = "step"

    def __post_init__(self):
        check_sampler(self.n, self.resample)

    def sample(self, key: PRNGKeyArray, apply: Functional, theta: Array, t: Any = 0.0, **_: Any) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler]."""
        domain = box_of(apply)
        shift = jax.random.uniform(key, (domain.dim,))
        return domain.from_unit((jnp.asarray(_halton_points(domain.dim, self.n), shift.dtype) + shift) % 1), None


@dataclass(frozen=True)
class Grid:
    """The midpoints of equal cells; in periodic directions this is the trapezoidal rule.

    Args:
        shape: cells in each direction, or one number for all.

    Raises:
        ValueError: a number below 1.
    """

    shape: int | tuple[int, ...]
    _: KW_ONLY
    resample: Resample = "never"

    def __post_init__(self):
        for n in np.atleast_1d(self.shape).tolist():
            check_sampler(n, self.resample)

    def sample(self, key: PRNGKeyArray, apply: Functional, theta: Array, t: Any = 0.0, **_: Any) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler]; the key does not matter."""
        axes = [(np.arange(n) + 0.5) / n for n in _per_direction(self.shape, box_of(apply).dim)]
        return box_of(apply).from_unit(_product(axes, theta.dtype)), None


@dataclass(frozen=True)
class GaussLegendre:
    """The product of Gauss-Legendre rules, with their weights: exact for polynomials of degree 2n - 1.

    Args:
        shape: nodes in each direction, or one number for all.

    Raises:
        ValueError: a number below 1.
    """

    shape: int | tuple[int, ...]
    _: KW_ONLY
    resample: Resample = "never"

    def __post_init__(self):
        for n in np.atleast_1d(self.shape).tolist():
            check_sampler(n, self.resample)

    def sample(self, key: PRNGKeyArray, apply: Functional, theta: Array, t: Any = 0.0, **_: Any) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler]; the key does not matter."""
        domain = box_of(apply)
        rules = [np.polynomial.legendre.leggauss(n) for n in _per_direction(self.shape, domain.dim)]
        x = domain.from_unit(_product([(nodes + 1) / 2 for nodes, _ in rules], theta.dtype))
        # each one-dimensional rule has the sum 2: times n/2 its mean is 1
        weights = _product([w * len(w) / 2 for _, w in rules], theta.dtype).prod(axis=1)
        return x, weights


def check_sampler(n: int, resample: str) -> None:
    """Raises: ValueError: no points, or an unknown word for when to draw them anew."""
    if n < 1:
        raise ValueError(f"a sampler needs at least one point, but n={n}")
    if resample not in get_args(Resample):
        raise ValueError(f"resample must be one of {', '.join(get_args(Resample))}, but is {resample!r}")


def box_of(apply: Functional) -> Box:
    """The domain of the network.

    Raises:
        ValueError: it has none.
    """
    if apply.domain is None:
        raise ValueError("the network does not say what its domain is: use functional(model, domain=Box(lo, hi))")
    return apply.domain


def _per_direction(shape: int | tuple[int, ...], dim: int) -> tuple[int, ...]:
    sizes = (shape,) * dim if isinstance(shape, int) else shape
    if len(sizes) != dim:
        raise ValueError(f"the rule has {len(sizes)} directions, but the domain has {dim}")
    return sizes


def _product(axes: list[np.ndarray], dtype: Any) -> Float[Array, "n d"]:
    mesh = np.meshgrid(*axes, indexing="ij")
    return jnp.asarray(np.stack([part.reshape(-1) for part in mesh], axis=1), dtype)


@lru_cache(maxsize=8)
def _sobol_digits(dim: int, n: int) -> np.ndarray:
    points = qmc.Sobol(dim, scramble=True, bits=32, seed=0).random(n)
    return np.asarray(points * 2.0**32, dtype=np.uint32)


@lru_cache(maxsize=8)
def _halton_points(dim: int, n: int) -> np.ndarray:
    return qmc.Halton(dim, scramble=True, seed=0).random(n)


def _as_unit(digits: Array) -> Array:
    """32 binary digits as a number in [0, 1); float32 takes the first 24, so that none is rounded up to 1."""
    dtype = jnp.result_type(float)
    if dtype == jnp.float32:
        return (digits >> 8).astype(dtype) * 2.0**-24
    return digits.astype(dtype) * 2.0**-32
