"""Kernel rank and generalisation rank: how many inputs a network tells apart, and how many it should not.

Legenstein and Maass, "Edge of chaos and prediction of computational performance for neural circuit
models", Neural Networks 20(3), 2007. A network computes well where the first is large and the second small.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._simulate import Activation, simulate


def kernel_rank(
    A: ArrayLike,
    C: ArrayLike,
    streams: ArrayLike,
    *,
    activation: Activation = "tanh",
    leak: float | int = 1.0,
    bias: ArrayLike | None = None,
    rank_tol: float | None = None,
) -> Int[Array, ""]:
    """Rank of the (S, N) matrix of last states after S different input streams, (S, T) or (S, T, m).

    Singular values below `rank_tol` (default max(S, N) eps, the numerical rank; noisy hardware wants more,
    such as 0.01) times the largest are not counted. At most min(S, N). Raises `ValueError` as `simulate` does,
    and for streams that are not a stack.
    """
    A, C = arguments.network(A, C)
    inputs = arguments.real_array("streams", streams)
    if inputs.ndim not in (2, 3) or inputs.shape[1] < 1:
        raise ValueError(f"streams has shape {inputs.shape}; a stack (S, T), or (S, T, m), is needed.")
    run = partial(simulate, A, C, activation=activation, leak=leak, bias=bias, washout=inputs.shape[1] - 1)
    last: Float[Array, "streams neurons"] = jax.vmap(run)(inputs)[:, 0]
    s = jnp.linalg.svd(last, compute_uv=False)
    tolerance = max(last.shape) * jnp.finfo(last.dtype).eps if rank_tol is None else rank_tol
    return jnp.sum(s > tolerance * s[0])


def generalization_rank(
    A: ArrayLike,
    C: ArrayLike,
    stream: ArrayLike,
    *,
    key: PRNGKeyArray,
    n_streams: int | None = None,
    noise: float = 0.1,
    activation: Activation = "tanh",
    leak: float | int = 1.0,
    bias: ArrayLike | None = None,
    rank_tol: float | None = 0.01,
) -> Int[Array, ""]:
    """Kernel rank over `n_streams` (default N) noisy versions of one stream (T,) or (T, m): smaller is better.

    Each version is the stream plus independent normal noise of standard deviation `noise`. With the
    numerical rank (`rank_tol=None`) every perturbation counts; the default counts those of 1 % and more.
    """
    A, C = arguments.network(A, C)
    base = arguments.real_array("stream", stream)
    size = A.shape[0] if n_streams is None else arguments.count("n_streams", n_streams)
    streams = base + noise * jax.random.normal(key, (size, *base.shape), base.dtype)
    return kernel_rank(A, C, streams, activation=activation, leak=leak, bias=bias, rank_tol=rank_tol)
