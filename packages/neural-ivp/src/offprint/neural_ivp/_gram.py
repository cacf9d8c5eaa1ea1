"""The quantities of the projection, Eq. by Eq.: f = L[u], M v, F, and how far J v is from f."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from offprint.neural_ivp._linear_maps import linear_maps


def pde_values(
    apply: Callable[..., Array],
    pde: Callable[..., Array],
    theta: Float[Array, " p"] | PyTree,
    X: Float[Array | np.ndarray, "N d"],
    t: Any = 0.0,
    *,
    chunk: int | None = None,
) -> Float[Array, "N k"]:
    """f(x_i, t) = L[u(.; θ)](x_i, t), what J v shall be; less ∂G/∂t where boundary values G move.

    Args:
        apply: (θ, x, t) -> u (k,).
        pde: (u, x (d,), t) -> (k,), with u a function of x.
        theta: the weights.
        X: points.
        t: the time.
        chunk: points at a time; None for all.

    Raises:
        ValueError: the pde gives another shape than u.
    """
    lift_rate = getattr(apply, "lift_rate", lambda _x, _t: None)

    def one(x: Array) -> Array:
        def u(y: Array) -> Array:
            return apply(theta, y, t)

        f = jnp.asarray(pde(u, x, t))
        wanted = jax.eval_shape(u, x).shape
        if f.shape != wanted:
            hint = "append [None]" if f.shape == () else "put the components together with jnp.stack"
            raise ValueError(f"pde must return shape (n_fields,) = {wanted}, got {f.shape}: {hint}")
        rate = lift_rate(x, t)
        return f if rate is None else f - rate

    X = jnp.asarray(X)
    return jax.vmap(one)(X) if chunk is None else jax.lax.map(one, X, batch_size=min(chunk, len(X)))


def gram_matvec(
    apply: Callable[..., Array],
    theta: Float[Array, " p"] | PyTree,
    X: Float[Array | np.ndarray, "N d"],
    v: Float[Array | np.ndarray, " p"],
    weights: Float[Array | np.ndarray, " N"] | None = None,
    t: Any = 0.0,
) -> Float[Array, " p"]:
    """M v with M = (1/N) Σ w_i J_iᵀ J_i, components summed and points averaged. See `linear_maps`."""
    return linear_maps(apply, theta, X, t, weights).matvec(jnp.asarray(v))


def rhs_vector(
    apply: Callable[..., Array],
    pde: Callable[..., Array],
    theta: Float[Array, " p"] | PyTree,
    X: Float[Array | np.ndarray, "N d"],
    t: Any = 0.0,
    weights: Float[Array | np.ndarray, " N"] | None = None,
) -> Float[Array, " p"]:
    """F = (1/N) Σ w_i J_iᵀ f_i. See `linear_maps` and `pde_values`."""
    return linear_maps(apply, theta, X, t, weights).project(pde_values(apply, pde, theta, X, t))


def residual(
    apply: Callable[..., Array],
    pde: Callable[..., Array],
    theta: Float[Array, " p"] | PyTree,
    X: Float[Array | np.ndarray, "N d"],
    v: Float[Array | np.ndarray, " p"],
    t: Any = 0.0,
    weights: Float[Array | np.ndarray, " N"] | None = None,
    *,
    norm: Literal["rho", "legacy"] = "rho",
) -> Float[Array, ""]:
    """How much of u_t = L[u] the velocity v misses, relative: ρ = √(Σ w‖J v - f‖² / Σ w‖f‖²).

    On points that v was not solved on, this is an honest error; on those it was solved on, too small.

    Args:
        apply, pde, theta, X, t: as for `pde_values`.
        v: dθ/dt.
        weights: w of each point; None for 1.
        norm: `"rho"`, or `"legacy"` for ρ / √N, which the authors' code prints.

    Raises:
        ValueError: an unknown norm.
    """
    if norm not in ("rho", "legacy"):
        raise ValueError(f"norm={norm!r}; 'rho' or 'legacy' is needed")
    maps = linear_maps(apply, theta, X, t, weights)
    rho = relative_residual(maps.jvp(jnp.asarray(v)), pde_values(apply, pde, theta, X, t), maps.weights)
    return rho if norm == "rho" else rho / jnp.sqrt(len(X))


def relative_residual(
    moved: Float[Array, "N k"], f: Float[Array, "N k"], weights: Float[Array, " N"]
) -> Float[Array, ""]:
    """ρ of J v against f. Where f is 0 there is nothing to miss: 0 if J v is 0 too, else infinite."""
    missed, whole = (jnp.sum(weights[:, None] * jnp.square(a)) for a in (moved - f, f))
    known = jnp.where(whole > 0, whole, 1)
    # the root of an exact 0 has no finite derivative
    ratio = jnp.where(missed > 0, missed, 1) / known
    return jnp.where(missed > 0, jnp.where(whole > 0, jnp.sqrt(ratio), jnp.inf), 0.0)
