"""Wanda (Sun et al. 2024): magnitudes weighted by the norms of the inputs, compared within each output."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.sparsity._counts import n_prune
from offprint.sparsity._mask import masks_by_count
from offprint.sparsity.layerwise._choice import NofM, Rounding, check_choice, lowest_of_group
from offprint.sparsity.layerwise._quadratic import Kernel, Pruned

Norms = Float[Array | np.ndarray, " in"]


def wanda_score(kernel: Kernel, norms: Norms) -> Float[Array, "in out"]:
    """|W_ij|·‖X_i‖₂, high = keep. Source: sun2024wanda."""
    return jnp.abs(jnp.asarray(kernel)) * jnp.asarray(norms)[:, None]


def wanda(
    kernel: Kernel,
    norms: Norms,
    sparsity: float | int | None = None,
    *,
    nm: NofM | None = None,
    rounding: Rounding = "floor",
) -> Pruned:
    """Remove from every output the weights of least |W_ij|·‖X_i‖₂; those that are left stay as they are.

    Args:
        kernel: weights.
        norms: ‖X_i‖₂ of every input over the calibration (any multiple will do); see `collect`.
        sparsity: share removed of the weights of each output.
        nm: instead, (n, m): n kept of every m consecutive inputs, for each output.
        rounding: of the number removed; the authors' code rounds down.

    Returns:
        Kernel and mask. Works under jit and vmap.

    Raises:
        ValueError: both or neither of sparsity and nm, or shapes that do not fit.

    Source: sun2024wanda.
    """
    if kernel.ndim != 2 or norms.shape != kernel.shape[:1]:
        raise ValueError(
            f"wanda needs a kernel (in, out) and a norm for each input; got {tuple(kernel.shape)} and "
            f"{tuple(norms.shape)}"
        )
    check_choice(sparsity, nm, kernel.shape[0])
    kept = None if sparsity is None else kernel.shape[0] - n_prune(kernel.shape[0], sparsity, rounding)
    return Pruned(*_wanda(jnp.asarray(kernel), jnp.asarray(norms), kept, nm))


@partial(jax.jit, static_argnums=(2, 3))
def _wanda(kernel: Array, norms: Array, kept: int | None, nm: NofM | None) -> tuple[Array, Array]:
    score = wanda_score(kernel, norms)
    if nm is None:
        mask = jax.vmap(lambda column: masks_by_count(column, kept), in_axes=1, out_axes=1)(score)
    else:
        n, m = nm
        groups = score.reshape(-1, m, score.shape[1])
        mask = ~jax.vmap(lambda group: lowest_of_group(group, m - n))(groups).reshape(score.shape)
    return jnp.where(mask, kernel, 0), mask
