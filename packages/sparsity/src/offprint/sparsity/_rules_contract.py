"""How contractions tie axes: dot_general and convolutions, grouped and depthwise ones among them."""

from typing import Any

from offprint.sparsity._jaxprs import Key
from offprint.sparsity._rules import Axes, kept, rule
from offprint.sparsity._units import Axis, flatten, product


def dot_dims(eqn: Any) -> tuple[list[int], list[int], list[int], list[int], list[int], list[int]]:
    """Batch, contracted and free dimensions of both operands of a dot_general: (lb, lc, lf, rb, rc, rf)."""
    (lc, rc), (lb, rb) = eqn.params["dimension_numbers"]
    lf = [d for d in range(eqn.invars[0].aval.ndim) if d not in lc and d not in lb]
    rf = [d for d in range(eqn.invars[1].aval.ndim) if d not in rc and d not in rb]
    return list(lb), list(lc), lf, list(rb), list(rc), rf


@rule("dot_general")
def _dot(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    lhs, rhs = ins
    lb, lc, lf, rb, rc, rf = dot_dims(eqn)
    for i, j in zip(lb + lc, rb + rc, strict=True):
        labels.units.unify(lhs[i], rhs[j])
    out = [lhs[d] for d in lb + lf] + [rhs[d] for d in rf]
    labels.sinks[key] = [lhs[d] for d in lb + lc + lf] + [rhs[d] for d in rf]
    return [tuple(out)]


@rule("conv_general_dilated")
def _convolution(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    lhs, rhs = ins
    numbers, groups = eqn.params["dimension_numbers"], eqn.params["feature_group_count"]
    if eqn.params["batch_group_count"] != 1:
        return labels.unknown(eqn, ins)
    batch, channels, *spatial = (lhs[d] for d in numbers.lhs_spec)
    outputs, inputs, *taps = (rhs[d] for d in numbers.rhs_spec)
    for axis in (*spatial, *taps):
        labels.units.freeze(axis)
    # Channel c of group g of the input, and output o of group g: a group goes as a whole, and what goes inside of one
    # goes in all. With one group this ties input channels to the kernel; with one channel per group, to its outputs.
    group: Axis = kept(1)
    if groups == 1:
        labels.units.unify(channels, inputs)
        inside, made = inputs, outputs
    else:
        (group, inside), whole = product(labels.units, (groups, len(inputs)))
        made = labels.units.fresh(len(outputs) // groups)
        labels.units.unify(channels, whole)
        labels.units.unify(inputs, inside)
        labels.units.unify(outputs, flatten([group, made]))
    labels.sinks[key] = [group, inside, made]
    shape = eqn.outvars[0].aval.shape
    axes = [kept(n) for n in shape]
    axes[numbers.out_spec[0]], axes[numbers.out_spec[1]] = batch, outputs
    return [tuple(axes)]
