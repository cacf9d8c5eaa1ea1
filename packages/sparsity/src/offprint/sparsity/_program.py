"""Whether a function traced with small parameters is still the original one."""

from typing import Any

import jax
import numpy as np
from jax.extend import core as jcore

from offprint.sparsity._jaxprs import Key, called, closed
from offprint.sparsity._rewrite import Shrunk, kept_groups
from offprint.sparsity._rules import slice_of
from offprint.sparsity._units import Axis

# Parameters of equations that say nothing but shapes, which are compared by the shapes of the outputs.
# fmt: off
_SHAPES = frozenset([
    "new_sizes", "shape", "sizes", "slice_sizes", "start_indices", "limit_indices", "feature_group_count",
    "sharding", "out_sharding",
])
# fmt: on


def difference(shrunk: Shrunk, small: jcore.ClosedJaxpr, literals: bool) -> str:
    """How a jaxpr traced with small parameters differs from the original with the shapes that are left; "" if not.

    With `literals` the numbers written in it must agree too: 1/sqrt(head size) changes when channels of heads go.
    """
    return _differ(shrunk, shrunk.labels.traced.jaxpr, small, (), literals)


def _differ(shrunk: Shrunk, one: jcore.ClosedJaxpr, other: jcore.ClosedJaxpr, prefix: Key, literals: bool) -> str:
    if len(one.jaxpr.eqns) != len(other.jaxpr.eqns) or len(one.consts) != len(other.consts):
        return "it takes other steps"
    for a, b in zip(one.consts, other.consts, strict=True):
        if a is not b and not (np.shape(a) == np.shape(b) and _equal(a, b)):
            return f"it holds an array of shape {np.shape(b)} that differs"
    for i, (a, b) in enumerate(zip(one.jaxpr.eqns, other.jaxpr.eqns, strict=True)):
        found = _equations_differ(shrunk, a, b, (*prefix, i), literals)
        if found:
            return found
    return ""


def _equal(a: Any, b: Any) -> bool:
    if jax.dtypes.issubdtype(getattr(a, "dtype", np.dtype(float)), jax.dtypes.extended):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.array_equal(np.asarray(a), np.asarray(b))


def _equations_differ(shrunk: Shrunk, a: Any, b: Any, key: Key, literals: bool) -> str:
    name = a.primitive.name
    ins, outs = shrunk.labels.axes[key]
    if name != b.primitive.name or len(a.invars) != len(b.invars):
        return f"it takes other steps: {b.primitive.name} for {name}"
    shapes = [tuple(getattr(var.aval, "shape", ())) for var in b.outvars]
    if [shrunk.shape(axes) for axes in outs] != shapes:
        return f"{name} makes shape {shapes[0]}, not {shrunk.shape(outs[0])}"
    for one, other in zip(a.invars, b.invars, strict=True):
        if isinstance(one, jcore.Literal) != isinstance(other, jcore.Literal):
            return f"{name} has other operands"
        if literals and isinstance(one, jcore.Literal) and not _same_option(one.val, other.val):
            return f"{name} uses the number {other.val}, not {one.val}: it depends on a size that changed"
    subs = zip(_inner(a), _inner(b), strict=True)
    for (place, x), (_, y) in subs:
        found = _differ(shrunk, x, y, (*key, *place), literals)
        if found:
            return found
    if _inner(a):
        return ""
    if name == "conv_general_dilated" and b.params["feature_group_count"] != kept_groups(shrunk, a, key):
        return f"its convolution has {b.params['feature_group_count']} groups, not {kept_groups(shrunk, a, key)}"
    if name == "slice" and not _same_slice(shrunk, a, b, ins[0]):
        return f"its slice from {b.params['start_indices']} takes other elements"
    changed = [n for n, v in a.params.items() if n not in _SHAPES and not _same_option(v, b.params.get(n))]
    return f"{name} has another {changed[0]}" if changed else ""


def _inner(eqn: Any) -> list[tuple[Key, jcore.ClosedJaxpr]]:
    """The jaxprs in an equation, and what their equations have in their keys besides its own."""
    whole = called(eqn)
    if whole is not None:
        return [((), whole)]
    name, params = eqn.primitive.name, eqn.params
    if name == "scan":
        return [((), closed(params["jaxpr"]))]
    if name == "while":
        return [((0,), closed(params["cond_jaxpr"])), ((1,), closed(params["body_jaxpr"]))]
    return [((i,), closed(branch)) for i, branch in enumerate(params["branches"])] if name == "cond" else []


def _same_slice(shrunk: Shrunk, a: Any, b: Any, axes: tuple[Axis, ...]) -> bool:
    for d, axis in enumerate(axes):
        wanted = np.arange(len(axis))[slice_of(a.params, d)]
        kept = shrunk.kept(axis)
        found = kept[slice_of(b.params, d)]
        if not np.array_equal(wanted[np.isin(wanted, kept)], found):
            return False
    return True


def _same_option(a: Any, b: Any) -> bool:
    return callable(a) or bool(np.all(a == b)) or repr(a) == repr(b)  # NaN is not equal to itself
