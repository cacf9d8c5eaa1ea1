"""Values that don't depend on the input of a network: how far each primitive keeps them known.

A masked unit is not always zero: its bias, and the shift of a batch norm, go on through it. The second pass over the
jaxpr follows such constants, in NumPy. An array is a value and a flag of whether it is known, both with size 1 along
every axis on which they are the same everywhere; so a batch costs nothing, and the cost is one pass of a batch of one.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from offprint.sparsity._jaxprs import Key


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """An array of a traced function as far as it is independent of the input."""

    value: Any  # NumPy array or scalar; anything where unknown
    known: Any  # bool, of the same shape
    leaf: tuple[str, tuple[int, ...]] | None = None  # if it is a parameter: its path, and the axis here of each of its
    sinks: tuple[Key, ...] = ()  # contractions whose outputs it is, or is the sum of with other things

    @property
    def zero(self) -> np.ndarray:
        return np.asarray(self.known & (self.value == 0))

    @property
    def wide(self) -> np.ndarray:
        """`filled`, in float32 at least."""
        filled = self.filled
        narrow_float = jax.numpy.issubdtype(filled.dtype, jax.numpy.floating) and filled.dtype.itemsize < 4
        return filled.astype(np.float32) if narrow_float else filled

    @property
    def filled(self) -> np.ndarray:
        """The value, 0 where unknown."""
        if np.all(self.known):
            return np.asarray(self.value)
        return np.asarray(np.where(self.known, self.value, np.zeros((), self.value.dtype)))


def exact(array: Any) -> Known:
    """A known array; of a random key nothing is known."""
    if jax.dtypes.issubdtype(getattr(array, "dtype", np.dtype(float)), jax.dtypes.extended):
        return Known(np.zeros(array.shape, np.int32), np.zeros(array.shape, bool))
    value = np.asarray(array)
    return Known(value, np.ones(value.shape, bool))


def unknown(aval: Any) -> Known:
    """An array of which nothing is known."""
    shape = (1,) * len(aval.shape)
    dtype = aval.dtype if isinstance(aval.dtype, np.dtype) else np.dtype(np.int32)  # keys have a dtype of their own
    return Known(np.zeros(shape, dtype), np.zeros(shape, bool))


def uniform(x: Known, axes: list[int]) -> Known:
    """`x` with size 1 along `axes`: known only where it is known and the same all along them."""
    axes = [d for d in axes if x.value.shape[d] != 1]
    if not axes:
        return x
    first = x.value[tuple(slice(0, 1) if d in axes else slice(None) for d in range(x.value.ndim))]
    same = (x.known & (x.value == first)).all(axis=tuple(axes), keepdims=True)
    return Known(first, same)


def narrow(x: Known, axes: list[int]) -> Known:
    """`x` with size 1 along those of `axes` on which it is the same everywhere."""
    if x.leaf is not None:
        return x  # random numbers
    filled = x.filled
    for d in axes:
        if x.value.shape[d] != 1:
            start = tuple(slice(0, 1) if i == d else slice(None) for i in range(x.value.ndim))
            if (x.known == x.known[start]).all() and (filled == filled[start]).all():
                x, filled = Known(x.value[start], x.known[start]), filled[start]
    return x


def full(x: Known, shape: tuple[int, ...], axes: list[int]) -> Known:
    """`x` with its true size along `axes`."""
    target = tuple(shape[d] if d in axes else n for d, n in enumerate(x.value.shape))
    return Known(np.broadcast_to(x.value, target), np.broadcast_to(x.known, target))


_NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": lambda a, b: np.divide(a, b) if np.issubdtype(a.dtype, np.inexact) else None,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sqrt": np.sqrt,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "square": np.square,
    "abs": np.abs,
    "sign": np.sign,
    "logistic": lambda a: 1 / (1 + np.exp(-a)),
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "not": np.invert,
    "copy": lambda a: a,
    "copy_p": lambda a: a,
    "stop_gradient": lambda a: a,
    "name": lambda a: a,
    "optimization_barrier": lambda a: a,
}

# What hands a parameter, or the output of a contraction, on as it is.
PASSING = frozenset(["convert_element_type", "copy", "copy_p", "stop_gradient", "name", "sharding_constraint", "pvary"])


def elementwise(eqn: Any, ins: list[Known]) -> Known:
    """Known where all inputs are, and where a factor (or a numerator) is a known zero."""
    name, dtype = eqn.primitive.name, eqn.outvars[0].aval.dtype
    if name == "select_n":
        return _select(ins)
    known = ins[0].known
    for x in ins[1:]:
        known = known & x.known
    value: Any
    if not known.any():
        value = np.zeros(known.shape, dtype)
    elif name == "convert_element_type":
        value = ins[0].value.astype(dtype)
    elif name == "integer_pow":
        value = ins[0].value ** eqn.params["y"]
    else:
        with np.errstate(all="ignore"):
            value = _NUMPY[name](*(x.value for x in ins)) if name in _NUMPY else None
        if value is None:  # the primitive itself, on the small arrays
            value = _bind(eqn, ins)
        value = np.asarray(value).astype(dtype, copy=False)
    if name in ("mul", "and", "div"):
        nothing = ins[0].zero | (ins[1].zero if name != "div" else False)
        value, known = np.where(nothing, np.zeros((), dtype), value), known | nothing
    passed = ins[0] if name in PASSING else None
    return Known(value, known, passed.leaf if passed else None, passed.sinks if passed else ())


def _bind(eqn: Any, ins: list[Known]) -> Any:
    shape = np.broadcast_shapes(*(x.value.shape for x in ins))
    with np.errstate(all="ignore"), jax.ensure_compile_time_eval():
        arrays = [np.broadcast_to(x.value, shape) for x in ins]
        return eqn.primitive.bind(*(jax.numpy.asarray(a, a.dtype) for a in arrays), **eqn.params)


def _select(ins: list[Known]) -> Known:
    which, cases = ins[0], ins[1:]
    alike, known = cases[0].value, cases[0].known
    for case in cases[1:]:
        known = known & case.known & (case.value == alike)
    shape = np.broadcast_shapes(*(x.value.shape for x in ins))
    value = np.broadcast_to(alike, shape).copy()
    known = np.broadcast_to(known, shape).copy()
    for i, case in enumerate(cases):
        chosen = np.broadcast_to(which.known & (which.value.astype(np.int32) == i), shape)
        value = np.where(chosen, case.value, value)
        known = np.where(chosen, case.known, known)
    return Known(value, known)
