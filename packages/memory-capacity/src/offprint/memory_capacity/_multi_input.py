"""Memory curves of a linear network with several input channels.

With one channel the spectrum decides the curve. With several, the directions in which the input enters matter
too: the all-pass filter becomes an m x m inner matrix, the product of r elementary factors (Potapov), each with
a pole λ and a unit vector v. They are peeled off one eigenvalue at a time from the complex Schur form of A.
"""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float
from scipy.linalg import schur, solve_triangular

from offprint.memory_capacity._network import (
    MeaningWarning,
    check_count,
    check_mask,
    check_matrix,
    check_radius,
    concrete,
    warn_if_single,
)


def multi_input_memory_curve(A: ArrayLike, C: ArrayLike, n_lags: int) -> Float[Array, "m n_lags"]:
    """Entry (j, τ): the share of channel j's input τ steps ago that a linear readout of the state recovers.

    Args:
        A: (N, N) real reservoir matrix with spectral radius below 1.
        C: (N, m) input matrix: x_t = A x_{t-1} + C z_t with independent white channels of equal variance.
        n_lags: number of lags T, from lag 0.

    Returns:
        (m, T) values in [0, 1]. Summed over channels and all lags they give the rank of [C, AC, A²C, ...].

    Raises:
        ValueError: wrong shapes or values, a spectral radius of 1 or more, or a call inside `jit`: the Schur
            form and the deflation run on the host, in float64.
    """
    matrix = check_matrix(A)
    channels = check_mask(C, matrix.shape[0], matrix.dtype, channels=True)
    lags = check_count("n_lags", n_lags)
    # The given numbers, not their rounding to float32 where 64-bit numbers are off.
    stored_A, stored_C = concrete(A), concrete(C)
    if stored_A is None or stored_C is None:
        raise ValueError(
            "multi_input_memory_curve works on the host and can't be used inside jit or vmap; "
            "call it on concrete arrays."
        )
    warn_if_single()
    T, Q = schur(stored_A.astype(np.float64), output="complex")
    check_radius(float(np.abs(np.diag(T)).max()))
    if not stored_C.any():
        warnings.warn("C is zero: no input reaches the network, so its memory is 0.", MeaningWarning, stacklevel=2)
    poles, directions = _elementary_factors(T, Q.conj().T @ stored_C)
    kind = jnp.result_type(matrix.dtype, jnp.complex64)
    return _potapov_cascade(jnp.asarray(poles, kind), jnp.asarray(directions, kind), lags).astype(channels.dtype)


def _elementary_factors(T: np.ndarray, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poles (r,) and unit directions (r, m) of the factors, from the upper triangular T (N, N) and B (N, m).

    Each pass splits off the last state, which is a filter of its own, and lets the others see only what that
    filter leaves over: the same reachable space, in orthogonal pieces. A state that no input reaches is dropped.
    """
    channels = B.shape[1]
    negligible = 10 * T.shape[0] * np.finfo(np.float64).eps * np.linalg.norm(B)
    poles, directions = [], []
    for n in range(T.shape[0] - 1, -1, -1):
        pole, row = T[n, n], B[n]
        strength = np.linalg.norm(row)
        coupling, T, B = T[:n, n], T[:n, :n], B[:n]
        if strength <= negligible:
            continue
        v = row.conj() / strength
        gain = np.sqrt((1 - abs(pole)) * (1 + abs(pole)))
        drive = strength / gain * coupling
        g = solve_triangular(np.eye(n) - np.conj(pole) * T, np.conj(pole) * drive + gain * (B @ v)) if n else drive
        onward = (T @ g + drive) * gain - (B @ v) - pole * (B @ v)
        B = B + np.outer(onward, v.conj())
        poles.append(pole)
        directions.append(v)
    return np.asarray(poles, complex), np.asarray(directions, complex).reshape(len(poles), channels)


@functools.partial(jax.jit, static_argnums=2)
def _potapov_cascade(poles: Complex[Array, "r"], directions: Complex[Array, "r m"], n: int) -> Float[Array, "m n"]:
    """Σ_k |s_k[τ]|² of the factors u ← u + v(a' - a), a = v*u, s' = λs + ca, a' = cs - conj(λ) a.

    All channels' impulse responses at once; factor k works on time step t - k in pass t, as in the
    single-input cascade.
    """
    sections, channels = directions.shape
    real = jnp.zeros((), poles.dtype).real.dtype
    if sections == 0 or n == 0:
        return jnp.zeros((channels, n), real)
    size = jnp.abs(poles)
    gain = jnp.sqrt((1 - size) * (1 + size))[:, None]
    pole = poles[:, None]

    def pass_on(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], Array]:
        state, incoming, energy = carry  # (r, driven channel), (r, m, driven channel), (r, driven channel)
        along = jnp.einsum("km,kmj->kj", jnp.conj(directions), incoming)
        moved = pole * state + gain * along
        change = gain * state - jnp.conj(pole) * along - along
        outgoing = incoming + directions[:, :, None] * change[:, None, :]
        energy = energy + moved.real**2 + moved.imag**2
        return (moved, _shift(outgoing), _shift(energy)), energy[-1]

    impulse = jnp.zeros((sections, channels, channels), poles.dtype).at[0].set(jnp.eye(channels))
    start = (
        jnp.zeros((sections, channels), poles.dtype),
        impulse,
        jnp.zeros((sections, channels), real),
    )
    _, energies = jax.lax.scan(pass_on, start, None, length=n + sections - 1)
    return energies[sections - 1 :].T


def _shift(x: Array) -> Array:
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])
