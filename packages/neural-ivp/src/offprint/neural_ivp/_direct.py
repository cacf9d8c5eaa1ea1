"""Solvers of the projection without a sketch: dense, dual, truncated, on random weights, LSMR; and the choice."""

import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from offprint.neural_ivp._linear import Drawn, Info, LinearSolver, NystromPCG, as_blocks, info, within_limits
from offprint.neural_ivp._linear_maps import LinearMaps
from offprint.neural_ivp._products import as_rows, at_highest_precision, one_by_one
from offprint.neural_ivp._spectrum import largest_eigenvalue

LARGEST_MATRIX = 16_384
"""Rows of the largest matrix that `Auto` forms: 2 GB in float64."""

ITERATIONS = 50
"""Of a preconditioned solve, as `Auto` reckons: what a sketch of sufficient rank needs at usual tolerances."""


@dataclass(frozen=True)
class Dense(LinearSolver):
    """M formed by matrix products and factored by Cholesky: exact, O(N p² + p³) for each block.

    Where N k < p, M has no full rank and the smaller system of `Dual` gives the same v.
    """

    mu: float | int = 1e-6

    def solve(
        self,
        maps: LinearMaps,
        f: Float[Array, "N k"],
        key: Drawn | None = None,
        x0: Float[Array, " p"] | None = None,
    ) -> tuple[Float[Array, " p"], Info]:
        if f.size < maps.num_params:
            logging.getLogger(__name__).info("N k = %d < p = %d: the dual is solved", f.size, maps.num_params)
            return _dual(self, maps, f)
        return _primal(self, maps, f)


@dataclass(frozen=True)
class Dual(LinearSolver):
    """The same v from the N k x N k system (K/N + a I) α = f, v = Jᵀ α / N with K = J Jᵀ (Woodbury's identity).

    K comes layer by layer without J. Exact, O(N² Σ widths + N³) for each block: the choice for wide networks on
    some thousands of points.
    """

    mu: float | int = 1e-6

    def solve(
        self,
        maps: LinearMaps,
        f: Float[Array, "N k"],
        key: Drawn | None = None,
        x0: Float[Array, " p"] | None = None,
    ) -> tuple[Float[Array, " p"], Info]:
        return _dual(self, maps, f)


@at_highest_precision
def _primal(solver: Dense | Dual, maps: LinearMaps, f: Array) -> tuple[Array, Info]:
    M = maps.gram()
    F = as_blocks(maps.project(f), maps)
    x, rest = _regularised(M, F, solver.mu)
    v = x.reshape(-1)
    return v, info(v, **rest)


@at_highest_precision
def _dual(solver: Dense | Dual, maps: LinearMaps, f: Array) -> tuple[Array, Info]:
    w = maps.root_weights()
    K = w[:, :, None] * maps.kernel() * w[:, None, :]
    alpha, rest = _regularised(K, w * as_rows(f, maps.blocks), solver.mu)
    rows = (w * alpha).reshape(maps.blocks, f.shape[0], -1)
    v = maps.vjp(jnp.moveaxis(rows, 0, 1).reshape(f.shape))
    return v, info(v, **rest)


def _regularised(A: Float[Array, "B n n"], b: Float[Array, "B n"], mu: float | int) -> tuple[Array, dict[str, Array]]:
    """x of (A + μ λ_max I) x = b for each block, with one λ_max, and what there is to tell."""
    mu, _ = within_limits(mu, 1.0, A.dtype)
    n = A.shape[-1]
    lam_max = one_by_one(lambda block: largest_eigenvalue(lambda v: block @ v, n, A.dtype), A).max()
    a = mu * lam_max

    def solve_block(block: Array, rhs: Array) -> tuple[Array, Array, Array]:
        regularised = block + a * jnp.eye(n, dtype=A.dtype)
        L = jnp.linalg.cholesky(jax.lax.stop_gradient(regularised), symmetrize_input=False)

        def by_factor(_: object, c: Array) -> Array:
            return jax.scipy.linalg.cho_solve((L, True), c)

        x = jax.lax.custom_linear_solve(lambda y: regularised @ y, rhs, by_factor, symmetric=True)
        inverse = jax.scipy.linalg.solve_triangular(L, jnp.eye(n, dtype=A.dtype), lower=True)
        missed = jnp.linalg.norm(regularised @ x - rhs) / jnp.maximum(jnp.linalg.norm(rhs), jnp.finfo(A.dtype).tiny)
        return x, n - jax.lax.stop_gradient(a) * jnp.sum(inverse**2), jax.lax.stop_gradient(missed)

    x, d_eff, missed = one_by_one(solve_block, A, b)
    return x, {"residual": missed.max(), "lam_max": lam_max, "d_eff": d_eff.sum(), "adjusted_mu": a}


@dataclass(frozen=True)
class Lstsq(LinearSolver):
    """Least squares on J itself with its small singular values cut off, as in EDNN and Neural Galerkin."""

    rcond: float | int = 1e-4
    """Singular values of J up to rcond times the largest count as 0 (eigenvalues of M up to rcond²)."""

    @at_highest_precision
    def solve(
        self,
        maps: LinearMaps,
        f: Float[Array, "N k"],
        key: Drawn | None = None,
        x0: Float[Array, " p"] | None = None,
    ) -> tuple[Float[Array, " p"], Info]:
        w = maps.root_weights()
        x, rest = _truncated(w[:, :, None] * maps.jacobian(), w * as_rows(f, maps.blocks), self.rcond)
        v = x.reshape(-1)
        return v, info(v, **rest)


@dataclass(frozen=True)
class RandomSparse(LinearSolver):
    """Least squares over a random part of the weights, drawn anew for each right-hand side; the others rest.

    Source: randomised sparse Neural Galerkin schemes (Berman and Peherstorfer, 2023; arXiv 2310.04867).
    """

    size: int = 200
    """s: how many weights move, over all blocks together (rounded up to the same number in each)."""
    rcond: float | int = 1e-4

    @at_highest_precision
    def solve(
        self,
        maps: LinearMaps,
        f: Float[Array, "N k"],
        key: Drawn | None = None,
        x0: Float[Array, " p"] | None = None,
    ) -> tuple[Float[Array, " p"], Info]:
        if key is None:
            raise ValueError("RandomSparse draws the weights that move: a key is needed")
        piece = maps.num_params // maps.blocks
        size = math.ceil(self.size / maps.blocks)
        if size > piece:
            warnings.warn(
                f"size={self.size}, but there are {maps.num_params} weights: all move", UserWarning, stacklevel=3
            )
            size = piece
        keys = jax.random.split(key, maps.blocks)
        idx = jax.vmap(lambda k: jax.random.choice(k, piece, (size,), replace=False))(keys)
        w = maps.root_weights()
        x, rest = _truncated(w[:, :, None] * maps.columns(idx), w * as_rows(f, maps.blocks), self.rcond)
        v = jnp.zeros((maps.blocks, piece), x.dtype).at[jnp.arange(maps.blocks)[:, None], idx].set(x).reshape(-1)
        return v, info(v, **rest)


def _truncated(
    J: Float[Array, "B rows n"], f: Float[Array, "B rows"], rcond: float | int
) -> tuple[Array, dict[str, Array]]:
    """Minimum-norm least squares of each block by its singular values above rcond times its largest."""
    solver = lx.SVD(rcond=rcond)

    def block(A: Array, b: Array) -> tuple[Array, Array]:
        operator = lx.MatrixLinearOperator(A)
        state = jax.lax.stop_gradient(solver.init(operator, {}))
        x = lx.linear_solve(operator, b, solver, state=state, throw=False).value
        return x, state[0][1]

    x, s = one_by_one(block, J, f)
    kept = s > rcond * s[:, :1]
    squares = jnp.square(s)
    return x, {
        "lam_max": squares.max(),
        "lam_min": jnp.where(kept, squares, jnp.inf).min(),
        "d_eff": kept.sum(),
        "adjusted_mu": 0.0,
        "rank": kept.sum(),
    }


@dataclass(frozen=True)
class LSMR(LinearSolver):
    """Damped least squares by `lineax.LSMR` on J, without M: its condition is the root of that of M.

    No preconditioner, so that it needs many more products than `NystromPCG`; it needs no memory beside vectors.
    """

    mu: float | int = 1e-6
    tol: float | int = 1e-8
    maxiter: int = 5000

    @at_highest_precision
    def solve(
        self,
        maps: LinearMaps,
        f: Float[Array, "N k"],
        key: Drawn | None = None,
        x0: Float[Array, " p"] | None = None,
    ) -> tuple[Float[Array, " p"], Info]:
        mu, tol = within_limits(self.mu, self.tol, maps.weights.dtype)
        w = jnp.sqrt(maps.weights)[:, None]
        p, dtype = maps.num_params, maps.weights.dtype
        lam_max = largest_eigenvalue(maps.matvec, p, dtype)
        a = mu * lam_max
        damping = jnp.sqrt(a)
        operator = lx.FunctionLinearOperator(
            lambda v: (w * maps.jvp(v), damping * v), jax.ShapeDtypeStruct((p,), dtype)
        )
        options = {} if x0 is None else {"y0": jax.lax.stop_gradient(x0)}
        solution = lx.linear_solve(
            operator,
            (w * f, jnp.zeros(p, dtype)),
            lx.LSMR(rtol=tol, atol=tol, max_steps=self.maxiter, conlim=1e15),
            options=options,
            throw=False,
        )
        v, F = solution.value, maps.project(f)
        missed = jnp.linalg.norm(maps.matvec(v) + a * v - F) / jnp.linalg.norm(F)
        return v, info(
            v,
            iterations=solution.stats["num_steps"],
            residual=missed,
            converged=solution.result == lx.RESULTS.successful,
            lam_max=lam_max,
            adjusted_mu=a,
        )


@dataclass(frozen=True)
class Auto(LinearSolver):
    """`Dense`, `Dual` or `NystromPCG`, whichever the sizes make cheapest; exact ones where they are not dearer.

    Counted are flops, for each block of n = N k/B rows and p/B weights: n p² + p³ / 3 (dense),
    2 n² Σ widths + n³ / 3 (dual), 4 n p (rank + 50) (iterative). A matrix above 16 384 rows is not formed.
    """

    mu: float | int = 1e-6
    rank: int = 200
    tol: float | int = 1e-7
    maxiter: int = 500

    def choose(self, n: int, p: int, layerwise: bool = True) -> LinearSolver:
        """The solver for blocks of n = N k/B rows and p weights, with or without `layerwise` products."""
        common: dict[str, Any] = {"chunk": self.chunk, "products": self.products, "mu": self.mu}
        kernel = n * n * (8 * math.sqrt(p) if layerwise else 2 * p)  # a layer has about √p inputs and outputs
        exact = [(n * p * p + p**3 / 3, p, Dense(**common)), (kernel + n**3 / 3, n, Dual(**common))]
        costs = [(cost, solver) for cost, rows, solver in exact if rows <= LARGEST_MATRIX]
        sketched = NystromPCG(**common, rank=min(self.rank, n, p), tol=self.tol, maxiter=self.maxiter)
        costs.append((4 * n * p * (sketched.rank + ITERATIONS), sketched))
        return min(costs, key=lambda cost: cost[0])[1]

    def solve(
        self,
        maps: LinearMaps,
        f: Float[Array, "N k"],
        key: Drawn | None = None,
        x0: Float[Array, " p"] | None = None,
    ) -> tuple[Float[Array, " p"], Info]:
        n, p = maps.u.size // maps.blocks, maps.num_params // maps.blocks
        return self.choose(n, p, maps.layerwise).solve(maps, f, key, x0)
