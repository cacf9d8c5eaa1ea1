"""The all-pass filter with a network's poles, from which its memory curve is read off.

The memory of a linear network with reachable spectrum λ_1..λ_r lies in one finite Blaschke product

    B(z) = Π_i (z - conj λ_i) / (1 - λ_i z) = Σ_k b_k z^k,      MC_τ = 1 - Σ_{k ≤ τ} |b_k|² = Σ_{k > τ} |b_k|²,

because the row space of [C, AC, A²C, ...] is the model space H² ⊖ B·H². B is unimodular on the unit circle, so
nothing here is ever ill-conditioned, however singular the Krylov matrix is. B is built as a cascade of r
first-order sections, each a 2x2 rotation, known in system identification as the Takenaka-Malmquist (orthonormal
basis) realisation; Beurling's theorem gives the model space.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Complex, Float

from offprint.memory_capacity._network import check_count, concrete

_NEAR_CIRCLE = 0.1  # 1 - |λ|² below which a section avoids cancellation rather than drift


class AllPass(NamedTuple):
    """The response of the cascade to one unit impulse."""

    coefficients: Complex[Array, "n"]  # b_0 .. b_{n-1}
    energies: Float[Array, "n"]  # Σ_k |s_k[τ]|² = MC_τ, accurate relative to its own size in the tail too


class StateForm(NamedTuple):
    """An input-normal pair: the columns of [b, Ab, A²b, ...] are orthonormal rows of length infinity."""

    A: Complex[Array, "r r"]  # lower triangular, poles on the diagonal
    b: Complex[Array, "r"]


def memory_curve_from_poles(poles: ArrayLike, n_lags: int, *, mask: ArrayLike | None = None) -> Float[Array, "n_lags"]:
    """The memory curve MC_0..MC_{n_lags-1} of a linear network with the given reachable spectrum.

    Args:
        poles: (r,) eigenvalues with multiplicity, |λ| < 1; complex ones needn't come in conjugate pairs.
        n_lags: number of lags T.
        mask: (r,) booleans; False leaves a pole out, so that the number of poles can be traced.

    Returns:
        (T,) values in [0, 1], not increasing, summing to r over all lags.

    Raises:
        ValueError: poles of the wrong shape, not finite, or of modulus 1 or more (NaN inside `jit`).

    Differentiable in the poles. For derivatives in A use `memory_curve`: eigenvalues themselves have none at a
    defective matrix, and the curve has.
    """
    spectrum, active = _check_poles(poles, mask)
    return _inside_disc(cascade(spectrum, active, check_count("n_lags", n_lags)).energies, spectrum, active)


def blaschke_coefficients(poles: ArrayLike, n: int) -> Complex[Array, "n"]:
    """b_0..b_{n-1} of B(z) = Π_i (z - conj λ_i)/(1 - λ_i z), for poles of shape (r,), |λ| < 1.

    They are real (with zero imaginary part up to rounding) where complex poles come in conjugate pairs.
    """
    spectrum, active = _check_poles(poles, None)
    return _inside_disc(cascade(spectrum, active, check_count("n", n)).coefficients, spectrum, active)


def takenaka_malmquist(poles: ArrayLike) -> StateForm:
    """The orthonormal state form of the poles (r,): MC_τ = ‖A^τ b‖² for the returned A (r, r) and b (r,).

    With c_k = sqrt(1 - |λ_k|²): A_kk = λ_k, A_kj = c_k c_j Π_{j<i<k} (-conj λ_i) for j < k, and
    b_k = c_k Π_{j<k} (-conj λ_j). Its controllability Gramian is the identity.
    """
    spectrum, _ = _check_poles(poles, None)
    rows = jnp.arange(spectrum.shape[0])
    gains = jnp.sqrt(_power(spectrum))

    def next_row(carry: tuple[Array, Array], section: tuple[Array, ...]) -> tuple[tuple[Array, Array], tuple]:
        through, passed = carry  # what reaches this section from each earlier state, and from the input
        pole, gain, k = section
        row = jnp.where(rows == k, pole, gain * through)
        onward = jnp.where(rows == k, gain, -jnp.conj(pole) * through)
        return (onward, -jnp.conj(pole) * passed), (row, gain * passed)

    start = (jnp.zeros_like(spectrum), jnp.ones((), spectrum.dtype))
    _, (A, b) = jax.lax.scan(next_row, start, (spectrum, gains, rows))
    return StateForm(A, b)


@functools.partial(jax.jit, static_argnums=2)
def cascade(poles: Complex[Array, "r"], active: Bool[Array, "r"], n: int) -> AllPass:
    """n steps of the impulse response of the sections (z - conj λ)/(1 - λz), one after another.

    Section k works on time step m - k in pass m, so that all sections run side by side: n + r - 1 passes over
    vectors of length r. Sections that aren't active hand their input on.
    """
    sections = poles.shape[0]
    real = jnp.zeros((), poles.dtype).real.dtype
    if n == 0 or sections == 0:
        impulse = (jnp.arange(n) == 0).astype(poles.dtype)
        return AllPass(impulse, jnp.zeros(n, real))
    pole = jnp.where(active, poles, 0)
    power = jnp.where(active, _power(pole), 0)  # c², the energy of x = state / c
    # Two ways to write one output. The second has c² in the signal path, whose rounding is the same at every
    # step and would add up over sections; the first has it not, but cancels where c² is small.
    near_circle = power < _NEAR_CIRCLE

    def pass_on(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], AllPass]:
        x, incoming, energy = carry
        moved = pole * x + incoming
        outgoing = jnp.where(near_circle, power * x - jnp.conj(pole) * incoming, x - jnp.conj(pole) * moved)
        outgoing = jnp.where(active, outgoing, incoming)
        energy = energy + power * (moved.real**2 + moved.imag**2)
        return (moved, _shift(outgoing), _shift(energy)), AllPass(outgoing[-1], energy[-1])

    start = (
        jnp.zeros_like(pole),
        (jnp.arange(sections) == 0).astype(pole.dtype),
        jnp.zeros(sections, real),
    )
    _, response = jax.lax.scan(pass_on, start, None, length=n + sections - 1)
    return AllPass(response.coefficients[sections - 1 :], response.energies[sections - 1 :])


@functools.partial(jax.jit, static_argnums=(2, 3))
def on_grid(poles: Complex[Array, "r"], active: Bool[Array, "r"], n: int, points: int) -> AllPass:
    """The same response by one FFT of B at `points` >= n roots of unity; b_k is aliased with b_{k + points}."""
    circle = unit_circle(points, poles.dtype)

    def multiply(product: Array, section: tuple[Array, Array]) -> tuple[Array, None]:
        pole, used = section
        factor = (circle - jnp.conj(pole)) / (1 - jnp.where(used, pole, 0) * circle)
        return product * jnp.where(used, factor, 1), None

    values, _ = jax.lax.scan(multiply, jnp.ones_like(circle), (poles, active))
    return from_coefficients(jnp.fft.fft(values) / points, n)


def from_coefficients(coefficients: Array, n: int) -> AllPass:
    """Energies as the reverse cumulative sum of |b_k|², so that the tail keeps its digits."""
    power = coefficients.real**2 + coefficients.imag**2
    beyond = jnp.cumsum(power[::-1])[::-1] - power
    return AllPass(coefficients[:n].astype(jnp.result_type(coefficients, jnp.complex64)), beyond[:n])


def unit_circle(points: int, dtype: np.dtype) -> Complex[Array, "points"]:
    """exp(2πi n / points), n = 0..points-1, rounded once."""
    return jnp.asarray(np.exp(2j * np.pi * np.arange(points) / points), dtype)


def _power(poles: Array) -> Array:
    """c² = 1 - |λ|², as (1 - |λ|)(1 + |λ|) to keep the digits near the unit circle."""
    size = jnp.abs(poles)
    return (1 - size) * (1 + size)


def _shift(x: Array) -> Array:
    return jnp.concatenate([jnp.zeros(1, x.dtype), x[:-1]])


def _inside_disc(values: Array, poles: Array, active: Array) -> Array:
    """NaN where a pole isn't inside the unit disc: traced poles can't be refused any other way."""
    return jnp.where(jnp.all(~active | (jnp.abs(poles) < 1)), values, jnp.nan)


def _check_poles(poles: ArrayLike, mask: ArrayLike | None) -> tuple[Complex[Array, "r"], Bool[Array, "r"]]:
    shape = np.shape(poles)
    if len(shape) != 1:
        raise ValueError(f"poles must have shape (r,), got shape {shape}.")
    if mask is not None and np.shape(mask) != shape:
        raise ValueError(f"mask must have the shape of poles, {shape}, got shape {np.shape(mask)}.")
    spectrum = jnp.asarray(poles, jnp.promote_types(jnp.result_type(poles), jnp.complex64))
    active = jnp.ones(shape, bool) if mask is None else jnp.asarray(mask, bool)
    values, used = concrete(spectrum), concrete(active)
    if values is not None and used is not None and used.any():
        largest = np.abs(values[used]).max()
        if not largest < 1:  # NaN too
            raise ValueError(f"poles must be finite and of modulus below 1, got a largest modulus of {largest:.6g}.")
    return spectrum, active
