"""The linear maps of one projection: J, its transpose and M = (1/N) Σ w_i J_iᵀ J_i, whole or chunk by chunk."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from offprint.neural_ivp._layerwise import layerwise_products
from offprint.neural_ivp._products import Products, as_rows, at_highest_precision, traced_products

GRAM_NUMBERS = 2**24
"""Numbers of J that are formed at a time for M."""


@dataclass(frozen=True)
class LinearMaps:
    """What a solver needs of the network at θ on N points: products, M and the tangent kernel.

    B = `blocks` is the number of diagonal blocks of M; with one MLP for each component there is one for each, and
    everything between blocks is exactly 0. θ.reshape(B, p/B) are the blocks of θ.
    """

    u: Float[Array, "N k"]
    """The network at the points."""
    weights: Float[Array, " N"]
    """w_i / N, or 1/N."""
    jvp: Callable[[Array], Array]
    """v (p,) -> J v (N, k)."""
    vjp: Callable[[Array], Array]
    """c (N, k) -> Jᵀ c (p,), the plain sum over points."""
    matvec: Callable[[Array], Array]
    """v (p,) -> M v (p,)."""
    matmat: Callable[[Array], Array]
    """V (p, r) -> M V (p, r)."""
    gram: Callable[[], Array]
    """-> the diagonal blocks of M (B, p/B, p/B)."""
    kernel: Callable[[], Array]
    """-> J Jᵀ by blocks, without weights (B, N k/B, N k/B); rows are ordered (point, component)."""
    jacobian: Callable[[], Array]
    """-> J by blocks (B, N k/B, p/B)."""
    columns: Callable[[Array], Array]
    """idx (B, s) -> these columns of the blocks of J (B, N k/B, s)."""
    blocks: int
    num_params: int
    layerwise: bool
    """Whether products go by layers (an MLP) or through a linearised program (any model)."""

    def project(self, f: Float[Array, "N k"]) -> Float[Array, " p"]:
        """F = (1/N) Σ w_i J_iᵀ f_i."""
        return self.vjp(self.weights[:, None] * f)

    def root_weights(self) -> Float[Array, "blocks rows"]:
        """√(w_i / N) of each row of a block."""
        return as_rows(jnp.broadcast_to(jnp.sqrt(self.weights)[:, None], self.u.shape), self.blocks)


@at_highest_precision
def linear_maps(
    apply: Callable[..., Array],
    theta: Float[Array, " p"] | PyTree,
    X: Float[Array | np.ndarray, "N d"],
    t: Any = 0.0,
    weights: Float[Array | np.ndarray, " N"] | None = None,
    *,
    chunk: int | None = None,
    dtype: Any = None,
    layerwise: bool = True,
) -> LinearMaps:
    """The products with J = ∂u/∂θ and with the Gram matrix M on a set of points.

    The network is evaluated once; a product M v is one product with J and one with Jᵀ, O(N p). Chains of dense
    layers go layer by layer (see `layerwise_products`), any other model by `jax.linearize`.

    Args:
        apply: (θ, x (d,), t) -> u (k,), as `functional(model)` gives it. Its `blocks` and `chain`, if it has them,
            tell that M is block diagonal and that it is a chain of dense layers.
        theta: weights (p,), or a pytree of them, whose raveled order then holds everywhere.
        X: points.
        t: the time, a number; only boundary values that move need it.
        weights: w of each point; None for 1. M divides by N, not by the sum of the weights.
        chunk: how many points to hold at a time; None for all. Every product then evaluates the network again,
            chunk by chunk; the last chunk may be smaller. Memory no longer grows with N.
        dtype: in which products are computed; None for the dtype of θ (without layers the network itself has the last
            word, by the dtype of its parameters). Results have the dtype of sums: float64 with
            x64, else float32.
        layerwise: False takes the general route for chains too.

    Returns:
        The maps, over vectors (p,) and values (N, k).

    Raises:
        ValueError: points that are not (N, d), weights of another length, a chunk below 1.

    Source: the authors' code (M v by one product with J and one with its transpose).
    """
    if not (isinstance(theta, jax.Array | np.ndarray) and theta.ndim == 1):
        theta, unravel = ravel_pytree(theta)
        apply = _on_flat(apply, unravel)
    theta, X = jnp.asarray(theta), jnp.asarray(X)
    if X.ndim != 2 or not len(X):
        raise ValueError(f"the points have shape {X.shape}; (N, d) with N at least 1 is needed")
    if weights is not None and weights.shape != X.shape[:1]:
        raise ValueError(f"weights have shape {weights.shape}, but there are {len(X)} points: ({len(X)},) is needed")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk}; at least 1 point at a time is needed, or None for all at once")
    sums = jnp.result_type(float)
    n, p = len(X), theta.shape[0]
    w = (jnp.ones(n, sums) if weights is None else jnp.asarray(weights, sums)) / n
    chain = getattr(apply, "chain", lambda _: None)(theta) if layerwise else None
    blocks = getattr(apply, "blocks", 1)
    if chain is not None and not _covers(chain, p, blocks):
        chain = None
    dtype = jnp.dtype(theta.dtype if dtype is None else dtype)

    def products(points: Array) -> Products:
        if chain is not None:
            return layerwise_products(chain, points, dtype)
        return traced_products(apply, theta.astype(dtype), points.astype(dtype), jnp.asarray(t, dtype), blocks)

    def evaluate(points: Array) -> Array:
        return jax.vmap(lambda x: apply(theta, x, t))(points)

    on = (
        _whole(products, X, w, dtype, sums)
        if chunk is None or chunk >= n
        else _chunked(products, X, w, chunk, dtype, sums)
    )
    u = evaluate(X) if chunk is None else jax.lax.map(lambda x: apply(theta, x, t), X, batch_size=min(chunk, n))
    return LinearMaps(u, w, blocks=blocks, num_params=p, layerwise=chain is not None, **on)


def _on_flat(apply: Callable[..., Array], unravel: Callable[[Array], PyTree]) -> Callable[..., Array]:
    return lambda flat, x, t: apply(unravel(flat), x, t)


def _covers(chain: Any, p: int, blocks: int) -> bool:
    """Whether θ is the layers of the chain and nothing else."""
    return chain.layers[0][0].shape[0] == blocks and p == sum(W.size + b.size for W, b in chain.layers)


def _whole(products: Callable[[Array], Products], X: Array, w: Array, dtype: Any, sums: Any) -> dict[str, Any]:
    """All points at once: the network is evaluated once and its products are kept."""
    on = products(X)
    low = w.astype(dtype)

    def jvp(v: Array) -> Array:
        return on.jvp(v.astype(dtype)).astype(sums)

    def vjp(c: Array) -> Array:
        return on.vjp(c.astype(dtype)).astype(sums)

    maps = {
        "jvp": jvp,
        "vjp": vjp,
        "matvec": lambda v: vjp(w[:, None] * jvp(v)),
        "matmat": lambda V: on.pair(V.astype(dtype), low).astype(sums),
        "gram": _chunked(products, X, w, min(len(X), _gram_chunk(on)), dtype, sums)["gram"],
        "kernel": lambda: on.kernel().astype(sums),
        "jacobian": lambda: on.jacobian().astype(sums),
        "columns": lambda idx: on.columns(idx).astype(sums),
    }
    return {name: at_highest_precision(function) for name, function in maps.items()}


def _chunked(
    products: Callable[[Array], Products], X: Array, w: Array, chunk: int, dtype: Any, sums: Any
) -> dict[str, Any]:
    """Points in chunks, each product evaluating the network anew. Points that fill the last chunk weigh nothing."""
    n = len(X)
    count = -(-n // chunk)

    def in_chunks(rows: Array, mode: str) -> Array:
        pad = [(0, count * chunk - n)] + [(0, 0)] * (rows.ndim - 1)
        filled = jnp.pad(rows, pad, mode="edge" if mode == "edge" else "constant")
        # strided: each chunk has its share of every device that the points are split over
        return filled.reshape(chunk, count, *rows.shape[1:]).swapaxes(0, 1)

    points, parts = in_chunks(X, "edge"), in_chunks(w, "zero")

    def summed(one: Callable[..., Array], *rows: Array) -> Array:
        shape = jax.eval_shape(one, *(r[0] for r in rows)).shape
        return jax.lax.scan(lambda acc, r: (acc + one(*r).astype(sums), None), jnp.zeros(shape, sums), rows)[0]

    def jvp(v: Array) -> Array:
        v = v.astype(dtype)
        values = jax.lax.map(lambda x: products(x).jvp(v), points)
        return values.swapaxes(0, 1).reshape(count * chunk, -1)[:n].astype(sums)

    def vjp(c: Array) -> Array:
        return summed(lambda x, part: products(x).vjp(part.astype(dtype)), points, in_chunks(c, "zero"))

    def matvec(v: Array) -> Array:
        v = v.astype(dtype)

        def one(x: Array, part: Array) -> Array:
            on = products(x)
            return on.vjp(part.astype(dtype)[:, None] * on.jvp(v))

        return summed(one, points, parts)

    def matmat(V: Array) -> Array:
        V = V.astype(dtype)

        return summed(lambda x, part: products(x).pair(V, part.astype(dtype)), points, parts)

    def gram() -> Array:
        return summed(lambda x, part: _gram(products(x), part.astype(dtype)), points, parts)

    def rows_of(one: Callable[[Products], Array]) -> Array:
        values = jax.lax.map(lambda x: one(products(x)), points)  # (count, B, chunk m, columns)
        values = values.reshape(count, values.shape[1], chunk, -1, values.shape[-1])
        values = jnp.moveaxis(values, 0, 2).reshape(values.shape[1], chunk * count, *values.shape[3:])
        return values[:, :n].reshape(values.shape[0], -1, values.shape[-1]).astype(sums)

    maps: dict[str, Callable[..., Array]] = {
        "jvp": jvp,
        "vjp": vjp,
        "matvec": matvec,
        "matmat": matmat,
        "gram": gram,
        # the kernel is N k x N k anyway: the factors of all points are small beside it
        "kernel": lambda: products(X).kernel().astype(sums),
        "jacobian": lambda: rows_of(lambda on: on.jacobian()),
        "columns": lambda idx: rows_of(lambda on: on.columns(idx)),
    }
    return {name: at_highest_precision(function) for name, function in maps.items()}


def _gram_chunk(on: Products) -> int:
    """Points of which J is held at a time, but enough of them for M, which is read and written for each chunk."""
    per_point = math.prod(jax.eval_shape(on.jacobian).shape) // on.points
    return max(256, GRAM_NUMBERS // per_point)


def _gram(on: Products, w: Array) -> Array:
    """Jᵀ diag(w) J by blocks."""
    J = on.jacobian()
    return J.mT @ (jnp.repeat(w, J.shape[1] // w.shape[0])[:, None] * J)
