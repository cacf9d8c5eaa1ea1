"""Samples of states, made orthonormal: what every capacity of a measured network is computed from.

The capacity of a target y is the share of its variance that an affine readout of the states explains,
‖Qᵀy‖²/‖y - mean y‖², where the columns of Q span the centred states (Dambre et al. 2012). Q is computed
once, and Qᵀy for all lags of an input at once is one correlation by FFT.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.memory_capacity import _arguments as arguments

Solver = Literal["svd", "qr", "cholesky", "pinv", "lu"] | str
SOLVERS = ("svd", "qr", "cholesky", "pinv")

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Basis(NamedTuple):
    """Orthonormal basis of states: `states = mean + columns @ to_states`, up to the directions cut."""

    columns: Float[Array, "time neurons"]
    """Orthonormal columns; those of directions that were cut are zero."""
    transform: Float[Array, "neurons neurons"]
    """(states - mean) @ transform = columns."""
    mean: Float[Array, "neurons"]
    scales: Float[Array, "neurons"]
    """Singular values of the centred states (of R for "qr" and "cholesky": its diagonal)."""
    rank: Int[Array, ""]
    """How many directions are kept."""


def orthonormal_basis(
    states: Float[Array, "time neurons"],
    solver: str = "svd",
    rank_tol: float | None = None,
    centre: bool = True,
) -> Basis:
    """Orthonormal basis of the (centred) states, by one of four routes.

    - "svd": QR, then the SVD of R; directions whose singular value is below `rank_tol` times the largest
      are cut (default max(T, N) eps, the numerical rank).
    - "qr": Householder QR, and "cholesky": of the Gram matrix (squares the condition number): for states of
      full column rank; the rank counts the pivots above the tolerance.
    - "pinv": eigenvalues of the Gram matrix, cut below N eps times the largest, as MATLAB's pinv of it does.
    """
    n_samples, n_neurons = states.shape
    eps = float(jnp.finfo(states.dtype).eps)
    mean = states.mean(axis=0) if centre else jnp.zeros(n_neurons, states.dtype)
    X = states - mean
    if solver == "svd":
        Q, R = jnp.linalg.qr(X)
        U, s, Vh = jnp.linalg.svd(R, full_matrices=False)
        keep = s > s[0] * (max(n_samples, n_neurons) * eps if rank_tol is None else rank_tol)
        inverse = jnp.where(keep, 1 / jnp.where(keep, s, 1), 0)
        return Basis(_matmul(Q, U * keep), Vh.T * inverse, mean, s, keep.sum())
    if solver == "pinv":
        d, V = jnp.linalg.eigh(_matmul(X.T, X))
        d, V = d[::-1], V[:, ::-1]
        keep = d > d[0] * (n_neurons * eps if rank_tol is None else rank_tol**2)
        transform = V * jnp.where(keep, 1 / jnp.sqrt(jnp.where(keep, d, 1)), 0)
        return Basis(_matmul(X, transform), transform, mean, jnp.sqrt(jnp.maximum(d, 0)), keep.sum())
    R = jnp.linalg.qr(X, mode="r") if solver == "qr" else jnp.linalg.cholesky(_matmul(X.T, X)).T
    pivots = jnp.abs(jnp.diag(R))
    tolerance = max(n_samples, n_neurons) * eps if rank_tol is None else rank_tol
    transform = jax.scipy.linalg.solve_triangular(R, jnp.eye(n_neurons, dtype=X.dtype))
    columns = jnp.linalg.qr(X)[0] if solver == "qr" else _matmul(X, transform)
    # A failed Cholesky is NaN and counts as no pivot.
    return Basis(columns, transform, mean, pivots, jnp.sum(pivots > tolerance * pivots.max()))


def check_full_rank(basis: Basis, solver: str) -> None:
    """Refuses "qr" and "cholesky" for states that are numerically rank deficient."""
    if solver in ("qr", "cholesky") and arguments.is_concrete(basis.rank):
        n_neurons, rank = basis.scales.shape[0], int(basis.rank)
        if rank < n_neurons:
            raise ValueError(
                f"solver={solver!r} found {rank} independent columns in the states of {n_neurons} neurons; "
                "it needs all of them to be independent. Use solver='svd', which cuts the others."
            )


def lagged_products(
    columns: Float[Array, "window columns"],
    inputs: Float[Array, "time"],
    first: int,
    min_lag: int,
    n_lags: int,
) -> Float[Array, "lags columns"]:
    """sum_t columns[t] inputs[first + t - k] for the lags k = min_lag, ..., min_lag + n_lags - 1.

    Samples outside the input series count as zero. By FFT over blocks of time (overlap and save), whose
    spectra add up, so that the memory is one block's and there is one inverse transform.
    """
    window, n_columns = columns.shape
    # At least 4 lags' lengths, so that most of a block is new, and no longer than one block needs.
    size = 2 ** int(np.ceil(np.log2(min(max(4 * n_lags, 2048), window + n_lags))))
    block = size - n_lags + 1
    n_blocks = -(-window // block)
    Q = jnp.pad(columns, ((0, n_blocks * block - window), (0, 0))).reshape(n_blocks, block, n_columns)
    oldest = first - (min_lag + n_lags - 1)
    newest = oldest + (n_blocks - 1) * block + size
    z = jnp.pad(
        inputs[max(oldest, 0) : max(newest, 0)],
        (max(-oldest, 0), max(newest - max(inputs.shape[0], oldest, 0), 0)),
    )

    def add_block(total: Array, b: Array) -> tuple[Array, None]:
        past = jax.lax.dynamic_slice(z, (b * block,), (size,))
        spectrum = jnp.fft.rfft(Q[b].T, n=size).conj() * jnp.fft.rfft(past)
        return total + spectrum, None

    complex_type = jnp.result_type(columns.dtype, jnp.complex64)
    zero = jnp.zeros((n_columns, size // 2 + 1), complex_type)
    total = jax.lax.scan(add_block, zero, jnp.arange(n_blocks))[0]
    products = jnp.fft.irfft(total, n=size)[:, :n_lags]
    # A linear solve that uses this would ask the transform for a transposed layout, which XLA's CPU
    # transform refuses at run time; a vector has only one layout.
    products = jax.lax.optimization_barrier(products.reshape(-1)).reshape(products.shape)
    return products[:, ::-1].T


def lagged_variation(
    inputs: Float[Array, "time"], first: int, window: int, min_lag: int, n_lags: int
) -> tuple[Float[Array, "lags"], Float[Array, "lags"]]:
    """Sum, and sum of squared deviations from the mean, of inputs[first - k : first - k + window] for each lag.

    All the samples have to exist. From one lag to the next, one sample enters and one leaves.
    """
    start = first - min_lag
    shifted = inputs - inputs[start : start + window].mean()

    def sums(values: Array) -> Array:
        enters = values[start - n_lags + 1 : start][::-1]
        leaves = values[start + window - n_lags + 1 : start + window][::-1]
        base = values[start : start + window].sum()
        return base + jnp.concatenate([jnp.zeros(1, values.dtype), jnp.cumsum(enters - leaves)])

    total, squares = sums(shifted), sums(shifted**2)
    return total + window * (inputs - shifted)[0], squares - total**2 / window
