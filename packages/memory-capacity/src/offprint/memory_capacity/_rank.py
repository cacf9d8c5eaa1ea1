"""How many dimensions of the state the input can reach: the rank of [C, AC, A²C, ...].

By the paper's theorem the total memory capacity of a linear network *is* this rank. In floating point the
Krylov matrix is numerically singular long before its N-th column, so counting singular values answers another
question. `exact` answers the question asked: floats are dyadic rationals, and the rank of a rational matrix can
be had from modular arithmetic without rounding.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from offprint.memory_capacity._krylov import arnoldi, krylov_matrix
from offprint.memory_capacity._network import check_mask, check_matrix, concrete, eigenvalues

RankMethod = Literal["exact", "numerical", "svd"]

_PRIME = 2**31 - 1  # a Mersenne prime: 2**31 = 1 modulo it, so 2**e depends on e modulo 31 only
_HALF = 16  # bits of the low half of a residue: products of halves sum without rounding in float64


def reachable_rank(A: ArrayLike, C: ArrayLike, method: RankMethod | str = "exact") -> int | Array:
    """Rank of the controllability matrix of (A, C), which is the total memory capacity of the linear network.

    Args:
        A: (N, N) reservoir matrix.
        C: (N,) input mask.
        method:
            `"exact"`: the rank of the numbers as they are stored, in arithmetic modulo 2³¹ - 1: the degree of
            the minimal recurrence of uᵀAⁱC for a random u (Berlekamp and Massey). Never too high; too low
            with a probability of at most about 2N / 2³¹. Needs values, so it can't run inside `jit`.
            `"numerical"`: the first Arnoldi subdiagonal of at most 10 N eps ‖A‖₂.
            `"svd"`: singular values of [C, ..., A^{N-1}C] above N eps σ₁, as MATLAB's `rank` counts them.

    Returns:
        The rank; an int, or a traced integer inside `jit`.

    Raises:
        ValueError: wrong shapes or values, an unknown method, or `"exact"` inside `jit`.

    A structurally deficient pair in a rotated basis has full rank as it is stored (rounding made it so): where
    `"exact"` and `"numerical"` differ, look at `pbh_margin` before you trust either.
    Source: Gonon, Grigoryeva and Ortega, arXiv:2004.11234, and Ballarin et al. 2024 (total capacity = rank).
    """
    if method not in ("exact", "numerical", "svd"):
        raise ValueError(f"method must be one of 'exact', 'numerical', 'svd', got {method!r}.")
    matrix = check_matrix(A)
    mask = check_mask(C, matrix.shape[0], matrix.dtype)
    if method == "exact":
        # The numbers as they were given: conversion to a JAX array may have rounded them to float32.
        stored_A, stored_C = concrete(A), concrete(C)
        if stored_A is None or stored_C is None:
            raise ValueError(
                "The exact rank needs the values of A and C, and inside jit or vmap they are not known; "
                "compute it outside and pass it on as an int, or use 'numerical'."
            )
        return _rank_modulo_prime(stored_A, stored_C)
    rank = _numerical_rank(matrix, mask) if method == "numerical" else _svd_rank(matrix, mask)
    return rank if isinstance(rank, jax.core.Tracer) else int(rank)


class Reachability(NamedTuple):
    """What (A, C) can be trusted for: how large the reachable space is, and how close to smaller it is."""

    exact_rank: int  # of the stored numbers, by modular arithmetic
    numerical_rank: int  # by Arnoldi with a tolerance of 10 N eps ‖A‖₂
    min_subdiagonal: float  # the smallest of the first exact_rank - 1 Arnoldi subdiagonals; infinite below rank 2
    krylov_condition: float  # of [C, AC, ..., A^{N-1}C]; that of the Gramian is about its square
    pbh_margin: float  # 0 exactly where some direction is out of reach


def reachability(A: ArrayLike, C: ArrayLike) -> Reachability:
    """Everything that tells a full-rank network from a deficient one, for A (N, N) and C (N,); not inside `jit`.

    Where the two ranks differ, rounding alone decides, and the margins say how closely.
    """
    exact = int(reachable_rank(A, C, "exact"))
    matrix = check_matrix(A)
    mask = check_mask(C, matrix.shape[0], matrix.dtype)
    basis = arnoldi(matrix, mask)
    subdiagonals = jnp.diagonal(basis.H, -1)[: max(exact - 1, 0)]
    condition = jnp.linalg.cond(krylov_matrix(matrix, mask, matrix.shape[0]))
    return Reachability(
        exact_rank=exact,
        numerical_rank=int(basis.rank),
        min_subdiagonal=float(jnp.min(subdiagonals, initial=jnp.inf)),
        krylov_condition=float(jnp.where(jnp.isnan(condition), jnp.inf, condition)),
        pbh_margin=float(pbh_margin(matrix, mask)),
    )


def pbh_margin(A: ArrayLike, C: ArrayLike) -> Float[Array, ""]:
    """Popov-Belevitch-Hautus margin: min over eigenvalues λ of A of σ_min([A - λI, C]).

    It is 0 exactly where some direction of the state is out of the input's reach, and small where rounding
    alone decides. Shapes: A (N, N), C (N,). Cost: one singular value decomposition per eigenvalue.
    """
    matrix = check_matrix(A)
    mask = check_mask(C, matrix.shape[0], matrix.dtype)
    return _pbh_margin(matrix, mask)


@jax.jit
def _pbh_margin(A: Float[Array, "N N"], C: Float[Array, "N"]) -> Float[Array, ""]:
    identity = jnp.eye(A.shape[0])

    def smallest(eigenvalue: Array) -> Array:
        pencil = jnp.concatenate([A - eigenvalue * identity, C[:, None]], axis=1)
        return jnp.linalg.svd(pencil, compute_uv=False)[-1]

    return jnp.min(jax.lax.map(smallest, eigenvalues(A)))


@jax.jit
def _numerical_rank(A: Float[Array, "N N"], C: Float[Array, "N"]) -> Array:
    return arnoldi(A, C, A.shape[0]).rank


@jax.jit
def _svd_rank(A: Float[Array, "N N"], C: Float[Array, "N"]) -> Array:
    singular = jnp.linalg.svd(krylov_matrix(A, C, A.shape[0]), compute_uv=False)
    return jnp.sum(singular > A.shape[0] * jnp.finfo(A.dtype).eps * singular[0]).astype(jnp.int32)


def _rank_modulo_prime(A: np.ndarray, C: np.ndarray) -> int:
    """Dimension over GF(p) of the Krylov space of (A, C), by the minimal polynomial of uᵀAⁱC, i < 2N."""
    neurons = A.shape[0]
    residues, state = _to_residues(A), _to_residues(C)
    probe = np.random.default_rng(0x0FF).integers(1, _PRIME, neurons)
    low = (1 << _HALF) - 1
    # Rows: high halves above, low halves below, so that one product of two columns does all four.
    halves = np.concatenate([residues >> _HALF, residues & low]).astype(np.float64)
    sequence = np.empty(2 * neurons, np.int64)
    for i in range(2 * neurons):
        sequence[i] = (probe * state % _PRIME).sum() % _PRIME
        # Each entry sums N products below 2**32, exact in float64 for N < 2**21.
        parts = halves @ np.stack([state >> _HALF, state & low], axis=1).astype(np.float64)
        high, mixed = parts[:neurons, 0], parts[:neurons, 1] + parts[neurons:, 0]
        state = high.astype(np.int64) % _PRIME * (1 << _HALF) + mixed.astype(np.int64)
        state = state % _PRIME * (1 << _HALF) + parts[neurons:, 1].astype(np.int64)
        state %= _PRIME
    return _shortest_recurrence(sequence)


def _to_residues(x: np.ndarray) -> np.ndarray:
    """Floats m 2^e to m 2^(e mod 31) modulo p, without rounding."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    digits = np.ldexp(mantissa, 53).astype(np.int64) % _PRIME
    power = np.left_shift(np.int64(1), (exponent.astype(np.int64) - 53) % 31) % _PRIME
    return digits * power % _PRIME


def _shortest_recurrence(sequence: np.ndarray) -> int:
    """Length of the shortest linear recurrence of `sequence` modulo p (Berlekamp and Massey)."""
    size = len(sequence) + 1
    current, previous = np.zeros(size, np.int64), np.zeros(size, np.int64)
    current[0] = previous[0] = 1
    length, shift, last = 0, 1, 1
    for n in range(len(sequence)):
        window = sequence[n - length : n + 1][::-1]
        discrepancy = int((current[: length + 1] * window % _PRIME).sum() % _PRIME)
        if discrepancy == 0:
            shift += 1
            continue
        factor = discrepancy * pow(last, -1, _PRIME) % _PRIME
        updated = current.copy()
        updated[shift:] = (updated[shift:] - factor * previous[: size - shift] % _PRIME) % _PRIME
        if 2 * length <= n:
            length, previous, last, shift = n + 1 - length, current, discrepancy, 1
        else:
            shift += 1
        current = updated
    return length
