"""What a capacity is when there is none: the law of the in-sample estimate for an unrelated target."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


def beta_threshold(rank: Int[Array, ""], n_samples: int, p: float) -> Float[Array, ""]:
    """The (1 - p) quantile of Beta(r/2, (T-1-r)/2), to six digits.

    That is the law of the squared multiple correlation of T samples of a target with r centred states that
    are independent of it (exactly so for a Gaussian target); its mean is r/(T-1). Zero for r = 0.
    """

    def quantile(rank: ArrayLike) -> np.ndarray:
        r = np.asarray(rank, np.float64)
        tail = scipy.special.betainccinv(np.maximum(r, 1) / 2, np.maximum(n_samples - 1 - r, 1) / 2, p)
        return np.asarray(np.where(r > 0, tail, 0.0), np.float32)

    # JAX has no inverse of the incomplete beta function; one number a curve is cheap to ask the host for.
    # As float32: the thread that runs the callback doesn't know of an enable_x64 context around the caller.
    result = jax.ShapeDtypeStruct((), jnp.float32)
    return jax.pure_callback(quantile, result, rank, vmap_method="broadcast_all").astype(jnp.result_type(float))
