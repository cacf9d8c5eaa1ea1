"""What the passes over a jaxpr share: tracing, the calls that are looked through, which primitives act elementwise."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core as jcore
from jaxtyping import PyTree

from offprint.sparsity._tree import named_leaves

# The place of an equation: its index, after those of the equations whose sub-jaxprs it stands in.
Key = tuple[int, ...]

# fmt: off
ELEMENTWISE = frozenset([
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e",
    "bessel_i1e", "cbrt", "ceil", "clamp", "clz", "complex", "conj", "convert_element_type", "copy", "copy_p",
    "cos", "cosh", "device_put", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor",
    "ge", "gt", "igamma", "igammac", "imag", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "logistic",
    "lt", "max", "min", "mul", "name", "ne", "neg", "nextafter", "not", "or", "pow", "population_count", "pvary",
    "real", "reduce_precision", "rem", "round", "rsqrt", "select_n", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sharding_constraint", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub",
    "tan", "tanh", "xor", "zeta", "polygamma", "random_gamma_grad", "regularized_incomplete_beta", "to_edtype",
    "from_edtype", "mesh_cast", "reshard",
])
# fmt: on

# fmt: off
_CALLS = frozenset([
    "jit", "pjit", "closed_call", "core_call", "call", "remat", "remat2", "checkpoint", "custom_jvp_call",
    "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin",
])
# fmt: on


class Traced(NamedTuple):
    """A function as a jaxpr whose first inputs are the leaves of the parameters."""

    jaxpr: jcore.ClosedJaxpr
    paths: tuple[str, ...]  # of the parameters' leaves, in order
    out_tree: Any


def shapes_of(tree: PyTree) -> PyTree:
    """The tree with each array replaced by its shape and dtype."""

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        array = np.asarray(leaf)
        return jax.ShapeDtypeStruct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype))

    return jax.tree.map(shape, tree)


def trace(apply_fn: Callable[..., PyTree], params: PyTree, example: PyTree) -> Traced:
    """The jaxpr of `apply_fn(params, example)`; only the shapes and dtypes of both are used."""
    closed, out = jax.make_jaxpr(apply_fn, return_shape=True)(shapes_of(params), shapes_of(example))
    paths = tuple(path for path, leaf in named_leaves(params) if leaf is not None)
    return Traced(closed, paths, jax.tree.structure(out))


def check_host(name: str, *trees: PyTree) -> None:
    """Raise ValueError if any array of the trees is traced: `name` needs its values."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees)):
        raise ValueError(f"{name} looks at values and makes new shapes, so call it outside of jit, grad and vmap")


def called(eqn: jcore.JaxprEqn) -> jcore.ClosedJaxpr | None:
    """The jaxpr that an equation merely calls (jit, custom_jvp, custom_vjp, remat), or None."""
    if eqn.primitive.name not in _CALLS:
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in eqn.params:
            return closed(eqn.params[name])
    return None


def closed(jaxpr: Any) -> jcore.ClosedJaxpr:
    """A sub-jaxpr as one with constants; some primitives hold it without."""
    return jaxpr if isinstance(jaxpr, jcore.ClosedJaxpr) else jcore.ClosedJaxpr(jaxpr, ())


def regroup(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """How a reshape maps axes: the smallest groups of old and new axes with equal products, axes of size 1 left out."""
    old = [d for d, n in enumerate(before) if n != 1]
    new = [d for d, n in enumerate(after) if n != 1]
    groups = []
    while old or new:
        from_, to = [old.pop(0)], [new.pop(0)]
        left, right = before[from_[0]], after[to[0]]
        while left != right:
            if left < right:
                from_.append(old.pop(0))
                left *= before[from_[-1]]
            else:
                to.append(new.pop(0))
                right *= after[to[-1]]
        groups.append((from_, to))
    return groups


def window_axes(params: dict[str, Any]) -> list[bool]:
    """Which axes a pooling operation really pools, strides or pads."""
    window = params["window_dimensions"]
    ones = (1,) * len(window)
    none = ((0, 0),) * len(window)
    return [
        (w, s, b, d, tuple(p)) != (1, 1, 1, 1, (0, 0))
        for w, s, b, d, p in zip(
            window,
            params.get("window_strides") or ones,
            params.get("base_dilation") or ones,
            params.get("window_dilation") or ones,
            params.get("padding") or none,
            strict=True,
        )
    ]
