"""The functions that criteria differentiate, checked before they are used."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax.errors import TraceContextError
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array, PyTree

_DRAWS = ("random_bits", "random_gamma", "rng_bit_generator", "rng_uniform", "threefry2x32")


def check_loss(name: str, function: Callable[..., Array], *arguments: PyTree) -> None:
    """Refuse a function that does not give one real number for these arguments, or that draws random numbers."""
    shape = check_function(name, function, *arguments)
    if not isinstance(shape, jax.ShapeDtypeStruct):
        raise ValueError(f"{name} must return one real number, the loss; it returns a {type(shape).__name__}")
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        raise TypeError(
            f"{name} must return one real number that has a derivative; it returns {shape.dtype}, "
            "so an integer operation (argmax, rounding, a comparison) ends it"
        )
    if shape.shape != ():
        raise ValueError(f"{name} must return one number; it returns shape {shape.shape}: take the mean over the batch")


def check_function(name: str, function: Callable[..., Any], *arguments: PyTree) -> Any:
    """The shapes and types that `function` returns, if it can be called with the arguments and draws nothing."""
    _check_arguments(name, function, len(arguments))
    try:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    except TraceContextError as error:
        raise ValueError(
            f"{name} changes variables of its model ({error}); scores need an evaluation-mode function: call "
            "model.eval() before nnx.split"
        ) from error
    if any(primitive in _DRAWS for primitive in _primitives(closed.jaxpr)):
        raise ValueError(
            f"{name} draws random numbers (dropout?); scores need an evaluation-mode function: switch dropout off and "
            "use the running statistics of batch normalisation"
        )
    return shape


def _check_arguments(name: str, function: Callable[..., Any], count: int) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built-in functions have none
        return
    try:
        signature.bind(*range(count))
    except TypeError as error:
        raise ValueError(
            f"{name} is called with {count} arguments, and cannot be: {error}. If it needs a random key, pass an "
            "evaluation-mode function that needs none"
        ) from None


def _primitives(jaxpr: Any) -> Iterator[str]:
    """The names of all primitives, those of inner programs (jit, scan, cond, ...) included."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(equation.params, is_leaf=_is_program):
            if _is_program(value):
                yield from _primitives(value)


def _is_program(value: Any) -> bool:
    return isinstance(value, Jaxpr | ClosedJaxpr)
