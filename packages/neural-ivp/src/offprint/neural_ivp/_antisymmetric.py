"""Random weights with u = 0, from which a fit need not go far."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from offprint.neural_ivp._functional import Functional


def antisymmetric(apply: Functional, theta: Float[Array, " p"]) -> Float[Array, " p"]:
    """θ with each hidden layer split into two equal halves that the head subtracts from each other.

    Then u = 0 (but for terms without weights) while every layer has the Jacobian of a random network: directions that
    move one half alone. From ordinary random weights a fit first has to undo a random function of size 1; of a field
    that is 0, or a multiple of the boundary factor, it does so by a last layer of 0, and with such a layer no other
    can move u any more. (Zhang et al., "A type of generalization error induced by initialization in deep neural
    networks", MSML 2020, use the trick to keep that function out of the result.)

    Args:
        apply: the network.
        theta: random weights, such as `apply.init(key)`.

    Returns:
        The weights; θ itself if the network is no chain of at least two dense layers of two units.
    """
    chain = apply.chain(theta)
    if chain is None or min([bias.shape[1] for _, bias in chain.layers[:-1]], default=0) < 2:
        return theta
    last = len(chain.layers) - 1
    parts = []
    for i, (kernel, bias) in enumerate(chain.layers):
        half_in, half_out = kernel.shape[1] // 2, kernel.shape[2] // 2
        if i:
            kernel = _halved(kernel, half_in, half_out) if i < last else _opposite(kernel, half_in)
        elif i < last:
            kernel = kernel.at[:, :, half_out : 2 * half_out].set(kernel[:, :, :half_out])
        bias = jnp.zeros_like(bias) if i == last else bias.at[:, half_out : 2 * half_out].set(bias[:, :half_out])
        parts += [bias.reshape(apply.blocks, -1), kernel.reshape(apply.blocks, -1)]
    return jnp.concatenate(parts, axis=1).reshape(-1).astype(theta.dtype)


def _halved(kernel: Float[Array, "blocks n m"], half_in: int, half_out: int) -> Float[Array, "blocks n m"]:
    """The same weights within both halves, none between them, scaled for half as many inputs."""
    part = kernel[:, :half_in, :half_out] * jnp.sqrt(2.0).astype(kernel.dtype)
    first, second = slice(0, half_in), slice(half_in, 2 * half_in)
    left, right = slice(0, half_out), slice(half_out, 2 * half_out)
    both = jnp.zeros_like(kernel).at[:, first, left].set(part).at[:, second, right].set(part)
    return both.at[:, :, 2 * half_out :].set(kernel[:, :, 2 * half_out :])  # an odd unit, which the head leaves out


def _opposite(kernel: Float[Array, "blocks n m"], half: int) -> Float[Array, "blocks n m"]:
    """The head: opposite weights for the two halves."""
    part = kernel[:, :half]
    return jnp.zeros_like(kernel).at[:, :half].set(part).at[:, half : 2 * half].set(-part)
