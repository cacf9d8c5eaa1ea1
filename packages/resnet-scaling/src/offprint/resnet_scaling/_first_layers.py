"""The first L layers of a longer stack, with L known only when the program runs: one program for many depths."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from offprint.resnet_scaling._forward import Layers, Sigma, layer, sigma_and_slope


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def first_layers(
    layers: Layers, x: Float[Array, "batch dim"], sigma: Sigma, depth: Int[Array, ""] | int
) -> Float[Array, "states batch dim"]:
    """h_0 ... h_depth of a stack of at least that many layers; 0 for the states behind.

    A loop of a length that is not known beforehand has no derivative in JAX, so the gradient is written out here. Only
    `depth` layers are run, forwards and backwards: the others cost memory, but next to no time.
    """
    return _forward(layers, x, sigma, depth)[0]


def _forward(layers: Layers, x: Array, sigma: Sigma, depth: Array | int) -> tuple:
    hidden = jnp.zeros((layers.b.shape[0] + 1, *x.shape), x.dtype).at[0].set(x)

    def step(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        h, hidden = carry
        h = layer(h, layers.A[k], layers.b[k], layers.c[k], sigma)
        return h, hidden.at[k + 1].set(h)

    hidden = jax.lax.fori_loop(0, depth, step, (x, hidden))[1]
    return hidden, (layers, hidden, depth)


def _backward(sigma: Sigma, kept: tuple, outer: Array) -> tuple[Layers, Array, None]:
    """g_k = g_{k+1} J_kᵀ + (cotangent of h_k), from the last layer to the first."""
    layers, hidden, depth = kept

    def step(i: Array, carry: tuple[Array, Layers]) -> tuple[Array, Layers]:
        g, gradient = carry
        k = depth - 1 - i
        h, A, c = hidden[k], layers.A[k], layers.c[k]
        s, slope = sigma_and_slope(h @ A + layers.b[k], sigma)
        p = c * g * slope
        gradient = Layers(
            gradient.A.at[k].set(h.T @ p),
            gradient.b.at[k].set(p.sum(axis=0)),
            gradient.c.at[k].set(jnp.sum(g * s)),
        )
        return g + p @ A.T + outer[k], gradient

    start = (outer[depth], jax.tree.map(jnp.zeros_like, layers))
    g, gradient = jax.lax.fori_loop(0, depth, step, start)
    return gradient, g, None


first_layers.defvjp(_forward, _backward)
