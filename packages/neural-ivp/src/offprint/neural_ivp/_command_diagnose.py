"""What `diagnose` looks at: the linear system of a projection at the stored times."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.neural_ivp._command_plan import Plan, with_points
from offprint.neural_ivp._direct import Auto
from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._gram import pde_values, relative_residual
from offprint.neural_ivp._linear import NystromPCG, as_blocks
from offprint.neural_ivp._linear_maps import linear_maps
from offprint.neural_ivp._pcg import pcg
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._solution import Solution
from offprint.neural_ivp._spectrum import condition_number, effective_dimension, spectrum

LARGEST_DENSE = 3000
"""Weights of a block up to which all eigenvalues are taken; above, those of a sketch."""

Points = tuple[Array, Array | None]


@dataclass(frozen=True)
class Diagnosis:
    """One stored time."""

    row: dict[str, Any]
    """For the table."""
    eigenvalues: np.ndarray
    """Of M, descending."""


def diagnose(
    plan: Plan, solution: Solution, i: int, *, points: int | None, rank: int, mu: float | int | None
) -> Diagnosis:
    """Spectrum, effective dimension, residuals and iterations at the output number i.

    Args:
        plan: the run.
        solution: its solution.
        i: the output.
        points: of the projection; None for those of the run.
        rank: of the preconditioner, and of the spectrum where it is not dense; at most what there is.
        mu: regularisation; None for that of the run.
    """
    apply, t, linear = solution.apply, float(solution.ts[i]), plan.arguments["linear"]
    theta = jnp.asarray(solution.thetas[i])
    sampler = plan.arguments["sampler"] if points is None else with_points(plan.arguments["sampler"], points)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(2), i), 3)
    more = {"pde": plan.problem.pde, "velocity": jnp.zeros_like(theta)}
    here, fresh = (sampler.sample(key, apply, theta, t, **more) for key in keys[:2])
    piece = theta.size // apply.blocks
    settings = {name: getattr(linear, name) for name in ("tol", "maxiter") if hasattr(linear, name)}
    solver = NystromPCG(
        rank=min(rank, piece, here[0].shape[0] * apply.n_fields // apply.blocks),
        mu=getattr(linear, "mu", Auto.mu) if mu is None else mu,
        chunk=linear.chunk,
        **settings,
    )
    found = jax.tree.map(np.asarray, _look(plan.problem, apply, solver, theta, t, here, fresh, keys[2]))
    row = {"t": t, "largest eigenvalue": float(found["lam"][0])}
    row |= {name: float(found[name]) for name in ("condition", "d_eff")}
    row |= {name: _iterations(*found[name]) for name in ("CG", "CG, plain")}
    row |= {name: float(found[name]) for name in ("residual", "on fresh points", "speed")}
    return Diagnosis(row, found["lam"])


@partial(jax.jit, static_argnames=("problem", "apply", "solver"))
def _look(
    problem: Problem,
    apply: Functional,
    solver: NystromPCG,
    theta: Array,
    t: Any,
    here: Points,
    fresh: Points,
    key: Array,
) -> dict[str, Any]:
    def system(points: Points) -> tuple[Any, Array]:
        maps = linear_maps(apply, theta, points[0], t, points[1], chunk=solver.chunk)
        return maps, pde_values(apply, problem.pde, theta, points[0], t, chunk=solver.chunk)

    maps, f = system(here)
    others, g = system(fresh)
    dense = maps.num_params // maps.blocks <= LARGEST_DENSE
    lam = spectrum(maps) if dense else spectrum(maps, solver.rank, key)
    v, info = solver.solve(maps, f, key)
    a = info.adjusted_mu
    plain = pcg(
        lambda v: as_blocks(maps.matvec(v.reshape(-1)), maps) + a * v,
        as_blocks(maps.project(f), maps),
        tol=solver.tol,
        maxiter=10 * solver.maxiter,
    )
    return {
        "lam": lam,
        "condition": condition_number(lam, a),
        "d_eff": effective_dimension(lam, a),
        "CG": (info.iterations, info.converged),
        "CG, plain": (plain.iters.max(), plain.converged.all()),
        "residual": relative_residual(maps.jvp(v), f, maps.weights),
        "on fresh points": relative_residual(others.jvp(v), g, others.weights),
        "speed": jnp.linalg.norm(v),
    }


def _iterations(count: np.ndarray, converged: np.ndarray) -> str:
    return f"{int(count)}" if converged else f"> {int(count)}"
