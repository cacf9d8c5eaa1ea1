"""One right-hand side of the ODE of the weights: dθ/dt from the PDE, by projection on the tangent space."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from offprint.neural_ivp._gram import pde_values, relative_residual
from offprint.neural_ivp._linear import Info, LinearSolver
from offprint.neural_ivp._linear_maps import linear_maps


def theta_dot(
    problem: Any,
    apply: Callable[..., Array],
    theta: Float[Array, " p"] | PyTree,
    X: Float[Array | np.ndarray, "N d"],
    t: Any,
    linear: LinearSolver,
    key: Key[Array, ""] | Float[Array | np.ndarray, "p rank"] | None = None,
    *,
    weights: Float[Array | np.ndarray, " N"] | None = None,
    x0: Float[Array | np.ndarray, " p"] | None = None,
) -> tuple[Float[Array, " p"], Info]:
    """The velocity v = dθ/dt with J v ≈ L[u] on the points, in the least-squares sense.

        minimise (1/N) Σ w_i ‖J_i v - f_i‖² + a ‖v‖²,   a = μ λ_max(M)

    Compile it with `jax.jit(theta_dot, static_argnames=("problem", "apply", "linear"))`, or inside a larger step.
    Differentiable in θ, X, t and whatever the PDE closes over.

    Args:
        problem: a `Problem`, or anything with `pde(u, x, t) -> (k,)`.
        apply: (θ, x, t) -> u (k,), as `functional(model)` gives it.
        theta: weights (p,), or a pytree of them.
        X: points.
        t: time.
        linear: the solver, such as `NystromPCG()` or `Auto()`.
        key: for solvers that draw; or the test matrix of a sketch.
        weights: of each point; None for 1.
        x0: a first guess of v for iterative solvers.

    Returns:
        v (p,) and how the solve went.

    Raises:
        ValueError: shapes that do not fit, a pde that gives another shape than u.

    Source: the paper's projection on the tangent space of the network, as the authors' code has it.
    """
    maps = linear_maps(apply, theta, X, t, weights, chunk=linear.chunk, dtype=linear.products)
    f = pde_values(apply, problem.pde, theta, X, t, chunk=linear.chunk).astype(maps.weights.dtype)
    v, seen = linear.solve(maps, f, None if key is None else jnp.asarray(key), None if x0 is None else jnp.asarray(x0))
    return v, seen._replace(rho=relative_residual(maps.jvp(v), f, maps.weights))
