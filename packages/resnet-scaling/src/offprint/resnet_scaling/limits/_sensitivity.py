"""How the SDE limit depends on its start: the limit of back-propagation in a diffusive network."""

from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.resnet_scaling._forward import Activation
from offprint.resnet_scaling.limits._sde import (
    Equation,
    Increments,
    Noise,
    Number,
    QuadraticVariation,
    equation_of,
    noise_of,
)
from offprint.resnet_scaling.limits._trend import Trend


class Sensitivity(NamedTuple):
    """States H_t and Jacobians J_t = ∂H_t/∂H_0 at t = 0, 1/F, ..., 1. Row i of J is the derivative by H_0[i]."""

    H: Float[Array, "times *paths d"]
    J: Float[Array, "times *paths d d"]


def sde_sensitivity(
    A_bar: Trend,
    b_bar: Trend,
    x0: Float[Array | np.ndarray, "*paths d"],
    *,
    scale_A: Number,
    scale_b: Number,
    activation: Activation = "tanh",
    dW: Increments | diffrax.AbstractPath | None = None,
    key: PRNGKeyArray | None = None,
    n_steps: int | None = None,
    quadratic_variation: QuadraticVariation | None = None,
) -> Sensitivity:
    """The SDE limit together with its sensitivity, along the same noise.

    dJ = s₁ J (Ā_t dt + dW^A) + ½ s₂ J ∂Q(H) dt, which for independent entries has ∂Q_ij = 2 q_A² H_i. The Euler steps
    of (H, J) are the Euler steps of H and their exact derivative.

    Args and errors: as in `sde`.
    """
    equation, h0 = equation_of(A_bar, b_bar, x0, activation, scale_A, scale_b, quadratic_variation, True)
    return _simulate(equation, h0, noise_of(dW, key, n_steps, h0))


@jax.jit
def _simulate(equation: Equation, h0: Array, noise: Noise) -> Sensitivity:
    dt = jnp.asarray(1 / noise.steps, h0.dtype)

    def body(now: Sensitivity, k: Array) -> tuple[Sensitivity, Sensitivity]:
        def step(h: Array) -> Array:
            return equation.step(h, k * dt, dt, noise.at(k, h, equation))

        # Every row of J is a tangent: paths do not mix, so that one derivative serves all of them.
        push = jax.vmap(lambda tangent: jax.jvp(step, (now.H,), (tangent,))[1])
        then = Sensitivity(step(now.H), push(now.J))
        return then, then

    # Paths last inside of the loop.
    d, paths = h0.shape[-1], h0.shape[:-1]
    eye = jnp.eye(d, dtype=h0.dtype).reshape(d, d, *(1,) * len(paths))
    start = Sensitivity(jnp.moveaxis(h0, -1, 0), jnp.broadcast_to(eye, (d, d, *paths)))
    _, path = jax.lax.scan(body, start, jnp.arange(noise.steps))
    whole = jax.tree.map(lambda first, later: jnp.concatenate([first[None], later]), start, path)
    return Sensitivity(jnp.moveaxis(whole.H, 1, -1), jnp.moveaxis(whole.J, (1, 2), (-2, -1)))


def sde_adjoint(
    J: Float[Array | np.ndarray, "times *paths d d"], g1: Float[Array | np.ndarray, "*paths d"]
) -> Float[Array, "times *paths d"]:
    """Limit g_t = g_1 (J_t⁻¹ J_1)ᵀ of the back-propagated gradients, from the Jacobians of `sde_sensitivity`.

    Args:
        J: Jacobians at the times wanted, the last of them at 1.
        g1: gradient with respect to H_1.
    """
    J = jnp.asarray(J)
    g0 = jnp.einsum("...j,...ij->...i", jnp.asarray(g1, J.dtype), J[-1])
    return jnp.linalg.solve(J, jnp.broadcast_to(g0, J.shape[:-1])[..., None])[..., 0]
