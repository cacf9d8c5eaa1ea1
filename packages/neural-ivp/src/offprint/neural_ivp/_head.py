"""The last layer by ridge regression after a fit ("head tuning")."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.neural_ivp._functional import Chain, Functional
from offprint.neural_ivp._products import at_highest_precision
from offprint.neural_ivp._samplers import box_of
from offprint.neural_ivp._target import Target, as_target, check_finite_target, target_values


def head_tune(
    apply: Functional,
    theta: Float[Array | np.ndarray, " p"],
    target: Target,
    key: PRNGKeyArray | None = None,
    *,
    points: Float[Array | np.ndarray, "N d"] | None = None,
    n: int = 200_000,
    t: Any = 0.0,
    alpha: float | int | None = None,
    head_intercept: bool = False,
    jitter: float | int = 1e-3,
    chunk: int = 4096,
) -> Float[Array, " p"]:
    """Overwrite the last layer of each block by the ridge regression of the target on its inputs.

    With the inputs h(x) of the last layer, the features are Φ = [1, h(x)] B(x), and the head is
    (ΦᵀΦ + α I)⁻¹ Φᵀ y. The normal equations are summed over chunks of points, so N may be large.

    Args:
        apply: the network, a chain of dense layers.
        theta: its weights.
        target: from a point (d,) to the fields (k,).
        key: where points are drawn from, if none are given.
        points: X, instead of uniform ones.
        n: uniform points, if none are given.
        t: the time, which matters to time-dependent boundary values.
        alpha: of the ridge; 1e-5·N/(width + 1) when None.
        head_intercept: as the authors' code: fit an additional intercept without penalty and leave it out of the
            network, which makes the fit worse. For comparison with it.
        jitter: least size of the new weights of the head, relative to those of a random layer. A target that is a
            multiple of B makes them 0, and then nothing can move the layers before; random weights of this size take
            their place, drawn from `key`. None are drawn without a key.
        chunk: points in memory at a time.

    Returns:
        θ with new last layers.

    Raises:
        ValueError: a network that is no chain of dense layers; neither points nor a key; a target of another number
            of fields or with values that are not finite; alpha negative.
    """
    theta = jnp.asarray(theta)
    chain = apply.chain(theta)
    if chain is None:
        raise ValueError("head tuning needs a network that ends in a dense layer, such as SinusoidalMLP; leave it out")
    if alpha is not None and alpha < 0:
        raise ValueError(f"alpha of the ridge must not be negative, but is {alpha}")
    if points is None:
        if key is None:
            raise ValueError("head_tune needs a key to draw its points from, or points=X")
        points = box_of(apply).uniform(key, n)
    x = jnp.asarray(points)
    goal, width = as_target(target), chain.layers[-1][0].shape[1]
    jax.eval_shape(lambda x: target_values(goal, x, apply.n_fields), x)
    ridge = 1e-5 * len(x) / (width + 1) if alpha is None else alpha
    tuned, worst = _tune(apply, theta, goal, x, t, ridge, head_intercept, min(chunk, len(x)))
    check_finite_target(*worst)
    return tuned if key is None else _awake(apply, tuned, key, jitter)


@partial(jax.jit, static_argnames=("apply", "head_intercept", "chunk"))
@at_highest_precision
def _tune(
    apply: Functional,
    theta: Array,
    target: Partial,
    x: Array,
    t: Any,
    alpha: Any,
    head_intercept: bool,
    chunk: int,
) -> tuple[Array, tuple[Array, Array]]:
    """θ with the new heads, and the worst point with the target there."""
    chain = apply.chain(theta)
    assert chain is not None
    blocks, width, outputs = chain.layers[-1][0].shape
    count = -(-len(x) // chunk)
    filled = jnp.pad(x, [(0, count * chunk - len(x)), (0, 0)], mode="edge").reshape(count, chunk, -1)
    counts = (jnp.arange(count * chunk) < len(x)).astype(theta.dtype).reshape(count, chunk)

    def add(sums: tuple[Array, ...], part: tuple[Array, Array]) -> tuple[tuple[Array, ...], Array]:
        points, counted = part
        phi, rest, wanted = jax.vmap(lambda point: _features(apply, theta, chain, target, point, t))(points)
        phi, y = phi * counted[:, None, None, None], (wanted - rest) * counted[:, None, None]
        ones = counted.sum()
        grams = jnp.einsum("nboi,nboj->boij", phi, phi)
        new = (grams, jnp.einsum("nboi,nbo->boi", phi, y), phi.sum(0), y.sum(0), ones)
        return tuple(a + b for a, b in zip(sums, new)), jnp.isfinite(wanted).all(axis=(1, 2))

    shapes = ((blocks, outputs, width + 1, width + 1), (blocks, outputs, width + 1), (blocks, outputs, width + 1))
    zeros = tuple(jnp.zeros(shape, theta.dtype) for shape in (*shapes, (blocks, outputs), ()))
    (A, b, mean, y_mean, total), finite = jax.lax.scan(add, zeros, (filled, counts))
    if head_intercept:  # the least squares fit with a free intercept is that of the centred data
        A -= mean[..., :, None] * mean[..., None, :] / total
        b -= mean * (y_mean / total)[..., None]
    solve = jax.vmap(jax.vmap(lambda A, b: cho_solve(cho_factor(A + alpha * jnp.eye(width + 1, dtype=A.dtype)), b)))
    head = solve(A, b)  # (blocks, outputs, width + 1)
    rows = theta.reshape(blocks, -1)
    new = jnp.concatenate([head[..., 0], jnp.swapaxes(head[..., 1:], 1, 2).reshape(blocks, -1)], axis=1)
    tuned = jnp.concatenate([rows[:, : rows.shape[1] - new.shape[1]], new], axis=1).reshape(-1)
    worst = filled.reshape(count * chunk, -1)[jnp.argmin(finite.reshape(-1))][None]
    return tuned, (worst, target_values(target, worst, apply.n_fields))


def _features(
    apply: Functional, theta: Array, chain: Chain, target: Partial, x: Array, t: Any
) -> tuple[Array, Array, Array]:
    """Φ (blocks, outputs, width + 1), u without the head (blocks, outputs), and the target likewise, at one point."""
    kernel, bias = chain.layers[-1]
    blocks, _, outputs = kernel.shape
    hidden = chain.hidden(x).astype(theta.dtype)
    scale = jnp.broadcast_to(chain.scale(x), (blocks * outputs,)).reshape(blocks, outputs).astype(theta.dtype)
    phi = scale[..., None] * jnp.concatenate([jnp.ones((blocks, 1), theta.dtype), hidden], axis=1)[:, None]
    head = scale * (jnp.einsum("bi,bio->bo", hidden, kernel.astype(theta.dtype)) + bias)
    shape = (blocks, outputs)
    return phi, apply(theta, x, t).reshape(shape) - head, target(x).astype(theta.dtype).reshape(shape)


def _awake(apply: Functional, theta: Array, key: PRNGKeyArray, jitter: float | int) -> Array:
    """θ with random weights in heads that are (nearly) 0."""
    chain = apply.chain(theta)
    assert chain is not None
    blocks, width, outputs = chain.layers[-1][0].shape
    rows = theta.reshape(blocks, -1)
    weights = rows[:, -width * outputs :]
    noise = jitter * jax.random.normal(jax.random.fold_in(key, 1), weights.shape, theta.dtype) / jnp.sqrt(width)
    asleep = jnp.linalg.norm(weights, axis=1, keepdims=True) < jitter * jnp.sqrt(outputs)
    return rows.at[:, -width * outputs :].add(jnp.where(asleep, noise, 0)).reshape(-1)
