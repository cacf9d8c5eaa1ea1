"""Orthonormal polynomials of an input's law: the coordinates in which information processing is measured.

For a law with density or weights w, the polynomials p_0 = 1, p_1, ... with E[p_i(z) p_j(z)] = [i = j] obey

    sqrt(b_{n+1}) p_{n+1}(z) = (z - a_n) p_n(z) - sqrt(b_n) p_{n-1}(z),

and the classical families differ in a_n and b_n only (Koekoek, Lesky and Swarttouw, "Hypergeometric
Orthogonal Polynomials and Their q-Analogues", 2010; Gautschi, "Orthogonal Polynomials", 2004).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._network import MeaningWarning

Number = float | int
Recurrence = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Polynomials:
    """The orthonormal polynomials of one law."""

    name: str
    law: str
    """The law of the input that they are orthonormal for, in words."""
    recurrence: Recurrence
    """n = (0, 1, ...) -> (a_n, b_n); b_0 is not used."""
    max_degree: int | None = None
    """Highest degree, where the law has finitely many values (number of values less one)."""

    def table(self, z: ArrayLike, degree: int) -> Float[Array, "degrees time"]:
        """p_0, ..., p_degree at the samples z (T,): an array (degree + 1, T)."""
        z = arguments.real_array("z", z)
        self.check_degree(degree)
        a, b = self.recurrence(np.arange(degree + 1))
        rows = [jnp.ones_like(z)]
        previous = jnp.zeros_like(z)
        for n in range(degree):
            root = np.sqrt(b[n]) if n else 0.0
            following = ((z - a[n]) * rows[n] - root * previous) / np.sqrt(b[n + 1])
            previous = rows[n]
            rows.append(following.astype(z.dtype))
        return jnp.stack(rows)

    def check_degree(self, degree: int) -> None:
        """Refuses degrees at which the law has no polynomial."""
        arguments.count("degree", degree, least=0)
        if self.max_degree is not None and degree > self.max_degree:
            raise ValueError(
                f"degree {degree} of a law with {self.max_degree + 1} values ({self.law}): "
                f"its polynomials end at degree {self.max_degree}."
            )


def legendre(low: Number = -1.0, high: Number = 1.0) -> Polynomials:
    """For the uniform law on (low, high)."""
    return _moved("legendre", f"uniform on ({low:g}, {high:g})", lambda n: (0 * n, n**2 / (4 * n**2 - 1)), low, high)


def hermite(mean: Number = 0.0, std: Number = 1.0) -> Polynomials:
    """For the normal law (probabilists' polynomials)."""
    std = _positive("std", std)
    return Polynomials("hermite", f"normal ({mean:g}, {std:g})", lambda n: (0 * n + mean, std**2 * n))


def laguerre(shape: Number = 1.0, scale: Number = 1.0) -> Polynomials:
    """For the gamma law with that shape and scale (shape 1: exponential)."""
    k, s = _positive("shape", shape), _positive("scale", scale)
    return Polynomials("laguerre", f"gamma ({k:g}, scale {s:g})", lambda n: (s * (2 * n + k), s**2 * n * (n + k - 1)))


def jacobi(alpha: Number, beta: Number, low: Number = 0.0, high: Number = 1.0) -> Polynomials:
    """For the beta law with parameters (alpha, beta) on (low, high)."""
    p, q = _positive("beta", beta) - 1, _positive("alpha", alpha) - 1

    def recurrence(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s = 2 * n + p + q
        with np.errstate(divide="ignore", invalid="ignore"):
            a = (q**2 - p**2) / (s * (s + 2))
            b = 4 * n * (n + p) * (n + q) * (n + p + q) / (s**2 * (s + 1) * (s - 1))
        # The two places where a factor cancels.
        a = np.where(n == 0, (q - p) / (p + q + 2), a)
        b = np.where(n == 1, 4 * (1 + p) * (1 + q) / ((2 + p + q) ** 2 * (3 + p + q)), b)
        return a, b

    return _moved("jacobi", f"beta ({alpha:g}, {beta:g}) on ({low:g}, {high:g})", recurrence, low, high)


def charlier(rate: Number) -> Polynomials:
    """For the Poisson law with that mean."""
    m = _positive("rate", rate)
    return Polynomials("charlier", f"Poisson ({m:g})", lambda n: (n + m, n * m))


def krawtchouk(trials: int, p: Number) -> Polynomials:
    """For the binomial law: `trials` draws with probability p."""
    M, p = arguments.count("trials", trials), _probability("p", p)
    return Polynomials(
        "krawtchouk",
        f"binomial ({M}, {p:g})",
        lambda n: (p * (M - n) + n * (1 - p), n * p * (1 - p) * (M - n + 1)),
        M,
    )


def meixner(successes: Number, p: Number) -> Polynomials:
    """For the negative binomial law: failures before `successes` successes of probability p."""
    k, c = _positive("successes", successes), 1 - _probability("p", p)
    return Polynomials(
        "meixner",
        f"negative binomial ({k:g}, {p:g})",
        lambda n: ((n + (n + k) * c) / (1 - c), n * (n + k - 1) * c / (1 - c) ** 2),
    )


def hahn(trials: int, alpha: Number, beta: Number) -> Polynomials:
    """For the beta-binomial law: `trials` draws with a probability of law beta(alpha, beta)."""
    M = arguments.count("trials", trials)
    p, q = _positive("alpha", alpha) - 1, _positive("beta", beta) - 1

    def recurrence(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        def up(n: np.ndarray) -> np.ndarray:
            s = 2 * n + p + q
            with np.errstate(divide="ignore", invalid="ignore"):
                value = (n + p + q + 1) * (n + p + 1) * (M - n) / ((s + 1) * (s + 2))
            return np.where(n == 0, (p + 1) * M / (p + q + 2), value)

        s = 2 * n + p + q
        with np.errstate(divide="ignore", invalid="ignore"):
            down = np.where(n == 0, 0.0, n * (n + p + q + M + 1) * (n + q) / (s * (s + 1)))
        return up(n) + down, np.where(n == 0, 0.0, up(n - 1) * down)

    return Polynomials("hahn", f"beta-binomial ({M}, {alpha:g}, {beta:g})", recurrence, M)


def binary(low: Number = -1.0, high: Number = 1.0) -> Polynomials:
    """For two equally likely values (Rademacher: -1 and 1). There is degree 1 only."""
    return _moved("binary", f"{low:g} or {high:g}", lambda n: (0 * n, np.ones(n.shape)), low, high, 1)


def empirical(samples: ArrayLike, degree: int) -> Polynomials:
    """For the samples' own law (arbitrary polynomial chaos), up to `degree`, by Stieltjes' procedure.

    Samples (T,) have to be concrete. Where they take few distinct values the degree ends at one less.
    """
    if not arguments.is_concrete(samples):
        raise ValueError("samples are being traced; pass concrete samples, outside jax.jit.")
    z = np.asarray(arguments.real_array("samples", samples), np.float64).ravel()
    degree = arguments.count("degree", degree)
    values, counts = np.unique(z, return_counts=True)
    if values.size < 2:
        raise ValueError("samples are constant; a law with at least two values is needed.")
    last = min(degree, values.size - 1)
    weights = counts / z.size
    a, b = np.zeros(last + 1), np.ones(last + 1)
    now, before = np.ones_like(values), np.zeros_like(values)
    for n in range(last + 1):
        a[n] = np.sum(weights * values * now**2)
        following = (values - a[n]) * now - (np.sqrt(b[n]) if n else 0.0) * before
        if n < last:
            b[n + 1] = np.sum(weights * following**2)
            before, now = now, following / np.sqrt(b[n + 1])
    return Polynomials("empirical", f"of {z.size} samples", lambda n: (a[n], b[n]), last)


FAMILIES: dict[str, Callable[..., Polynomials]] = {
    family.__name__: family
    for family in (legendre, hermite, laguerre, jacobi, charlier, krawtchouk, meixner, hahn, binary, empirical)
}
"""The families by name."""

WITHOUT_PARAMETERS = ("legendre", "hermite", "laguerre", "binary")


def gram_deviation(table: Float[Array, "degrees time"]) -> tuple[float, float]:
    """Largest entry of |Gram - I| of the polynomials at the samples, and how many standard errors it is.

    The Gram matrix is the mean over time of p_i p_j, 1 <= i, j. Where the law fits, its entries scatter
    around those of I; at high degrees their scatter alone can be large, hence the second number.
    """
    P = np.asarray(table, np.float64)[1:]
    T = P.shape[1]
    gram, second = P @ P.T / T, P**2 @ (P**2).T / T
    deviation = np.abs(gram - np.eye(P.shape[0]))
    error = np.sqrt(np.maximum(second - gram**2, 1e-30) / T)
    worst = np.unravel_index(np.argmax(deviation), deviation.shape)
    return float(deviation[worst]), float((deviation / error)[deviation > 0.05].max(initial=0.0))


def warn_of_wrong_law(family: Polynomials, table: Float[Array, "degrees time"]) -> None:
    """Warns where the Gram matrix deviates from I by more than 0.05 and by more than eight standard errors."""
    if table.shape[0] < 2:
        return
    deviation, errors = gram_deviation(table)
    if deviation > 0.05 and errors > 8:
        warnings.warn(
            f"the {family.name} polynomials are not orthonormal on these inputs: their empirical Gram matrix "
            f"deviates by {deviation:.2g} from the identity. They fit an input that is {family.law}; "
            "choose the family of the input's law, or basis='empirical'.",
            MeaningWarning,
            stacklevel=3,
        )


def _moved(
    name: str, law: str, standard: Recurrence, low: Number, high: Number, max_degree: int | None = None
) -> Polynomials:
    """The family of a law on (-1, 1), moved to (low, high)."""
    if not low < high:
        raise ValueError(f"low={low!r} has to be below high={high!r}.")
    middle, half = (low + high) / 2, (high - low) / 2

    def recurrence(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = standard(n)
        return half * a + middle, half**2 * b

    return Polynomials(name, law, recurrence, max_degree)


def _positive(name: str, value: Number) -> Number:
    if not 0 < value < np.inf:
        raise ValueError(f"{name}={value!r}; a positive number is needed.")
    return value


def _probability(name: str, value: Number) -> Number:
    if not 0 < value < 1:
        raise ValueError(f"{name}={value!r}; a number between 0 and 1 is needed.")
    return value
