"""Continuous sparsification: a learnt sigmoid gate per weight that hardens during training (`savarese2020cs`)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Floats = Float[Array | np.ndarray, "*shape"]
Number = float | int | Float[Array | np.ndarray, ""] | Int[Array | np.ndarray, ""]


def continuous_gate(s: Floats, beta: Number) -> Float[Array, "*shape"]:
    """The gate `σ(β s)` that multiplies a weight; β = 1 is soft, and as β grows it becomes `1[s > 0]`."""
    scores = jnp.asarray(s)
    return jax.nn.sigmoid(jnp.asarray(beta, scores.dtype) * scores)


def continuous_mask(s: Floats) -> Bool[Array, "*shape"]:
    """The gate's limit, True where s > 0: the mask of the final network."""
    return jnp.asarray(s) > 0


def continuous_penalty(s: Floats, beta: Number) -> Float[Array, ""]:
    """Σ σ(β s), the smooth count of open gates, to be multiplied by λ (the paper's 1e-8 to 1e-10 per weight)."""
    return jnp.sum(continuous_gate(s, beta))


def beta_schedule(step: Number, num_steps: int, final: float | int = 200.0) -> Float[Array, ""]:
    """β at a step, growing exponentially from 1 at step 0 to `final` at the last, `final^(step / (num_steps - 1))`.

    Raises:
        ValueError: fewer than two steps, or a final β of at most 1.

    From memory of the paper, not checked against it.
    """
    if num_steps < 2:
        raise ValueError(f"num_steps={num_steps}: β needs at least two steps to grow")
    if not final > 1:
        raise ValueError(f"final={final}: β starts at 1 and must grow, to 200 for example")
    progress = jnp.clip(jnp.asarray(step) / (num_steps - 1), 0.0, 1.0)
    return jnp.asarray(final, progress.dtype) ** progress


def continuous_restart(s: Floats, beta: Number, initial: Number) -> Float[Array, "*shape"]:
    """The gate scores of the next round, `min(β s, s₀)`: what was removed starts strongly negative and stays out.

    What was kept starts again from the initial score. For ticket search in several rounds, with the weights rewound and
    β back at 1.

    From memory of the paper, not checked against it.
    """
    scores = jnp.asarray(s)
    return jnp.minimum(jnp.asarray(beta, scores.dtype) * scores, jnp.asarray(initial, scores.dtype))
