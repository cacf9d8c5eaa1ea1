"""Preconditioned conjugate gradients: one system or many, each with its own stop, differentiable."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class PCGResult(NamedTuple):
    """What `pcg` found; `...` are the systems."""

    x: Float[Array, "... p"]
    iters: Int[Array, "..."]
    """Iterations of each system."""
    residuals: Float[Array, "maxiter ..."]
    """‖r‖ / ‖b‖ after each iteration; NaN after the last."""
    converged: Bool[Array, "..."]
    residual: Float[Array, "..."]
    """The last one of each system."""


class _State(NamedTuple):
    x: Array
    r: Array
    direction: Array
    rz: Array
    iters: Array
    active: Array
    residual: Array
    history: Array


def pcg(
    matvec: Callable[[Array], Array],
    b: Float[Array | np.ndarray, "... p"],
    precond: Callable[[Array], Array] | None = None,
    tol: Float[Array | np.ndarray, ""] | float | int = 1e-7,
    maxiter: int = 500,
    x0: Float[Array | np.ndarray, "... p"] | None = None,
) -> PCGResult:
    """Solve A x = b for symmetric positive definite A by preconditioned conjugate gradients.

    Unlike `jax.scipy.sparse.linalg.cg` it tells iterations, residuals and whether it converged; unlike `lineax.CG` it
    stops on the residual alone, so that it needs no more iterations than its tolerance asks for. Systems of a batch
    are iterated together; one that has converged is frozen. A system is given up where A turns out not to be
    positive definite, or where a number is not finite.

    Gradients go through the solution, not the iterations: the transposed system is solved by the same iteration.

    Args:
        matvec: x (..., p) -> A x. What it closes over is differentiated.
        b: right-hand sides (..., p). A system with b = 0 has x = 0.
        precond: z (..., p) -> about A⁻¹ z, symmetric positive definite; None for the identity.
        tol: stop when ‖r‖₂ <= tol ‖b‖₂, for each system.
        maxiter: most iterations.
        x0: a first guess; None for 0.

    Returns:
        Solution, iterations, residual history, converged.

    Raises:
        ValueError: `maxiter` below 1.

    Source: the paper's preconditioned conjugate gradients; the iteration runs on b / ‖b‖ as in the authors' code, and
    so does x0 here.
    """
    if maxiter < 1:
        raise ValueError(f"maxiter={maxiter}; at least 1 iteration is needed")
    b = jnp.asarray(b)

    def solve(A: Callable[[Array], Array], rhs: Array) -> tuple[Array, Any]:
        return _iterate(A, rhs, precond or (lambda z: z), tol, maxiter, x0)

    x, rest = jax.lax.custom_linear_solve(matvec, b, solve, symmetric=True, has_aux=True)
    return PCGResult(x, *rest)


def _iterate(
    A: Callable[[Array], Array], b: Array, precond: Callable[[Array], Array], tol: Any, maxiter: int, x0: Any
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    length = jnp.linalg.norm(b, axis=-1)
    unit = jnp.where(length > 0, length, 1)[..., None]
    x = jnp.zeros_like(b) if x0 is None else jnp.broadcast_to(jnp.asarray(x0, b.dtype), b.shape) / unit
    x = jnp.where(length[..., None] > 0, x, 0)
    r = b / unit if x0 is None else b / unit - A(x)
    z = precond(r)
    residual = jnp.linalg.norm(r, axis=-1)
    start = _State(
        x=x,
        r=r,
        direction=z,
        rz=_dot(r, z),
        iters=jnp.zeros(length.shape, jnp.int32),
        active=residual > tol,
        residual=residual,
        history=jnp.full((maxiter, *length.shape), jnp.nan, b.dtype),
    )

    def unfinished(carry: tuple[Array, _State]) -> Array:
        i, s = carry
        return (i < maxiter) & s.active.any()

    def iteration(carry: tuple[Array, _State]) -> tuple[Array, _State]:
        i, s = carry
        Ap = A(s.direction)
        curvature = _dot(s.direction, Ap)
        good = s.active & (curvature > 0)  # false for NaN too
        step = jnp.where(good, s.rz / jnp.where(good, curvature, 1), 0)[..., None]
        x, r = s.x + step * s.direction, s.r - step * Ap
        z = precond(r)
        rz = _dot(r, z)
        direction = z + (rz / jnp.where(good, s.rz, 1))[..., None] * s.direction
        residual = jnp.where(good, jnp.linalg.norm(r, axis=-1), s.residual)
        moving = good[..., None]
        after = _State(
            x=jnp.where(moving, x, s.x),
            r=jnp.where(moving, r, s.r),
            direction=jnp.where(moving, direction, s.direction),
            rz=jnp.where(good, rz, s.rz),
            iters=s.iters + good,
            active=good & (residual > tol),
            residual=residual,
            history=s.history.at[i].set(jnp.where(good, residual, jnp.nan)),
        )
        return i + 1, after

    _, end = jax.lax.while_loop(unfinished, iteration, (jnp.zeros((), jnp.int32), start))
    return end.x * unit, (end.iters, end.history, end.residual <= tol, end.residual)


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)
