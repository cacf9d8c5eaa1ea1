"""Solvers of the projection (M + a I) v = F by matrix-free iteration, and what all solvers share."""

import warnings
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from offprint.neural_ivp._linear_maps import LinearMaps
from offprint.neural_ivp._nystrom import nystrom, preconditioner
from offprint.neural_ivp._pcg import pcg
from offprint.neural_ivp._spectrum import block_matmat, effective_dimension

RANKS = (50, 100, 200, 400, 800)
"""The ranks between which an adaptive sketch moves: few, since each is compiled anew."""

Drawn = Key[Array, ""] | Float[Array, "_ _"]
"""A key to draw from, or the test matrix of a sketch that was drawn with it."""

FLOAT32_TOL, FLOAT32_MU = 1e-5, 1e-6
"""What float32 can do: below these, rounding decides."""


class Info(NamedTuple):
    """How one projection went; numbers that a solver does not know are NaN."""

    iterations: Int[Array, ""]
    """Of the block that took most; 0 for direct solvers."""
    residual: Float[Array, ""]
    """‖(M + a I) v - F‖ / ‖F‖ of the worst block."""
    converged: Bool[Array, ""]
    lam_max: Float[Array, ""]
    """Largest eigenvalue of M."""
    lam_min: Float[Array, ""]
    """Smallest eigenvalue that the solver saw (of the sketch, or kept by a truncation)."""
    d_eff: Float[Array, ""]
    """Effective dimension Σ λ/(λ + a) over all blocks, of the eigenvalues seen."""
    adjusted_mu: Float[Array, ""]
    """a = μ λ_max."""
    rank: Int[Array, ""]
    """Of the sketch, or of the truncated system, over all blocks."""
    rho: Float[Array, ""]
    """Relative residual of the PDE, √(Σ w‖J v - f‖² / Σ w‖f‖²), on the points of the solve; see `residual`."""


def info(v: Array, **known: Any) -> Info:
    """An `Info` of what is known, the rest NaN or 0."""
    nan = jnp.full((), jnp.nan, v.dtype)
    zero = jnp.zeros((), jnp.int32)
    finite = jnp.isfinite(v).all()
    blank = Info(zero, nan, finite, nan, nan, nan, nan, zero, nan)
    typed = {name: jnp.asarray(value, getattr(blank, name).dtype) for name, value in known.items()}
    return jax.lax.stop_gradient(blank._replace(**typed))


@dataclass(frozen=True)
class LinearSolver:
    """What every solver has; `solve(maps, f, key, x0) -> (v, Info)` is the solver itself."""

    chunk: int | None = field(default=None, kw_only=True)
    """Points held at a time, None for all: see `linear_maps`."""
    products: str | None = field(default=None, kw_only=True)
    """Dtype in which the network and its products are computed, such as `"float32"`; None for that of θ."""

    def __post_init__(self) -> None:
        mu = getattr(self, "mu", 1.0)
        if not mu > 0:
            raise ValueError(
                f"mu={mu}: M is singular in all but name, so that a regularisation above 0 is needed; "
                f"Lstsq(rcond=...) truncates instead"
            )
        if not getattr(self, "tol", 1.0) > 0:
            raise ValueError(f"tol={getattr(self, 'tol', 1.0)}; a tolerance above 0 is needed")

    def solve(
        self,
        maps: LinearMaps,
        f: Float[Array, "N k"],
        key: Drawn | None = None,
        x0: Float[Array, " p"] | None = None,
    ) -> tuple[Float[Array, " p"], Info]:
        """v = dθ/dt that fits J v to f on the points of the maps.

        Args:
            maps: from `linear_maps`.
            f: what J v shall be.
            key: for solvers that draw; or the test matrix Ω (p, rank) of a sketch that does not go by blocks.
            x0: first guess of iterative solvers.
        """
        raise NotImplementedError

    def adapt(self, seen: Info) -> "LinearSolver":
        """The solver for the next step, knowing how this one went. Called outside jit."""
        return self

    def limited(self, dtype: Any) -> "LinearSolver":
        """The solver with μ and tol that the dtype of the sums can do; if they were lower, a warning, here once."""
        mu, tol = within_limits(getattr(self, "mu", 1.0), getattr(self, "tol", 1.0), dtype)
        limits: dict[str, Any] = {"mu": mu, "tol": tol}
        return replace(self, **{name: value for name, value in limits.items() if hasattr(self, name)})


def as_blocks(v: Float[Array, " p"], maps: LinearMaps) -> Float[Array, "blocks piece"]:
    return v.reshape(maps.blocks, -1)


def within_limits(mu: float | int, tol: float | int, dtype: Any) -> tuple[float | int, float | int]:
    """(μ, tol), not below what the dtype of the sums can do."""
    if jnp.finfo(dtype).bits >= 64 or (mu >= FLOAT32_MU and tol >= FLOAT32_TOL):
        return mu, tol
    warnings.warn(
        f"x64 is off: sums are in float32, so mu={mu} and tol={tol} are raised to at least {FLOAT32_MU} and "
        f"{FLOAT32_TOL}; jax.config.update('jax_enable_x64', True) avoids it",
        UserWarning,
        stacklevel=4,
    )
    return max(mu, FLOAT32_MU), max(tol, FLOAT32_TOL)


@dataclass(frozen=True)
class NystromPCG(LinearSolver):
    """Conjugate gradients, preconditioned by a randomised Nystrom approximation of M: O(N p) for each product.

    The sketch is made anew for each right-hand side: one from an earlier θ is worse than none.

    Source: the paper's solver. With separate networks for the components each block of M has its own sketch
    and its own iteration; the authors' code takes M as one matrix, as `couple_components` does.
    """

    rank: int = 200
    """Of the sketch of each block. Best a little above 1.5 times the effective dimension."""
    mu: float | int = 1e-6
    """μ: a = μ λ_max is added to M."""
    tol: float | int = 1e-7
    """Stop at ‖r‖ <= tol ‖F‖."""
    maxiter: int = 500
    adaptive: bool = False
    """Move the rank between 50 and 800 from step to step, after the spectrum."""
    couple_components: bool = False
    """Take M as one matrix even where it is block diagonal."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1 or self.maxiter < 1:
            raise ValueError(f"rank={self.rank}, maxiter={self.maxiter}; at least 1 of each is needed")

    def solve(
        self,
        maps: LinearMaps,
        f: Float[Array, "N k"],
        key: Drawn | None = None,
        x0: Float[Array, " p"] | None = None,
    ) -> tuple[Float[Array, " p"], Info]:
        if self.couple_components:
            maps = replace(maps, blocks=1)
        mu, tol = within_limits(self.mu, self.tol, maps.weights.dtype)
        if key is None:
            raise ValueError("NystromPCG draws a test matrix: a key is needed")
        piece = maps.num_params // maps.blocks
        rank = self._clipped(piece, f.size // maps.blocks)
        drawn = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key.reshape(maps.blocks, piece, -1)
        nys = jax.lax.stop_gradient(nystrom(block_matmat(maps), (maps.blocks, piece), rank, drawn))

        def M(v: Array) -> Array:
            return as_blocks(maps.matvec(v.reshape(-1)), maps)

        # lam is a constant for gradients: λ_max moves as qᵀ M q does
        q = nys.U[..., 0]
        moving = jnp.sum(q * M(q), axis=-1)
        lam_max = jnp.max(nys.lam[..., 0] + moving - jax.lax.stop_gradient(moving))
        a = mu * lam_max
        result = pcg(
            lambda v: M(v) + a * v,
            as_blocks(maps.project(f), maps),
            preconditioner(nys, jax.lax.stop_gradient(a)),
            tol,
            self.maxiter,
            None if x0 is None else jax.lax.stop_gradient(as_blocks(x0, maps)),
        )
        v = result.x.reshape(-1)
        return v, info(
            v,
            iterations=result.iters.max(),
            residual=result.residual.max(),
            converged=result.converged.all(),
            lam_max=lam_max,
            lam_min=nys.lam[..., -1].min(),
            d_eff=effective_dimension(nys.lam, a).sum(),
            adjusted_mu=a,
            rank=rank * maps.blocks,
        )

    def _clipped(self, piece: int, values: int) -> int:
        rank = min(self.rank, piece, values)
        if rank < self.rank:
            why = f"the block of M is {piece} x {piece}" if piece <= values else f"M has at most rank {values}, N k"
            warnings.warn(f"rank={self.rank} is more than there is: {why}; {rank} is taken", UserWarning, stacklevel=4)
        return rank

    def adapt(self, seen: Info) -> "NystromPCG":
        """More columns while the sketch ends above 10 a, fewer where it has three times d_eff."""
        if not self.adaptive:
            return self
        larger = [r for r in RANKS if r > self.rank]
        smaller = [r for r in RANKS if r < self.rank]
        if float(seen.lam_min) > 10 * float(seen.adjusted_mu) and larger:
            return replace(self, rank=larger[0])
        if int(seen.rank) > 3 * float(seen.d_eff) and smaller and 3 * smaller[-1] >= 4 * self._share(seen):
            return replace(self, rank=smaller[-1])
        return self

    def _share(self, seen: Info) -> float:
        """d_eff of a block."""
        return float(seen.d_eff) * self.rank / max(int(seen.rank), 1)
