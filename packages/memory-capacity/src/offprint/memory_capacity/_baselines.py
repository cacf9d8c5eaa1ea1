"""The estimators in use, as they are: what goes wrong when memory is computed through the Krylov matrix.

All of them start from X = [C, AC, ..., A^{H-1}C] (or its Gramian), which is singular to working precision for
most reservoirs, and differ in what they do about it. They are here to be compared with, not to be relied on.
Source: Ballarin et al. 2024 and its public MATLAB code.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.memory_capacity._gramian import doubling_gramian
from offprint.memory_capacity._krylov import arnoldi, krylov_matrix

Baseline = Literal["naive", "gramian", "arnoldi", "osm", "osm_plus"]
BASELINES: tuple[Baseline, ...] = ("naive", "gramian", "arnoldi", "osm", "osm_plus")

_ARNOLDI_STOP = 1e-13  # the paper's code stops when a new direction is this small
_ARNOLDI_RIDGE = 1e-14  # and adds this to Q Qᵀ before it inverts


class BaselineCurve(NamedTuple):
    values: Float[Array, "H"]
    rank: Int[Array, ""]  # directions that the estimator kept


@functools.partial(jax.jit, static_argnames=("horizon", "method"))
def baseline_curve(A: Float[Array, "N N"], C: Float[Array, "N"], horizon: int, method: Baseline) -> BaselineCurve:
    """The curve over all lags 0..horizon-1 by any method but `osm_plus`."""
    estimator = {"naive": _naive, "gramian": _gramian, "arnoldi": _arnoldi, "osm": _osm}[method]
    return estimator(A, C, horizon)


@functools.partial(jax.jit, static_argnames=("horizon", "n_masks"))
def osm_plus_curve(A: Float[Array, "N N"], key: PRNGKeyArray, horizon: int, n_masks: int) -> BaselineCurve:
    """OSM averaged over fresh Gaussian masks of norm 1, drawn from `key`; the rank is the smallest seen."""

    def one_mask(key: PRNGKeyArray) -> BaselineCurve:
        mask = jax.random.normal(key, A.shape[:1], A.dtype)
        return _osm(A, mask / jnp.linalg.norm(mask), horizon)

    # One by one: on the CPU, SVDs side by side fight for its cores.
    curves = jax.lax.map(one_mask, jax.random.split(key, n_masks))
    return BaselineCurve(jnp.mean(curves.values, axis=0), jnp.min(curves.rank))


def _naive(A: Array, C: Array, horizon: int) -> BaselineCurve:
    """diag(Xᵀ pinv(Xᵀ)): loses every direction below the pseudoinverse's tolerance."""
    singular, rows = _singular(A, C, horizon)
    kept = singular > _matlab_tolerance(singular, horizon)
    return BaselineCurve(jnp.sum(jnp.where(kept[:, None], rows**2, 0), axis=0), _count(kept))


def _osm(A: Array, C: Array, horizon: int) -> BaselineCurve:
    """Orthogonalised subspace method: squared row norms of V in X = U D Vᵀ, whatever D is.

    The total is min(N, H) always. Where D is below eps times its largest entry, V there is rounding noise.
    """
    singular, rows = _singular(A, C, horizon)
    kept = singular > _matlab_tolerance(singular, horizon)
    return BaselineCurve(jnp.sum(rows**2, axis=0), _count(kept))


def _gramian(A: Array, C: Array, horizon: int) -> BaselineCurve:
    """C' (A')^τ Γ⁺ A^τ C, with the condition number squared."""
    left, singular, right = jnp.linalg.svd(doubling_gramian(A, C))
    kept = singular > _matlab_tolerance(singular, A.shape[0])
    inverse = jnp.where(kept, 1 / jnp.where(kept, singular, 1), 0)
    X = krylov_matrix(A, C, horizon)
    return BaselineCurve(jnp.einsum("kt,k,kt->t", right @ X, inverse, left.T @ X), _count(kept))


def _arnoldi(A: Array, C: Array, horizon: int) -> BaselineCurve:
    """diag(Q' (Q Q' + 1e-14 I)⁻¹ Q) of the Krylov basis Q: ones up to the rank. The total is right, the curve isn't."""
    neurons = A.shape[0]
    basis = arnoldi(A, C, neurons, reorthogonalise=False, tol=_ARNOLDI_STOP)
    Q = jnp.where(jnp.arange(neurons) < basis.rank, basis.Q, 0)
    solved = jnp.linalg.solve(Q @ Q.T + _ARNOLDI_RIDGE * jnp.eye(neurons, dtype=Q.dtype), Q)
    values = jnp.sum(Q * solved, axis=0)
    return BaselineCurve(jnp.zeros(max(horizon, neurons), Q.dtype).at[:neurons].set(values)[:horizon], basis.rank)


def _singular(A: Array, C: Array, horizon: int) -> tuple[Array, Array]:
    _, singular, rows = jnp.linalg.svd(krylov_matrix(A, C, horizon), full_matrices=False)
    return singular, rows


def _matlab_tolerance(singular: Array, longest: int) -> Array:
    """MATLAB's max(size(X)) eps(‖X‖₂), set here since NumPy's and JAX's defaults are others.

    eps(x) is the gap from x to the next float: eps times the power of two at or below x.
    """
    norm = singular[0]
    power = jnp.exp2(jnp.floor(jnp.log2(jnp.where(norm > 0, norm, 1))))
    return max(longest, singular.shape[0]) * jnp.finfo(singular.dtype).eps * power


def _count(kept: Array) -> Array:
    return jnp.sum(kept).astype(jnp.int32)
