"""One residual layer, and the layers one after the other: h_{k+1} = h_k + c_k σ(h_k A_k + b_k)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Sigma = Callable[[Array], Array]
Activation = str | Sigma
Remat = int | Literal["auto"] | None

ACTIVATIONS: dict[str, Sigma] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "identity": lambda z: z,
}


class Layers(NamedTuple):
    """A stack of layers as the loops read it: one multiplier c_k for each, whatever it was made from."""

    A: Float[Array, "depth dim dim"]
    b: Float[Array, "depth dim"]
    c: Float[Array, "depth"]


def sigma_of(activation: Activation) -> Sigma:
    """The activation of that name, or the user's own elementwise function.

    Raises:
        ValueError: a name that is not known.
    """
    if callable(activation):
        return activation
    if activation not in ACTIVATIONS:
        names = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"activation={activation!r} is unknown; one of {names}, or an elementwise function, is needed")
    return ACTIVATIONS[activation]


def layer(
    h: Float[Array, "*batch dim"],
    A: Float[Array, "dim dim"],
    b: Float[Array, "dim"],
    c: Float[Array, ""],
    sigma: Sigma,
) -> Float[Array, "*batch dim"]:
    """h + c σ(h A + b), for row vectors h."""
    return h + c * sigma(h @ A + b)


def remat_chunk(remat: Remat, depth: int) -> int | None:
    """Layers between two stored states: ⌈√L⌉ for "auto", at most L.

    Raises:
        ValueError: neither None, "auto" nor a positive integer.
    """
    if remat is None:
        return None
    if remat == "auto":
        return max(1, math.isqrt(max(depth - 1, 0)) + 1)
    if isinstance(remat, bool) or not isinstance(remat, int) or remat < 1:
        raise ValueError(f"remat={remat!r}; None, 'auto' or a positive number of layers is needed")
    return min(remat, max(depth, 1))


def sigma_and_slope(z: Float[Array, "*shape"], sigma: Sigma) -> tuple[Array, Array]:
    """σ and σ' at every entry; σ acts on each entry by itself."""
    return jax.jvp(sigma, (z,), (jnp.ones_like(z),))


def layer_gradients(layers: Layers, before: Array, s: Array, slope: Array, after: Array) -> Layers:
    """Gradients of all layers at once, from inputs, σ and σ' of each and the gradient of its output, all (L, B, d)."""
    p = layers.c[:, None, None] * after * slope
    return Layers(jnp.einsum("kbi,kbj->kij", before, p), p.sum(axis=1), jnp.sum(after * s, axis=(1, 2)))


def _run(layers: Layers, x: Array, sigma: Sigma, unroll: int) -> Array:
    def step(h: Array, one: Layers) -> tuple[Array, None]:
        return layer(h, one.A, one.b, one.c, sigma), None

    return jax.lax.scan(step, x, layers, unroll=unroll)[0]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _run_again(layers: Layers, x: Array, sigma: Sigma, unroll: int) -> Array:
    """`_run` that keeps nothing but its input for the gradient.

    `jax.checkpoint` would do the same. On the CPU this takes three quarters of its time: the loop backwards only
    carries the gradient of the state, and those of the weights are products over all layers of the chunk at once.
    """
    return _run(layers, x, sigma, unroll)


def _run_and_keep(layers: Layers, x: Array, sigma: Sigma, unroll: int) -> tuple[Array, tuple[Layers, Array]]:
    return _run(layers, x, sigma, unroll), (layers, x)


def _run_backwards(sigma: Sigma, unroll: int, kept: tuple[Layers, Array], g: Array) -> tuple[Layers, Array]:
    layers, x = kept

    def forwards(h: Array, one: Layers) -> tuple[Array, tuple[Array, Array, Array]]:
        s, slope = sigma_and_slope(h @ one.A + one.b, sigma)
        return h + one.c * s, (h, s, slope)

    def backwards(g: Array, one: tuple[Layers, Array]) -> tuple[Array, Array]:
        of_layer, slope = one
        return g + (of_layer.c * g * slope) @ of_layer.A.T, g

    kept_states = jax.lax.scan(forwards, x, layers, unroll=unroll)[1]
    g, after = jax.lax.scan(backwards, g, (layers, kept_states[2]), reverse=True, unroll=unroll)
    rows = [array.reshape(array.shape[0], -1, array.shape[-1]) for array in (*kept_states, after)]
    return layer_gradients(layers, *rows), g


_run_again.defvjp(_run_and_keep, _run_backwards)


def run_layers(
    layers: Layers,
    x: Float[Array, "*batch dim"],
    sigma: Sigma,
    *,
    chunk: int | None = None,
    unroll: int = 1,
    stride: int = 0,
) -> tuple[Float[Array, "*batch dim"], Float[Array, "kept *batch dim"] | None]:
    """h_L, and the states h_0, h_s, h_2s, ... of the stride s (None for stride 0).

    With `chunk`, only the state at the start of each chunk is kept for the gradient, and the rest is computed again;
    there is no forward-mode derivative then.
    The kept states are the ends of chunks too, so that with a stride the stride is the chunk.
    """

    length = stride or chunk
    if not length:
        return _run(layers, x, sigma, unroll), None

    def block(h: Array, part: Layers) -> Array:
        if length == 1 and chunk is None:  # no loop within the loop
            return layer(h, part.A[0], part.b[0], part.c[0], sigma)
        return (_run if chunk is None else _run_again)(part, h, sigma, unroll)

    depth = layers.b.shape[0]
    whole = depth // length * length
    head = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, length, *leaf.shape[1:]), layers)

    def outer(h: Array, part: Layers) -> tuple[Array, Array | None]:
        h = block(h, part)
        return h, h if stride else None

    h, ends = jax.lax.scan(outer, x, head)
    if whole < depth:
        h = block(h, jax.tree.map(lambda leaf: leaf[whole:], layers))
    return h, None if ends is None else jnp.concatenate([x[None], ends])
