"""The products that are made for all steps at once, with a derivative laid out for long sequences."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from offprint.mgrn._config import Execution


def dense(
    x: Float[Array, "*groups n inputs"],
    weights: Float[Array, "*groups inputs outputs"],
    execution: Execution,
    dtype: Any,
) -> Float[Array, "*groups n outputs"]:
    """x @ weights, accumulated and given in `dtype`; n is steps times sequences.

    The automatic derivative forms the transpose of the weights' gradient, for which the cotangent, often much larger
    than x, is copied into another layout. The custom one doesn't.
    """
    if execution.vjp == "autodiff":
        return _matmul(x, weights, execution, dtype)
    return _with_custom_vjp(x, weights, execution, dtype)


def _matmul(x: Array, weights: Array, execution: Execution, dtype: Any) -> Array:
    return jnp.matmul(x, weights, precision=execution.precision, preferred_element_type=dtype)


_with_custom_vjp = partial(jax.custom_vjp, nondiff_argnums=(2, 3))(_matmul)


def _forward(x: Array, weights: Array, execution: Execution, dtype: Any) -> tuple[Array, tuple[Array, Array]]:
    return _matmul(x, weights, execution, dtype), (x, weights)


def _backward(execution: Execution, dtype: Any, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, weights = saved
    product = partial(jnp.einsum, precision=execution.precision)
    dx = product("...nk,...fk->...nf", cotangent.astype(weights.dtype), weights)
    return dx, product("...nf,...nk->...fk", x, cotangent.astype(x.dtype))


_with_custom_vjp.defvjp(_forward, _backward)
