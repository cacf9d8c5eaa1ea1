"""Standard error of a total memory, by resampling blocks of time."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from offprint.memory_capacity._samples import lagged_products

N_BLOCKS = 32

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def total_standard_error(
    key: PRNGKeyArray,
    columns: Float[Array, "window N"],
    inputs: Float[Array, "time"],
    counted: Bool[Array, "lags"],
    rank: Int[Array, ""],
    first: int,
    min_lag: int,
    n_bootstrap: int,
) -> Float[Array, ""]:
    """Standard deviation, over bootstrap samples of blocks, of the sum of the adjusted capacities counted.

    A block is a stretch of rows (state, targets at all lags); blocks longer than the network's memory are
    nearly independent. Each bootstrap sample weights the blocks' moments, so no row is copied: with block
    moments v_b, G_b it solves for v*ᵀ G*⁻¹ v*. `columns` are orthonormal and centred. The resampled states
    keep their centre (a change of order 1/T). Blocks that were drawn twice bring no new samples, so the floor
    is adjusted for the effective number of samples T n_blocks / sum(weights²).
    """
    window, n_columns = columns.shape
    n_blocks, n_lags = min(N_BLOCKS, window), counted.shape[0]
    length = window // n_blocks
    history = min_lag + n_lags - 1
    Q = columns[: n_blocks * length].reshape(n_blocks, length, n_columns)
    padded = jnp.pad(inputs - inputs.mean(), (max(history - first, 0), max(-min_lag, 0)))
    start = first - history + max(history - first, 0)

    def moments(b: Array) -> tuple[Array, Array, Array, Array]:
        span = length + n_lags - 1
        past = jax.lax.dynamic_slice(padded, (start + b * length,), (span,))
        # Lags counted from the newest sample of the stretch.
        with_ones = jnp.concatenate([Q[b], jnp.ones((length, 1), Q.dtype)], axis=1)
        sums = lagged_products(with_ones, past, n_lags - 1, 0, n_lags)
        squares = lagged_products(with_ones[:, -1:], past**2, n_lags - 1, 0, n_lags)[:, 0]
        return sums[:, :-1], sums[:, -1], squares, _matmul(Q[b].T, Q[b])

    v, y, yy, G = jax.lax.map(moments, jnp.arange(n_blocks))
    cut = jnp.diag((jnp.sum(columns**2, axis=0) < 0.5).astype(Q.dtype))

    def one_total(key: PRNGKeyArray) -> Array:
        weights = jnp.bincount(jax.random.randint(key, (n_blocks,), 0, n_blocks), length=n_blocks).astype(Q.dtype)
        v_, y_, yy_, G_ = (jnp.tensordot(weights, part, axes=1, precision="highest") for part in (v, y, yy, G))
        n_samples = n_blocks * length
        explained = jnp.sum(v_.T * jax.scipy.linalg.solve(G_ + cut, v_.T, assume_a="pos"), axis=0)
        capacity = explained / (yy_ - y_**2 / n_samples)
        effective = n_samples * n_blocks / jnp.sum(weights**2)
        capacity = 1 - (1 - capacity) * (effective - 1) / jnp.maximum(effective - 1 - rank, 1)
        return jnp.sum(jnp.where(counted, capacity, 0))

    return jnp.std(jax.lax.map(one_total, jax.random.split(key, n_bootstrap)), ddof=1)
