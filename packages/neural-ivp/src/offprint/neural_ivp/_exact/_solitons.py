"""Two solitons of the Korteweg-de Vries equation."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TWO_SOLITONS = ((1.0, 5.0**0.5), (0.0, 10.73))
"""Wave numbers k and phases of the usual test: the fast wave of height 2.5 overtakes the slow one of height 0.5."""


def two_solitons(
    x: Float[Array, ""],
    t: Any,
    k: Sequence[float | int] = TWO_SOLITONS[0],
    phase: Sequence[float | int] = TWO_SOLITONS[1],
) -> Float[Array, ""]:
    """u(x, t) of u_t + 6 u u_x + u_xxx = 0, by Hirota's formula u = 2 ∂²/∂x² log τ.

    τ = 1 + e^η1 + e^η2 + ((k1 - k2)/(k1 + k2))² e^(η1+η2), η_i = k_i x - k_i³ t + phase_i. log τ is a log-sum-exp of
    functions that are linear in x, so its second derivative is the variance of their slopes under the softmax: exact
    and without overflow wherever x is. A soliton alone has height k²/2 and speed k².

    Args:
        x: place, a scalar.
        t: time.
        k: the two wave numbers, positive and different.
        phase: of the two.
    """
    k1, k2 = (float(number) for number in k)
    slopes = jnp.asarray(np.array([0.0, k1, k2, k1 + k2]), x.dtype)
    eta = [number * x - number**3 * t + offset for number, offset in zip((k1, k2), phase)]
    interaction = 2 * math.log(abs(k1 - k2) / (k1 + k2))
    exponents = jnp.stack([jnp.zeros_like(eta[0]), eta[0], eta[1], eta[0] + eta[1] + interaction])
    share = jax.nn.softmax(exponents)
    mean = share @ slopes
    return 2 * share @ (slopes - mean) ** 2
