"""All layers at once: Newton's method on the whole sequence of states, each step solved by an associative scan.

The states solve F_k(h_k) - h_{k+1} = 0 with F_k(h) = h + c_k σ(h A_k + b_k). A Newton step is the affine recurrence
e_{k+1} = e_k J_k + r_k with r_k = F_k(h_k) - h_{k+1} and J_k = I + c_k A_k diag σ'(z_k), which a scan over (J, r)
solves in O(log L) rounds (DEER, Lim et al. 2024). Solving for the correction e, not for the states, keeps the
rounding errors those of the residual. The gradient is one such recurrence, backwards, and exact.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from offprint.resnet_scaling._forward import Layers, Sigma, layer_gradients, run_layers, sigma_and_slope

WIDEST = 64
"""Above this width the Jacobians cost more than the loop over layers that they replace."""
MAX_ITERATIONS = 10
JACOBIAN_BYTES = 2**28
"""The batch is split so that the Jacobians of a part fit into this."""


class ParallelInfo(NamedTuple):
    """How the Newton iterations went."""

    iterations: Int[Array, ""]
    """Newton steps made; 0 where the network is too wide and the scan ran at once."""
    residual: Float[Array, ""]
    """Largest |F_k(h_k) - h_{k+1}| / (1 + |h_{k+1}|) after them."""
    converged: Bool[Array, ""]
    """False where the states are those of the scan."""


def tolerance(dtype: jnp.dtype) -> float:
    """Largest relative Newton step and residual of a converged sequence: 6e-6 in float32, 2e-12 in float64."""
    return float(jnp.finfo(dtype).eps) ** 0.75


def parallel_hidden(
    layers: Layers,
    x: Float[Array, "*batch dim"],
    sigma: Sigma,
    *,
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[Float[Array, "states *batch dim"], ParallelInfo]:
    """All states h_0 ... h_L, by Newton iterations over all layers at once, and how they went.

    Memory is O(L B d²) for a part of the batch. Where the iterations do not converge, inside a jitted program too,
    the states are computed layer after layer; above a width of 64 they always are.
    """
    depth, dim = layers.b.shape
    if dim > WIDEST:
        hidden = _sequential(layers, x, sigma)
        zero = jnp.zeros((), x.dtype)
        return hidden, ParallelInfo(jnp.zeros((), jnp.int32), zero, jnp.array(False))
    rows = x.reshape(-1, dim)
    largest = max(1, JACOBIAN_BYTES // (depth * dim * dim * x.dtype.itemsize))
    parts = -(-rows.shape[0] // largest)
    size = -(-rows.shape[0] // max(parts, 1))
    if parts <= 1:
        hidden, info = _solve(layers, rows, sigma, max_iterations)
    else:
        padded = jnp.pad(rows, ((0, parts * size - rows.shape[0]), (0, 0)), mode="edge")
        solve = partial(_solve, layers, sigma=sigma, max_iterations=max_iterations)
        hidden, infos = jax.lax.map(solve, padded.reshape(parts, size, dim))
        hidden = jnp.moveaxis(hidden, 0, 1).reshape(depth + 1, parts * size, dim)[:, : rows.shape[0]]
        infos = jax.lax.stop_gradient(infos)  # reductions of truth values have no derivative rule
        info = ParallelInfo(infos.iterations.max(), infos.residual.max(), infos.converged.all())
    return hidden.reshape(depth + 1, *x.shape), info


def _sequential(layers: Layers, x: Array, sigma: Sigma) -> Array:
    hidden = run_layers(layers, x, sigma, stride=1)[1]
    assert hidden is not None
    return hidden


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _solve(layers: Layers, x: Array, sigma: Sigma, max_iterations: int) -> tuple[Array, ParallelInfo]:
    """States (L + 1, B, d) of inputs (B, d)."""
    small = tolerance(x.dtype)

    def residual(after: Array) -> tuple[Array, Array]:
        """r_k and the Jacobians less the identity, at states h_1 ... h_L."""
        before = jnp.concatenate([x[None], after[:-1]])
        s, slope = _sigma_and_slope(layers, before, sigma)
        return before + layers.c[:, None, None] * s - after, _jacobians(layers, slope)

    def newton(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        after, _, iterations = state
        r, M = residual(after)
        e = _affine_scan(M, r)
        after = after + e
        return after, jnp.max(jnp.abs(e) / (1 + jnp.abs(after)), initial=0.0), iterations + 1

    def goes_on(state: tuple[Array, Array, Array]) -> Array:
        _, step, iterations = state
        return (iterations < max_iterations) & (step > small)  # false for NaN too

    guess = jnp.broadcast_to(x, (layers.b.shape[0], *x.shape))
    start = (guess, jnp.full((), jnp.inf, x.dtype), jnp.zeros((), jnp.int32))
    after, step, iterations = jax.lax.while_loop(goes_on, newton, start)
    error = jnp.max(jnp.abs(residual(after)[0]) / (1 + jnp.abs(after)), initial=0.0)
    converged = (step <= small) & (error <= small)
    hidden = jax.lax.cond(
        converged,
        lambda: jnp.concatenate([x[None], after]),
        lambda: _sequential(layers, x, sigma),
    )
    return hidden, ParallelInfo(iterations, error, converged)


def _forward(layers: Layers, x: Array, sigma: Sigma, max_iterations: int) -> tuple:
    hidden, info = _solve(layers, x, sigma, max_iterations)
    return (hidden, info), (layers, hidden, info.converged)


def _backward(sigma: Sigma, max_iterations: int, kept: tuple, cotangents: tuple) -> tuple[Layers, Array]:
    """g_k = g_{k+1} J_kᵀ + (cotangent of h_k), and the gradients of the layers for all k at once."""
    layers, hidden, converged = kept
    outer = cotangents[0]
    before = hidden[:-1]
    s, slope = _sigma_and_slope(layers, before, sigma)
    last = outer[-1]

    def at_once() -> Array:
        M = jnp.swapaxes(_jacobians(layers, slope), -1, -2)[::-1]
        r = outer[:-1][::-1]
        r = r.at[0].add(last + jnp.einsum("bi,bij->bj", last, M[0]))
        return jnp.concatenate([_affine_scan(M, r)[::-1], last[None]])

    def one_by_one() -> Array:
        def step(g: Array, one: tuple) -> tuple[Array, Array]:
            layer, slope_k, outer_k = one
            g = g + (layer.c * g * slope_k) @ layer.A.T + outer_k
            return g, g

        g = jax.lax.scan(step, last, (layers, slope, outer[:-1]), reverse=True)[1]
        return jnp.concatenate([g, last[None]])

    g = jax.lax.cond(converged, at_once, one_by_one)
    return layer_gradients(layers, before, s, slope, g[1:]), g[0]


_solve.defvjp(_forward, _backward)


def _sigma_and_slope(layers: Layers, before: Array, sigma: Sigma) -> tuple[Array, Array]:
    """σ and σ' of h_k A_k + b_k, each (L, B, d)."""
    return sigma_and_slope(jnp.einsum("kbi,kij->kbj", before, layers.A) + layers.b[:, None], sigma)


def _jacobians(layers: Layers, slope: Array) -> Array:
    """J_k - I = c_k A_k diag σ', (L, B, d, d): row i, column j is the derivative of entry j by entry i."""
    return (layers.c[:, None, None] * layers.A)[:, None] * slope[:, :, None, :]


def _affine_scan(M: Array, r: Array) -> Array:
    """e_1 ... e_L of e_{k+1} = e_k (I + M_k) + r_k with e_0 = 0."""

    def then(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        (M1, r1), (M2, r2) = first, second
        return M1 + M2 + M1 @ M2, r1 + r2 + (r1[..., None, :] @ M2)[..., 0, :]

    return jax.lax.associative_scan(then, (M, r))[1]
