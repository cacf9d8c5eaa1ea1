"""Net-Trim (Aghasi et al. 2017): the sparsest kernel that gives a ReLU layer the same outputs, as a convex problem."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.sparsity.layerwise._quadratic import EXACT, Kernel, Pruned, widened


def net_trim(
    kernel: Kernel,
    x: Float[Array | np.ndarray, "rows in"],
    strength: float | int,
    *,
    bias: Float[Array | np.ndarray, " out"] | None = None,
    iterations: int = 2000,
) -> Pruned:
    """Sparsify the kernel in front of a ReLU by an L1 penalty on the weights, given the layer's inputs.

    Where the layer's output was positive it should stay what it was, where it was zero the new pre-activation z should
    not be positive: min ½‖(z − z₀)_on‖² + ½‖max(z, 0)_off‖² + λ‖U‖₁ with z = xU + bias. The paper bounds the misfit and
    has z ≤ 0 as a constraint; here both are penalties, which has a minimum for every λ and needs no solver of cones.
    It is minimised by accelerated proximal steps with restarts; the zeros are exact.

    Args:
        kernel: weights before.
        x: inputs of the layer over the calibration; unlike the other methods this one needs them all.
        strength: λ as a share of the one from which on all weights are zero, in (0, 1).
        bias: of the layer, which stays.
        iterations: at most; it stops earlier when nothing moves.

    Returns:
        Kernel and mask. How sparse it gets depends on λ. Works under jit and vmap.

    Raises:
        ValueError: shapes that do not fit, a strength outside (0, 1), iterations < 1.

    Source: aghasi2017nettrim. From memory of the paper, not checked against it.
    """
    if kernel.ndim != 2 or x.ndim != 2 or x.shape[1] != kernel.shape[0]:
        raise ValueError(
            f"net_trim needs a kernel (in, out) and inputs (rows, in); got {tuple(kernel.shape)}, {tuple(x.shape)}"
        )
    if not 0 < strength < 1:
        raise ValueError(f"strength is a share of the λ that leaves no weight, in (0, 1); got {strength:g}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1; got {iterations}")
    wide = widened(kernel)
    shift = jnp.zeros(kernel.shape[1], wide.dtype) if bias is None else jnp.asarray(bias, wide.dtype)
    trimmed = _minimise(wide, jnp.asarray(x, wide.dtype), shift, float(strength), iterations)
    return Pruned(trimmed.astype(kernel.dtype), trimmed != 0)


@partial(jax.jit, static_argnums=4)
def _minimise(kernel: Array, x: Array, bias: Array, strength: float | Array, iterations: int) -> Array:
    before = jnp.matmul(x, kernel, precision=EXACT) + bias
    on = before > 0

    def slope(U: Array) -> Array:
        z = jnp.matmul(x, U, precision=EXACT) + bias
        return jnp.matmul(x.T, jnp.where(on, z - before, jnp.maximum(z, 0)), precision=EXACT)

    level = strength * jnp.max(jnp.abs(slope(jnp.zeros_like(kernel))))
    step = 1 / jnp.linalg.eigvalsh(jnp.matmul(x.T, x, precision=EXACT))[-1]
    tolerance = 4 * jnp.finfo(kernel.dtype).eps * jnp.max(jnp.abs(kernel))

    def advance(state: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        count, U, ahead, momentum, _ = state
        moved = ahead - step * slope(ahead)
        new = jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - step * level, 0)
        # Momentum that points uphill is dropped (O'Donoghue & Candès 2015), or it would swing about the minimum.
        uphill = jnp.vdot(ahead - new, new - U) > 0
        momentum = jnp.where(uphill, 1, momentum)
        following = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        return count + 1, new, new + (momentum - 1) / following * (new - U), following, jnp.max(jnp.abs(new - U))

    def moving(state: tuple[Array, Array, Array, Array, Array]) -> Array:
        return (state[0] < iterations) & (state[4] > tolerance)

    one = jnp.ones((), kernel.dtype)
    return jax.lax.while_loop(moving, advance, (jnp.int32(0), kernel, kernel, one, jnp.inf * one))[1]
