"""Optimal brain surgeon and damage: removing weights from a quadratic loss whose Hessian is known.

The loss changes by gᵀδ + ½δᵀHδ when δ is added to the weights; removing weight q is the constraint δ_q = −w_q. The
functions here take H or its inverse whole, for small problems; `WoodFisher` and `layerwise` are for networks.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Vector = Float[Array | np.ndarray, " n"]
Matrix = Float[Array | np.ndarray, "n n"]
EXACT = jax.lax.Precision.HIGHEST


class Removal(NamedTuple):
    """Weights removed one after the other."""

    order: Int[Array, " k"]
    """Which weight went at every step."""
    weights: Float[Array, "k n"]
    """All weights after every step; the removed ones are exactly 0."""
    dloss: Float[Array, " k"]
    """Rise of the loss at every step."""


class WoodTaylor(NamedTuple):
    """What removing each weight alone does where the gradient is not zero."""

    statistic: Float[Array, " n"]
    """(w_q − (H⁻¹g)_q)²/(2[H⁻¹]_qq), not negative, by which weights are ranked: high = keep."""
    dloss: Float[Array, " n"]
    """Change of the loss, statistic − ½gᵀH⁻¹g."""
    delta: Float[Array, "n n"]
    """Row q: what to add to the weights when q is removed."""


def obs_saliency(w: Vector, inverse_hessian: Matrix) -> Float[Array, " n"]:
    """w_q²/(2[H⁻¹]_qq): the rise of the loss when q is removed and the others adapt. High = keep.

    Source: hassibi1993obs.
    """
    return jnp.square(w) / (2 * jnp.diagonal(jnp.asarray(inverse_hessian)))


def obs_prune(w: Vector, inverse_hessian: Matrix, n_prune: int) -> Removal:
    """Remove the `n_prune` weights one by one, each time the one that costs least, and correct all others.

    After each removal the inverse is that of the Hessian of the weights that are left, P ← P − P_:q P_q: / P_qq. For a
    quadratic loss at its minimum every step is exact. Works under jit (with static `n_prune`) and vmap.

    Raises:
        ValueError: n_prune outside 0..n, or an inverse of another size.

    Source: hassibi1993obs.
    """
    _check(w, inverse_hessian, n_prune)
    return _obs_path(jnp.asarray(w), jnp.asarray(inverse_hessian), n_prune)


@partial(jax.jit, static_argnums=2)
def _obs_path(w: Array, inverse: Array, n_prune: int) -> Removal:
    def step(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], Removal]:
        w, inverse, gone = state
        diagonal = jnp.where(gone, 1.0, jnp.diagonal(inverse))
        saliency = jnp.where(gone, jnp.inf, w * w / (2 * diagonal))
        q = jnp.argmin(saliency)
        column = inverse[:, q]
        gone = gone.at[q].set(True)
        w = jnp.where(gone, 0.0, w - column * (w[q] / diagonal[q]))
        # What is left of row and column q is rounding; zeros keep it out of later steps.
        inverse = jnp.where(gone[:, None] | gone, 0.0, inverse - jnp.outer(column, column / diagonal[q]))
        return (w, inverse, gone), Removal(q, w, saliency[q])

    start = (w, inverse, jnp.zeros(w.shape, bool))
    return jax.lax.scan(step, start, None, length=n_prune)[1]


def obd_prune(w: Vector, hessian: Matrix, n_prune: int) -> Removal:
    """Remove the `n_prune` weights of least ½h_qq w_q², as if the Hessian were diagonal; the others stay.

    `dloss` is the true rise of the quadratic loss at every step, not the sum of the saliencies.

    Raises:
        ValueError: n_prune outside 0..n, or a Hessian of another size.

    Source: lecun1990obd.
    """
    _check(w, hessian, n_prune)
    w, hessian = jnp.asarray(w), jnp.asarray(hessian)
    order = jnp.argsort(jnp.diagonal(hessian) * w * w, stable=True)[:n_prune]
    place = jnp.full(w.shape, w.shape[0]).at[order].set(jnp.arange(n_prune))
    weights = jnp.where(place > jnp.arange(n_prune)[:, None], w, 0.0)
    delta = weights - w
    loss = jnp.sum(delta * jnp.matmul(delta, hessian, precision=EXACT), axis=1) / 2
    return Removal(order, weights, jnp.diff(loss, prepend=0.0))


def joint_removal(
    w: Vector, inverse_hessian: Matrix, remove: Bool[Array | np.ndarray, " n"]
) -> tuple[Float[Array, ""], Float[Array, " n"]]:
    """Remove a set S at once: the rise of the loss ½w_Sᵀ([H⁻¹]_SS)⁻¹w_S and δ = −H⁻¹_:S([H⁻¹]_SS)⁻¹w_S.

    Args:
        w: weights.
        inverse_hessian: H⁻¹.
        remove: True for the weights that go; it may be traced.

    Returns:
        The rise of the loss, and what to add to the weights, exactly −w at those that go.

    Source: hassibi1993obs.
    """
    w, inverse, remove = jnp.asarray(w), jnp.asarray(inverse_hessian), jnp.asarray(remove)
    # The identity in place of what is kept leaves the system of S alone, whatever its size.
    both = remove[:, None] & remove
    block = jnp.where(both, inverse, jnp.eye(w.shape[0], dtype=inverse.dtype))
    target = jnp.where(remove, w, 0.0)
    solution = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(block, lower=True), target)
    delta = -jnp.matmul(inverse, solution, precision=EXACT)
    return jnp.dot(target, solution) / 2, jnp.where(remove, -w, delta)


def wood_taylor(w: Vector, gradient: Vector, inverse_hessian: Matrix) -> WoodTaylor:
    """Removing single weights when the gradient is not zero: δ = λH⁻¹e_q − H⁻¹g, λ = ((H⁻¹g)_q − w_q)/[H⁻¹]_qq.

    The free weights take a Newton step at the same time, so the loss may fall. With g = 0 it is `obs_saliency`.

    Source: singh2020woodfisher (WoodTaylor).
    """
    w, inverse = jnp.asarray(w), jnp.asarray(inverse_hessian)
    newton = jnp.matmul(inverse, gradient, precision=EXACT)
    diagonal = jnp.diagonal(inverse)
    statistic = (w - newton) ** 2 / (2 * diagonal)
    multiplier = (newton - w) / diagonal
    delta = multiplier[:, None] * inverse - newton
    return WoodTaylor(statistic, statistic - jnp.dot(gradient, newton) / 2, delta)


def _check(w: Vector, matrix: Matrix, n_prune: int) -> None:
    n = w.shape[0]
    if matrix.shape != (n, n):
        raise ValueError(f"{n} weights need a matrix of shape {(n, n)}; got {tuple(matrix.shape)}")
    if not 0 <= n_prune <= n:
        raise ValueError(f"n_prune must be between 0 and the number of weights, {n}; got {n_prune}")
