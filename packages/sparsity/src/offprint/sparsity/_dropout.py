"""Ephemeral sparsity at random: dropout and its relatives.

Each function takes a key, or the uniforms `u` that the key would give, so that two programs can be compared draw by
draw. Rates are those of dropping; what is kept is scaled so that the mean is unchanged.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Number = float | int | Float[Array, ""]


def dropout(
    x: Float[Array, "..."], rate: Number, *, key: PRNGKeyArray | None = None, u: Float[Array, "..."] | None = None
) -> Float[Array, "..."]:
    """Each element is 0 with probability `rate`, else x / (1 - rate) (srivastava2014dropout).

    Args:
        x: any shape.
        rate: probability of dropping, in [0, 1); a traced one gives no gradient (see `concrete_dropout`).
        key, u: one of them; `u` has the shape of x, and an element is kept where u >= rate.

    Raises:
        ValueError: a rate outside [0, 1), or not exactly one of `key` and `u`.
    """
    _check_rate(rate)
    kept = _uniform(key, u, x.shape, x.dtype) >= rate
    return jnp.where(kept, x / (1 - rate), jnp.zeros_like(x))


def gaussian_dropout(x: Float[Array, "..."], alpha: Number, *, key: PRNGKeyArray) -> Float[Array, "..."]:
    """x (1 + sqrt(alpha) n), n standard normal: the multiplicative noise with the variance of dropout at the rate
    alpha / (1 + alpha) (srivastava2014dropout, kingma2015vd). Differentiable in `alpha`, which may broadcast.

    Raises:
        ValueError: a negative alpha.
    """
    if not isinstance(alpha, jax.core.Tracer) and bool(jnp.any(jnp.asarray(alpha) < 0)):
        raise ValueError(f"alpha is a variance and can't be negative; got {alpha}")
    return x * (1 + jnp.sqrt(jnp.asarray(alpha, x.dtype)) * jax.random.normal(key, x.shape, x.dtype))


def dropconnect(
    x: Float[Array, "*batch in"],
    kernel: Float[Array, "in out"],
    rate: Number,
    *,
    key: PRNGKeyArray | None = None,
    u: Float[Array, "..."] | None = None,
    per_example: bool = False,
) -> Float[Array, "*batch out"]:
    """x @ kernel with weights dropped at random, scaled by 1 / (1 - rate) (wan2013dropconnect).

    Args:
        rate: probability of dropping a weight, in [0, 1).
        key, u: one of them; `u` is (in, out), or (*batch, in, out) if `per_example`.
        per_example: a mask for each example, as in the paper, which takes `batch` times the memory of the kernel;
            by default one mask for all.

    Raises:
        ValueError: a rate outside [0, 1), or not exactly one of `key` and `u`.
    """
    _check_rate(rate)
    shape = (*x.shape[:-1], *kernel.shape) if per_example else kernel.shape
    kept = _uniform(key, u, shape, kernel.dtype) >= rate
    dropped = jnp.where(kept, kernel, jnp.zeros_like(kernel)) / (1 - rate)
    return jnp.einsum("...i,...io->...o", x, dropped) if per_example else x @ dropped


def dropconnect_moments(
    x: Float[Array, "*batch in"], kernel: Float[Array, "in out"], rate: Number
) -> tuple[Float[Array, "*batch out"], Float[Array, "*batch out"]]:
    """Mean and variance of x @ (m * kernel), each m Bernoulli(1 - rate), not rescaled: what DropConnect's inference
    draws from (wan2013dropconnect)."""
    _check_rate(rate)
    return (1 - rate) * (x @ kernel), rate * (1 - rate) * (x**2 @ kernel**2)


def concrete_dropout(
    x: Float[Array, "..."],
    rate: Number,
    *,
    temperature: float = 0.1,
    key: PRNGKeyArray | None = None,
    u: Float[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """Dropout relaxed so that its rate has a gradient: x (1 - z) / (1 - rate) (gal2017concrete).

    z = sigmoid((logit rate + logit u) / temperature) is the share that is dropped.

    Raises:
        ValueError: a rate outside (0, 1), a temperature that is not positive, or not exactly one of `key` and `u`.
    """
    z = concrete_gate(rate, _uniform(key, u, x.shape, x.dtype), temperature)
    return (x * (1 - z) / (1 - rate)).astype(x.dtype)


def concrete_gate(rate: Number, u: Float[Array, "..."], temperature: float = 0.1) -> Float[Array, "..."]:
    """z = sigmoid((logit rate + logit u) / temperature), u clipped to the open interval (gal2017concrete)."""
    _check_rate(rate, inner=True)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive; got {temperature}")
    eps = jnp.finfo(u.dtype).eps
    return jax.nn.sigmoid((_logit(jnp.asarray(rate, u.dtype)) + _logit(jnp.clip(u, eps, 1 - eps))) / temperature)


def concrete_entropy(rate: Number) -> Float[Array, ""]:
    """Entropy of a Bernoulli variable in nats: concrete dropout's regulariser is minus this, times the number of
    units (gal2017concrete)."""
    _check_rate(rate, inner=True)
    p = jnp.asarray(rate)
    return -(p * jnp.log(p) + (1 - p) * jnp.log1p(-p))


def standout(
    x: Float[Array, "*batch units"],
    preactivation: Float[Array, "*batch units"],
    *,
    alpha: Number = 1.0,
    beta: Number = 0.0,
    key: PRNGKeyArray | None = None,
    u: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch units"]:
    """Each unit is kept with probability sigmoid(alpha a + beta) of its own preactivation a (ba2013standout).

    Not rescaled: at test time units are multiplied by that probability. From memory of the paper, not checked against
    it.

    Raises:
        ValueError: not exactly one of `key` and `u`.
    """
    keep = jax.nn.sigmoid(alpha * preactivation + beta)
    return jnp.where(_uniform(key, u, x.shape, x.dtype) < keep, x, jnp.zeros_like(x))


def spatial_dropout(
    x: Float[Array, "*batch height width channels"], rate: Number, *, key: PRNGKeyArray
) -> Float[Array, "*batch height width channels"]:
    """Dropout of whole channels of each example (tompson2015spatial).

    Raises:
        ValueError: a rate outside [0, 1).
    """
    _check_rate(rate)
    kept = _draw(key, (*x.shape[:-3], 1, 1, x.shape[-1]), x.dtype) >= rate
    return jnp.where(kept, x / (1 - rate), jnp.zeros_like(x))


def drop_block(
    x: Float[Array, "*batch height width channels"], rate: Number, block: int, *, key: PRNGKeyArray
) -> Float[Array, "*batch height width channels"]:
    """Dropout of squares of `block` x `block` pixels in each channel; kept ones are scaled up by the share that was
    dropped (ghiasi2018dropblock). From memory of the paper, not checked against it.

    Centres are drawn where a whole square fits, with rate / block² · (area / area of the centres).

    Raises:
        ValueError: a rate outside [0, 1), or a block that is larger than the image.
    """
    _check_rate(rate)
    height, width = x.shape[-3:-1]
    if not 1 <= block <= min(height, width):
        raise ValueError(f"block must be between 1 and the image's {min(height, width)} pixels; got {block}")
    inner = (height - block + 1, width - block + 1)
    gamma = rate / block**2 * (height * width) / (inner[0] * inner[1])
    corners = _draw(key, (*x.shape[:-3], *inner, x.shape[-1]), x.dtype) < gamma
    lead = (1,) * (x.ndim - 3)
    dropped = jax.lax.reduce_window(
        corners,
        np.bool_(False),
        jax.lax.bitwise_or,
        (*lead, block, block, 1),
        (1,) * x.ndim,
        ((0, 0),) * (x.ndim - 3) + ((block - 1, block - 1), (block - 1, block - 1), (0, 0)),
    )
    kept = ~dropped
    # Counted in integers: the sum of many ones leaves the range of a half-precision number.
    scale = kept.size / jnp.maximum(jnp.sum(kept, dtype=jnp.int32), 1)
    return jnp.where(kept, x * scale.astype(x.dtype), jnp.zeros_like(x))


def stochastic_depth(
    residual: Float[Array, "*batch features"],
    rate: Number,
    *,
    key: PRNGKeyArray,
    mode: Literal["row", "batch"] = "row",
) -> Float[Array, "*batch features"]:
    """A residual branch that is dropped whole: for each example (`"row"`) or all at once (`"batch"`), as LayerDrop
    does with layers (huang2016stochasticdepth, fan2020layerdrop). Kept ones are scaled by 1 / (1 - rate).

    Raises:
        ValueError: a rate outside [0, 1) or an unknown mode.
    """
    _check_rate(rate)
    if mode not in ("row", "batch"):
        raise ValueError(f"mode must be 'row' or 'batch'; got {mode!r}")
    shape: Sequence[int] = (residual.shape[0],) + (1,) * (residual.ndim - 1) if mode == "row" else (1,) * residual.ndim
    kept = _draw(key, tuple(shape), residual.dtype) >= rate
    return jnp.where(kept, residual / (1 - rate), jnp.zeros_like(residual))


def linear_rates(layers: int, last: float = 0.5) -> list[float]:
    """Rates of dropping of layers 1..L that grow linearly, l / L · last (huang2016stochasticdepth)."""
    if layers < 1:
        raise ValueError(f"there must be a layer; got {layers}")
    _check_rate(last)
    return [last * (layer + 1) / layers for layer in range(layers)]


def _uniform(key: PRNGKeyArray | None, u: Array | None, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    if u is None and key is not None:
        return _draw(key, shape, dtype)
    if u is None or key is not None:
        raise ValueError("give one of key and u")
    if u.shape != shape:
        raise ValueError(f"u must have the shape {shape} of what is dropped; got {u.shape}")
    return u


def _draw(key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Uniform numbers in at least float32: a bfloat16 has 128 values for them, too few for small rates."""
    return jax.random.uniform(key, shape, jnp.promote_types(dtype, jnp.float32))


def _check_rate(rate: Number, inner: bool = False) -> None:
    if isinstance(rate, jax.core.Tracer):
        return
    if not 0 <= float(rate) < 1 or (inner and float(rate) == 0):
        raise ValueError(f"rate must be in {'(0, 1)' if inner else '[0, 1)'}; got {rate}")


def _logit(p: Array) -> Array:
    return jnp.log(p) - jnp.log1p(-p)
