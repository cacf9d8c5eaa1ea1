"""The memory curve as a smooth function of the matrix.

Through eigenvalues the derivative is a difference of quotients that blow up where eigenvalues meet. The curve
itself is smooth there. With t_j = tr(A^j dA), B's derivative on the unit circle,

    dB(w) = B(w) [-tr((wI - A)^-1 dA) + w tr((I - wA)^-1 dA)],

reads in coefficients

    db_k = Σ_{j >= 0} t_j (b_{k-1-j} - b_{k+1+j}),           dMC_τ = -2 Σ_{k <= τ} b_k db_k,

which holds at every matrix with spectral radius below 1, defective or not.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Complex, Float

from offprint.memory_capacity._blaschke import AllPass, cascade, from_coefficients, on_grid, unit_circle
from offprint.memory_capacity._network import eigenvalues

Form = Literal["cascade", "fft", "determinant"]

# Poles of inactive rows: far from the unit disc, so that they are told from the network's own.
_OUTSIDE = 2.0
# Complex numbers held at once by the determinant form's batch of matrices: 2**23 take 128 MiB.
_BATCH = 2**23


def poles_of(A: Float[Array, "N N"], active: Bool[Array, "N"]) -> tuple[Array, Array]:
    """Poles of the active block of `A` (other rows and columns zero) and which of the N values are theirs."""
    spectrum = eigenvalues(A + _OUTSIDE * jnp.diag((~active).astype(A.dtype)))
    distance = jnp.abs(spectrum - _OUTSIDE)
    # Inactive values are exactly 2 but for rounding: take as many of the nearest ones as there are.
    order = jnp.argsort(jnp.argsort(distance))
    return spectrum, order >= jnp.sum(~active)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _all_pass(
    A: Float[Array, "N N"], active: Bool[Array, "N"], n: int, horizon: int, form: Form
) -> tuple[Float[Array, "n"], Float[Array, "n"], Complex[Array, "N"]]:
    """Coefficients b_0..b_{n-1}, memory MC_0..MC_{n-1} and poles of the active block of `A`.

    The poles are padded with NaN (all NaN with the determinant form, which has none) and carry no derivative.

    `horizon` is the number of steps after which A^j is negligible: the FFT and determinant forms sample B at
    the next power of two above n + horizon, and derivatives leave out tr(A^j dA) from j = horizon on.
    """
    if form == "determinant":
        response = _from_determinants(A, active, n, grid_points(n, horizon))
        poles = jnp.full(A.shape[:1], jnp.nan, response.coefficients.dtype)
    else:
        poles, used = poles_of(A, active)
        response = on_grid(poles, used, n, grid_points(n, horizon)) if form == "fft" else cascade(poles, used, n)
        stable = jnp.all(~used | (jnp.abs(poles) < 1))
        response = jax.tree.map(lambda x: jnp.where(stable, x, jnp.nan), response)
        poles = jnp.where(used, poles, jnp.nan)
    return response.coefficients.real, response.energies, poles


@_all_pass.defjvp
def _all_pass_jvp(n: int, horizon: int, form: Form, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    A, active = primals
    dA, _ = tangents
    # Derivatives of order p + 1 need b up to n + p·horizon, and take it from this very function.
    b, energies, poles = all_pass(A, active, n + horizon, horizon, form)
    traces = _power_traces(A, dA, horizon)
    kernel = jnp.concatenate([-traces[::-1], jnp.zeros(1, traces.dtype), traces])  # at lags -horizon..horizon
    size = 2 ** math.ceil(math.log2(n + 3 * horizon + 1))
    product = jnp.fft.irfft(jnp.fft.rfft(b, size) * jnp.fft.rfft(kernel, size), size)
    db = product[horizon : horizon + n].astype(b.dtype)
    d_energies = -2 * jnp.cumsum(b[:n] * db)
    return (b[:n], energies[:n], poles), (db, d_energies, jnp.zeros_like(poles))


all_pass = jax.jit(_all_pass, static_argnums=(2, 3, 4))


def grid_points(n: int, horizon: int) -> int:
    """Frequencies at which the FFT and determinant forms sample B."""
    return 2 ** math.ceil(math.log2(max(n + horizon, 2)))


def _power_traces(A: Array, dA: Array, count: int) -> Array:
    """tr(A^j dA), j < count, from about 2 sqrt(count) matrix products (baby steps and giant steps)."""
    stride = math.isqrt(count - 1) + 1
    identity = jnp.eye(A.shape[0], dtype=A.dtype)
    last, small = jax.lax.scan(lambda P, _: (P @ A, P), identity, length=stride)
    _, large = jax.lax.scan(lambda P, _: (P @ last, P), identity, length=-(-count // stride))
    moved = jnp.einsum("qij,jk->qik", small, dA)
    return jnp.einsum("aki,qik->aq", large, moved).reshape(-1)[:count]


def _from_determinants(A: Array, active: Array, n: int, points: int) -> AllPass:
    """B(w) = det(wI - A) / det(I - wA) at roots of unity; needs no eigenvalues.

    For real A and |w| = 1, with D(w) = det(I - A/w), the ratio is w^r D/conj(D): the squared phase of one
    determinant, and half the circle is enough.
    """
    neurons = A.shape[0]
    circle = unit_circle(points, jnp.result_type(A.dtype, jnp.complex64))[: points // 2 + 1]
    # det(wI - A) = w^r det(I - A/w): inactive rows, being zero in A, drop out of the second determinant.
    identity = jnp.eye(neurons, dtype=A.dtype)

    def phase(w: Array) -> Array:
        return jnp.linalg.slogdet(identity - jnp.conj(w) * A)[0]

    # One at a time on the CPU: there XLA's batched LU waits for threads that wait for it, and may hang.
    batch = max(1, min(circle.shape[0], _BATCH // neurons**2))
    phases = jax.lax.platform_dependent(
        circle,
        cpu=lambda w: jax.lax.map(phase, w),
        default=lambda w: jax.lax.map(phase, w, batch_size=batch),
    )
    squared = phases**2
    power = (jnp.arange(circle.shape[0]) * jnp.sum(active)) % points
    values = squared * unit_circle(points, circle.dtype)[power]
    return from_coefficients(jnp.fft.irfft(jnp.conj(values), points).astype(A.dtype), n)
