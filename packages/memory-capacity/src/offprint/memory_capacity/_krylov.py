"""Krylov spaces of (A, C): the matrix, an orthonormal basis by Arnoldi, and how fast new directions shrink."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from offprint.memory_capacity._network import check_count, check_mask, check_matrix, eigenvalues


class Arnoldi(NamedTuple):
    """`A Q[:, :r] = Q[:, :r] H[:r, :r] + (a multiple of the next basis vector in the last column)`."""

    Q: Float[Array, "N n"]  # orthonormal columns; zero after an exact breakdown and after column N
    H: Float[Array, "n n"]  # upper Hessenberg; H[j, j-1] is the size of the j-th new direction
    rank: Int[Array, ""]  # columns before the first subdiagonal at or below the tolerance


class KrylovDistances(NamedTuple):
    """Entry j: the distance of A^j C from span{C, ..., A^{j-1} C}; entry 0 is ‖C‖."""

    arnoldi: Float[Array, "n"]  # ‖C‖ times the product of the first j Arnoldi subdiagonals
    svd: Float[Array, "n"]  # residual of projecting on the left singular vectors of [C, ..., A^{j-1} C]
    eigenvalues: Float[Array, "n"]  # ‖C‖ times the product of the j largest |eigenvalues|: the paper's rate


def krylov_matrix(A: ArrayLike, C: ArrayLike, n: int) -> Float[Array, "N n"]:
    """[C, AC, ..., A^{n-1}C], column by column, of shape (N, n), for A (N, N) and C (N,)."""
    matrix = check_matrix(A)
    mask = check_mask(C, matrix.shape[0], matrix.dtype)
    _, columns = jax.lax.scan(lambda x, _: (matrix @ x, x), mask, length=check_count("n", n))
    return columns.T


def arnoldi(
    A: ArrayLike, C: ArrayLike, n: int | None = None, reorthogonalise: bool = True, *, tol: float | None = None
) -> Arnoldi:
    """Arnoldi iteration that never stops early and never divides by zero, so that it can be jitted.

    Args:
        A: (N, N) matrix; C: (N,) start vector.
        n: number of basis vectors, default N. Columns beyond the N-th are zero.
        reorthogonalise: project twice (full reorthogonalisation). False is plain Gram-Schmidt in its
            modified form, as in the paper's code; its basis loses orthogonality.
        tol: a subdiagonal at or below it ends the reachable space; default 10 N eps ‖A‖₂.

    Returns:
        `Arnoldi(Q, H, rank)`. The rank marks where the reachable space ends; the basis itself goes on, along
        whatever direction rounding left, unless that is exactly zero.
    """
    matrix = check_matrix(A)
    neurons = matrix.shape[0]
    mask = check_mask(C, neurons, matrix.dtype)
    count = neurons if n is None else check_count("n", n, least=1)
    if tol is None:
        tolerance = 10 * neurons * jnp.finfo(matrix.dtype).eps * jnp.linalg.norm(jax.lax.stop_gradient(matrix), 2)
    else:
        tolerance = jnp.asarray(tol, matrix.dtype)
    return _arnoldi(matrix, mask, tolerance, count, reorthogonalise)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _arnoldi(A: Array, C: Array, tol: Array, n: int, reorthogonalise: bool) -> Arnoldi:
    neurons = A.shape[0]

    def modified_gram_schmidt(Q: Array, w: Array) -> tuple[Array, Array]:
        def against(w: Array, q: Array) -> tuple[Array, Array]:
            h = q @ w
            return w - h * q, h

        return jax.lax.scan(against, w, Q.T)

    def orthogonalise(Q: Array, w: Array) -> tuple[Array, Array]:
        if not reorthogonalise:
            return modified_gram_schmidt(Q, w)
        first = Q.T @ w
        w = w - Q @ first
        second = Q.T @ w
        return w - Q @ second, first + second

    def step(Q: Array, j: Array) -> tuple[Array, tuple[Array, Array]]:
        w, h = orthogonalise(Q, A @ Q[:, j])
        size = jnp.where(j + 1 < neurons, _norm(w), 0)
        return Q.at[:, j + 1].set(_direction(w, size)), (h, size)

    start = jnp.zeros((neurons, n + 1), A.dtype).at[:, 0].set(_direction(C, _norm(C)))
    Q, (columns, sizes) = jax.lax.scan(step, start, jnp.arange(n))
    H = columns[:, :n].T + jnp.diag(sizes[: n - 1], -1)
    small = jnp.concatenate([_norm(C)[None] == 0, sizes <= tol])
    return Arnoldi(Q[:, :n], H, jnp.argmax(small).astype(jnp.int32))


def _norm(x: Array) -> Array:
    """‖x‖ with the derivative 0 at x = 0 (that of `jnp.linalg.norm` is NaN)."""
    square = jnp.sum(x * x)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _direction(x: Array, size: Array) -> Array:
    return jnp.where(size > 0, x / jnp.where(size > 0, size, 1), 0)


def krylov_distances(A: ArrayLike, C: ArrayLike, n: int) -> KrylovDistances:
    """How far each new Krylov vector sticks out of the span of the earlier ones, in three ways, j = 0..n-1.

    The distances shrink about like the product of the largest |eigenvalues| ("Krylov squeezing"), so the Krylov
    matrix is numerically singular long before its N-th column. Shapes: A (N, N), C (N,); three arrays (n,).
    Source: Ballarin et al. 2024, the figure on Krylov subspace squeezing.
    """
    matrix = check_matrix(A)
    mask = check_mask(C, matrix.shape[0], matrix.dtype)
    return _krylov_distances(matrix, mask, check_count("n", n, least=1))


@functools.partial(jax.jit, static_argnums=2)
def _krylov_distances(A: Array, C: Array, n: int) -> KrylovDistances:
    neurons, size = A.shape[0], _norm(C)
    subdiagonals = jnp.diagonal(arnoldi(A, C, n).H, -1)
    by_arnoldi = size * jnp.concatenate([jnp.ones(1, A.dtype), jnp.cumprod(subdiagonals)])

    krylov = krylov_matrix(A, C, n)

    def residual(j: Array) -> Array:
        left, _, _ = jnp.linalg.svd(jnp.where(jnp.arange(n) < j, krylov, 0), full_matrices=False)
        basis = jnp.where(jnp.arange(left.shape[1]) < j, left, 0)  # the zeroed columns' vectors are arbitrary
        return _norm(krylov[:, j] - basis @ (basis.T @ krylov[:, j]))

    by_svd = jax.lax.map(residual, jnp.arange(n))

    largest = jnp.sort(jnp.abs(eigenvalues(A)))[::-1]
    product = size * jnp.concatenate([jnp.ones(1, A.dtype), jnp.cumprod(largest)])
    return KrylovDistances(by_arnoldi, by_svd, product[jnp.minimum(jnp.arange(n), neurons)])
