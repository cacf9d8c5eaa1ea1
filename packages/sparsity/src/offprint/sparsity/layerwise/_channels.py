"""Input channels that a layer can do without, by what its output loses: ThiNet and LASSO selection.

A channel is a group of inputs: for a convolution kernel (kh, kw, in, out) as a matrix (kh·kw·in, out), input i belongs
to channel i mod in. Both methods need of the calibration only M_cd = ½ Σ_{i∈c, j∈d} H_ij (WWᵀ)_ij, the inner product of
what channels c and d contribute to the outputs, since H = 2XᵀX.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from offprint.sparsity.layerwise._quadratic import EXACT, Hessian, Kernel, Pruned, check_problem, widened

Update = Literal["least_squares", "scale", "none"]
SWEEPS = 200  # of coordinate descent, for one strength of the penalty
HALVINGS = 40  # of the interval in which the strength is sought


def channel_gram(kernel: Kernel, H: Hessian, channels: int) -> Float[Array, "channels channels"]:
    """Inner products of the channels' contributions to the outputs, summed over outputs and calibration."""
    kernel, H = widened(kernel), jnp.asarray(H)
    product = jnp.matmul(kernel, kernel.T, precision=EXACT) * H.astype(kernel.dtype) / 2
    inputs = kernel.shape[0]
    return jnp.sum(product.reshape(inputs // channels, channels, inputs // channels, channels), axis=(0, 2))


def thinet(
    kernel: Kernel,
    H: Hessian,
    n_keep: int,
    *,
    channels: int | None = None,
    update: Update = "scale",
    damp: float | int = 1e-6,
) -> Pruned:
    """Remove input channels greedily: each time the one with which the removed ones contribute least to the outputs.

    Args:
        kernel: weights of the layer that the channels feed.
        H: 2XᵀX of that layer's inputs; see `collect`.
        n_keep: channels that are left.
        channels: how many there are; by default every input is one (dense layers).
        update: of the weights of the kept channels: 'scale' gives each channel the factor of least squared error, as
            the authors do; 'least_squares' solves for the weights; 'none' leaves them.
        damp: share of the mean diagonal that is added to the matrix of the least squares.

    Returns:
        Kernel and mask; the rows of removed channels are 0. Works under jit and vmap.

    Raises:
        ValueError: n_keep outside 1..channels, channels that do not divide the inputs, an unknown update.

    Source: luo2017thinet. From memory of the paper, not checked against it.
    """
    channels = _check(kernel, H, n_keep, channels, update, damp)
    left, mask = _thinet(widened(kernel), jnp.asarray(H), n_keep, channels, update, float(damp))
    return Pruned(left.astype(kernel.dtype), mask)


@partial(jax.jit, static_argnums=(2, 3, 4))
def _thinet(
    kernel: Array, H: Array, n_keep: int, channels: int, update: Update, damp: float | Array
) -> tuple[Array, Array]:
    gram = channel_gram(kernel, H, channels)

    def step(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        gone, overlap = state
        c = jnp.argmin(jnp.where(gone, jnp.inf, jnp.diagonal(gram) + 2 * overlap))
        return gone.at[c].set(True), overlap + gram[c]

    start = (jnp.zeros(channels, bool), jnp.zeros(channels, gram.dtype))
    gone, _ = jax.lax.fori_loop(0, channels - n_keep, step, start)
    return _refit(kernel, H, gram, ~gone, update, damp)


def lasso_channels(
    kernel: Kernel,
    H: Hessian,
    n_keep: int,
    *,
    channels: int | None = None,
    update: Update = "least_squares",
    damp: float | int = 1e-6,
) -> Pruned:
    """Choose input channels by a LASSO on a factor β_c for each, min ½‖Y − Σ_c β_c X_c W_c‖² + λ‖β‖₁.

    The strength λ is sought at which few enough factors are left; of these the `n_keep` largest are kept.

    Args, returns and raises: see `thinet`. The authors refit the kept weights by least squares.

    Source: he2017channel. From memory of the paper, not checked against it.
    """
    channels = _check(kernel, H, n_keep, channels, update, damp)
    left, mask = _lasso(widened(kernel), jnp.asarray(H), n_keep, channels, update, float(damp))
    return Pruned(left.astype(kernel.dtype), mask)


@partial(jax.jit, static_argnums=(2, 3, 4))
def _lasso(
    kernel: Array, H: Array, n_keep: int, channels: int, update: Update, damp: float | Array
) -> tuple[Array, Array]:
    gram = channel_gram(kernel, H, channels)
    target = jnp.sum(gram, axis=1)  # all factors are 1 without a penalty

    def halve(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, factors = state
        middle = (low + high) / 2
        found = lasso(gram, target, middle, factors)
        enough = jnp.sum(found != 0) >= n_keep
        # The factors of the strongest penalty that leaves enough of them are held on to.
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle), jnp.where(enough, found, factors)

    start = (jnp.zeros((), gram.dtype), jnp.max(jnp.abs(target)), jnp.ones(channels, gram.dtype))
    _, _, factors = jax.lax.fori_loop(0, HALVINGS, halve, start)
    rank = jnp.argsort(jnp.argsort(-jnp.abs(factors), stable=True))
    return _refit(kernel, H, gram, rank < n_keep, update, damp)


def lasso(
    gram: Float[Array, "n n"], target: Float[Array, " n"], strength: Float[Array, ""], start: Float[Array, " n"]
) -> Float[Array, " n"]:
    """min ½βᵀMβ − bᵀβ + λ‖β‖₁ by coordinate descent, to the precision of the numbers or 200 sweeps."""
    diagonal = jnp.diagonal(gram)
    safe = jnp.where(diagonal > 0, diagonal, 1)
    tolerance = 10 * jnp.finfo(gram.dtype).eps

    def coordinate(i: Array, factors: Array) -> Array:
        rest = target[i] - jnp.dot(gram[i], factors, precision=EXACT) + diagonal[i] * factors[i]
        new = jnp.sign(rest) * jnp.maximum(jnp.abs(rest) - strength, 0) / safe[i]
        return factors.at[i].set(jnp.where(diagonal[i] > 0, new, 0))

    def sweep(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, factors, _ = state
        new = jax.lax.fori_loop(0, factors.shape[0], coordinate, factors)
        return count + 1, new, jnp.max(jnp.abs(new - factors))

    def moving(state: tuple[Array, Array, Array]) -> Array:
        return (state[0] < SWEEPS) & (state[2] > tolerance)

    return jax.lax.while_loop(moving, sweep, (jnp.int32(0), start, jnp.array(jnp.inf, gram.dtype)))[1]


def _refit(
    kernel: Array, H: Array, gram: Array, keep: Bool[Array, " channels"], update: Update, damp: float | Array
) -> tuple[Array, Array]:
    inputs = kernel.shape[0]
    mask = jnp.broadcast_to(jnp.tile(keep, inputs // keep.shape[0])[:, None], kernel.shape)
    if update == "scale":
        factors = _nearest(gram, jnp.ones((keep.shape[0], 1), gram.dtype), keep, damp)[:, 0]
        kernel = kernel * jnp.tile(factors, inputs // keep.shape[0])[:, None]
    elif update == "least_squares":
        kernel = _nearest(H.astype(kernel.dtype), kernel, mask[:, 0], damp)
    return jnp.where(mask, kernel, 0), mask


def _nearest(matrix: Array, before: Array, keep: Array, damp: float | Array) -> Array:
    """The kept x of least (x − before)ᵀ(matrix + damping)(x − before) where the others are 0; column by column."""
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    matrix = matrix + damp * jnp.mean(jnp.diagonal(matrix)) * eye
    right = jnp.where(keep[:, None], jnp.matmul(matrix, before, precision=EXACT), 0)
    # The rows of an identity stand for what is not kept, so that the shape does not depend on the choice.
    return jnp.linalg.solve(jnp.where(keep[:, None] & keep, matrix, eye), right)


def _check(kernel: Kernel, H: Hessian, n_keep: int, channels: int | None, update: str, damp: float | int) -> int:
    check_problem(kernel, H, damp)
    channels = kernel.shape[0] if channels is None else channels
    if channels < 1 or kernel.shape[0] % channels:
        raise ValueError(f"channels must divide the {kernel.shape[0]} inputs of the kernel; got {channels}")
    if not 1 <= n_keep <= channels:
        raise ValueError(f"n_keep must be between 1 and the {channels} channels; got {n_keep}")
    if update not in ("least_squares", "scale", "none"):
        raise ValueError(f"update must be 'least_squares', 'scale' or 'none'; got {update!r}")
    return channels
