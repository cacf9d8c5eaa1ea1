"""The second pass over a jaxpr: what the units of a masked network still contribute, and to what.

A *sink* is where elements of a prunable axis are added up: a dot_general, a convolution or a sum. An element may be
removed there if its terms are zero, or constants that go into the bias (or the batch norm's mean) that follows.
"""

import dataclasses
from typing import Any

import numpy as np
from jax.extend import core as jcore

from offprint.sparsity._jaxprs import ELEMENTWISE, Key, called, closed
from offprint.sparsity._known import PASSING, Known, elementwise, exact, full, narrow, uniform, unknown
from offprint.sparsity._known_rules import KNOWN
from offprint.sparsity._labels import Labels
from offprint.sparsity._rules_contract import dot_dims
from offprint.sparsity._sinks import Sink, terms

_LARGEST = 2**28  # terms of one contraction that are looked at one by one


class Constants:
    """The sinks of a labelled function at given parameters."""

    def __init__(self, labels: Labels, leaves: dict[str, np.ndarray]) -> None:
        self.labels = labels
        self.sinks: dict[Key, Sink] = {}
        self._uses: dict[str, int] = {}
        args = []
        for path in labels.traced.paths:
            leaf = exact(leaves[path])
            args.append(dataclasses.replace(leaf, leaf=(path, tuple(range(leaf.value.ndim)))))
        jaxpr = labels.traced.jaxpr
        args += [unknown(var.aval) for var in jaxpr.jaxpr.invars[len(args) :]]
        for out in self.walk(jaxpr, args, ()):
            self._use(out)
        for sink in self.sinks.values():
            sink.axes = [labels.units.resolve(axis) for axis in sink.axes]
            self._settle(sink)

    def _settle(self, sink: Sink) -> None:
        if sink.reason:
            return
        if sink.target is None or sink.loose or self._uses.get(sink.target[0], 0) != 1:
            sink.reason = "no bias of its own follows it"
            return
        _, places, _ = sink.target
        if any(n != 1 and d not in places for d, n in enumerate(sink.shape)):
            sink.reason = "what it adds differs along axes that the bias after it has not"

    def _use(self, x: Known) -> None:
        if x.leaf is not None:
            self._uses[x.leaf[0]] = self._uses.get(x.leaf[0], 0) + 1
        for key in x.sinks:
            self.sinks[key].loose = True

    def walk(self, jaxpr: jcore.ClosedJaxpr, args: list[Known], prefix: Key) -> list[Known]:
        """What is known of the outputs, given the inputs; sinks are recorded on the way."""
        env: dict[Any, Known] = {}
        for var, const in zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True):
            env[var] = exact(const)
        env.update(zip(jaxpr.jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Known:
            return exact(atom.val) if isinstance(atom, jcore.Literal) else env[atom]

        for i, eqn in enumerate(jaxpr.jaxpr.eqns):
            key = (*prefix, i)
            ins = [read(atom) for atom in eqn.invars]
            inner = called(eqn)
            outs = self.walk(inner, ins, key) if inner is not None else self._equation(eqn, key, ins)
            env.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.jaxpr.outvars]

    def _equation(self, eqn: Any, key: Key, ins: list[Known]) -> list[Known]:
        name = eqn.primitive.name
        if name in _CONTROL:
            return _CONTROL[name](self, eqn, key, ins)
        if name in _SINKS:
            for x in ins:
                self._use(x)
            return [_SINKS[name](self, eqn, key, ins)]
        if name in ("add", "add_any", "sub"):
            return [self._sum(eqn, ins)]
        moves = name in PASSING or name in ("broadcast_in_dim", "reshape", "transpose")
        for x in ins:
            # A bias may be reshaped on its way; the output of a contraction may not.
            self._use(x if not moves else dataclasses.replace(x, leaf=None, sinks=() if name in PASSING else x.sinks))
        if name in ELEMENTWISE:
            return [elementwise(eqn, ins)]
        if name in KNOWN:
            outs = KNOWN[name](eqn, ins)
            return outs if isinstance(outs, list) else [outs]
        return [unknown(var.aval) for var in eqn.outvars]

    def _sum(self, eqn: Any, ins: list[Known]) -> Known:
        """A sum that adds a parameter to outputs of sinks, or takes one from them, lets those fold into it."""
        plus = eqn.primitive.name != "sub"
        result = elementwise(eqn, ins)
        for out, bias in ((ins[0], ins[1]), *([(ins[1], ins[0])] if plus else [])):
            if out.sinks and bias.leaf is not None:
                self._use(dataclasses.replace(bias, sinks=()))
                for key in out.sinks:
                    sink = self.sinks[key]
                    sink.loose |= sink.target is not None
                    sink.target = (*bias.leaf, 1 if plus else -1)
                return result
        # What is added to something first may still meet its bias afterwards.
        going: list[Key] = []
        for i, (x, var) in enumerate(zip(ins, eqn.invars, strict=True)):
            goes = bool(x.sinks) and (plus or i == 0) and var.aval.shape == eqn.outvars[0].aval.shape
            going += x.sinks if goes else ()
            self._use(dataclasses.replace(x, sinks=()) if goes else x)
        return dataclasses.replace(result, sinks=tuple(going))

    def record(self, key: Key, sink: Sink) -> bool:
        """Keep a sink if any of the summed axes can lose elements; a second visit, in a loop, can't fold."""
        if not any(sink.axes[d].shape[1] for d in sink.summed):
            return False
        before = self.sinks.get(key)
        if before is not None:
            before.depends = before.depends | sink.depends
            before.constant = before.constant | sink.constant
            before.reason = "it is in a loop"
            return False
        self.sinks[key] = sink
        return True


def _named(eqn: Any, ins: list[Known]) -> str:
    paths = [x.leaf[0] for x in ins if x.leaf is not None]
    return eqn.primitive.name + (f" of {' and '.join(paths)}" if paths else "")


def _dot(constants: Constants, eqn: Any, key: Key, ins: list[Known]) -> Known:
    lb, lc, lf, rb, rc, rf = dot_dims(eqn)
    batch, summed, ones = len(lb), len(lc), ((1,) * len(lf), (1,) * len(rf))
    left, right = narrow(ins[0], lb + lf), narrow(ins[1], rb + rf)
    shapes = [var.aval.shape for var in eqn.invars]
    if np.prod(left.value.shape) * np.prod([right.value.shape[d] for d in rf]) > _LARGEST:
        left = uniform(left, lf)

    def aligned(x: Known, order: list[int], tail: bool) -> Known:
        value, known = x.value.transpose(order), x.known.transpose(order)
        cut = batch + summed
        shape = value.shape + ones[1] if tail else value.shape[:cut] + ones[0] + value.shape[cut:]
        return Known(value.reshape(shape), known.reshape(shape))

    a, b = aligned(left, lb + lc + lf, True), aligned(right, rb + rc + rf, False)
    depends, constant = terms(a, b)
    over = tuple(range(batch, batch + summed))
    dtype = eqn.outvars[0].aval.dtype
    known = np.asarray(~depends.any(over))
    value = np.zeros(known.shape, dtype)
    if constant.any():
        repeats = [shapes[0][d] for i, d in zip(over, lc, strict=True) if depends.shape[i] == 1]
        value = (a.wide * b.wide).sum(over).astype(dtype) * np.asarray(np.prod(repeats), dtype)
    sink = Sink(
        _named(eqn, ins), list(constants.labels.sinks[key]), over, depends, constant, (a.wide, b.wide), known.shape
    )
    return Known(value, known, sinks=(key,) if constants.record(key, sink) else ())


def _convolution(constants: Constants, eqn: Any, key: Key, ins: list[Known]) -> Known:
    numbers, groups = eqn.params["dimension_numbers"], eqn.params["feature_group_count"]
    out = eqn.outvars[0].aval
    if eqn.params["batch_group_count"] != 1:
        return unknown(out)
    batch, _, *spatial = numbers.lhs_spec
    x = uniform(ins[0], [batch, *spatial])
    shape = (1, groups, -1, 1) if x.value.size > 1 else (1, 1, 1, 1)
    x = Known(x.value.reshape(shape), x.known.reshape(shape))
    made, taken, *taps = numbers.rhs_spec
    kernel = full(ins[1], eqn.invars[1].aval.shape, list(range(ins[1].value.ndim)))

    def by_group(array: np.ndarray) -> np.ndarray:
        array = array.transpose((*taps, taken, made))
        return np.swapaxes(array.reshape(-1, array.shape[-2], groups, array.shape[-1] // groups), 1, 2)

    w = Known(by_group(kernel.value), by_group(kernel.known))  # (taps, groups, in, out)
    depends, constant = (np.asarray(found.any(0)) for found in terms(x, w))
    # Where the window reaches over the edge a constant meets zeros, so what it adds is not the same everywhere.
    padded = any(tuple(p) != (0, 0) for p in eqn.params["padding"]) or any(n != 1 for n in eqn.params["lhs_dilation"])
    known = np.asarray(~np.asarray(depends | constant if padded else depends).any(1))
    value = np.zeros(known.shape, out.dtype)
    if constant.any() and not padded:
        value = (x.wide * w.wide).sum((0, 2)).astype(out.dtype)
    result = tuple(known.size if d == numbers.out_spec[1] else 1 for d in range(len(out.shape)))
    sink = Sink(_named(eqn, ins), list(constants.labels.sinks[key]), (1,), depends, constant, (x.wide, w.wide), result)
    if padded:
        sink.reason = "its zero padding meets a constant that is not zero"
    recorded = constants.record(key, sink)
    return Known(value.reshape(result), known.reshape(result), sinks=(key,) if recorded else ())


def _sum(constants: Constants, eqn: Any, key: Key, ins: list[Known]) -> Known:
    axes = tuple(int(d) for d in eqn.params["axes"])
    x = narrow(ins[0], [d for d in range(ins[0].value.ndim) if d not in axes])
    sizes = eqn.invars[0].aval.shape
    repeats = np.prod([sizes[d] for d in axes if x.value.shape[d] == 1])
    value = x.wide.sum(axes).astype(x.value.dtype) * np.asarray(repeats, x.value.dtype)
    known = np.asarray(x.known.all(axes))
    constant = x.known & ~x.zero
    sink = Sink(
        eqn.primitive.name,
        list(constants.labels.axes[key][0][0]),
        axes,
        ~x.known,
        constant,
        (x.wide, np.ones((), x.wide.dtype)),
        known.shape,
    )
    return Known(np.asarray(value), known, sinks=(key,) if constants.record(key, sink) else ())


_SINKS = {"dot_general": _dot, "conv_general_dilated": _convolution, "reduce_sum": _sum}


def _scan(constants: Constants, eqn: Any, key: Key, ins: list[Known]) -> list[Known]:
    fixed_count, carry_count = eqn.params["num_consts"], eqn.params["num_carry"]
    length, body = eqn.params["length"], closed(eqn.params["jaxpr"])
    fixed, carry, stacked = (
        [_opaque(constants, x) for x in part]
        for part in (ins[:fixed_count], ins[fixed_count : fixed_count + carry_count], ins[fixed_count + carry_count :])
    )
    same = all(x.value.shape[0] == 1 for x in stacked)
    outs: list[list[Known]] = []
    order = range(length - 1, -1, -1) if eqn.params["reverse"] else range(length)
    for i in order:
        step = [Known(x.value[i if len(x.value) > 1 else 0], x.known[i if len(x.value) > 1 else 0]) for x in stacked]
        results = constants.walk(body, fixed + carry + step, key)
        results = [_opaque(constants, x) for x in results]
        outs.append(results[carry_count:])
        still = all(_equal(a, b) for a, b in zip(carry, results[:carry_count], strict=True))
        carry = results[:carry_count]
        if still and same:
            break
    ys = [_uniform_over(list(steps)) for steps in zip(*outs, strict=True)]
    return carry + ys


def _opaque(constants: Constants, x: Known) -> Known:
    # Nothing folds into, or out of, a loop.
    constants._use(x)
    return Known(x.value, x.known)


def _equal(a: Known, b: Known) -> bool:
    return (
        a.value.shape == b.value.shape
        and bool((a.known == b.known).all())
        and bool((np.where(a.known, a.value, 0) == np.where(b.known, b.value, 0)).all())
    )


def _uniform_over(steps: list[Known]) -> Known:
    """What is the same in all steps, with a leading axis of size 1."""
    value, known = steps[0].value, steps[0].known
    for step in steps[1:]:
        known = known & step.known & (step.value == value)
    value = np.broadcast_to(value, known.shape)
    return Known(value[None], known[None])


def _while(constants: Constants, eqn: Any, key: Key, ins: list[Known]) -> list[Known]:
    for_cond, for_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    fixed = [_opaque(constants, x) for x in ins]
    carry = [unknown(var.aval) for var in eqn.outvars]
    constants.walk(closed(eqn.params["cond_jaxpr"]), fixed[:for_cond] + carry, (*key, 0))
    body = closed(eqn.params["body_jaxpr"])
    constants.walk(body, fixed[for_cond : for_cond + for_body] + carry, (*key, 1))
    return carry


def _cond(constants: Constants, eqn: Any, key: Key, ins: list[Known]) -> list[Known]:
    fixed = [_opaque(constants, x) for x in ins[1:]]
    branches = [
        [_opaque(constants, x) for x in constants.walk(closed(b), fixed, (*key, i))]
        for i, b in enumerate(eqn.params["branches"])
    ]
    joined = [_uniform_over(list(outs)) for outs in zip(*branches, strict=True)]
    return [Known(x.value[0], x.known[0]) for x in joined]


_CONTROL = {"scan": _scan, "while": _while, "cond": _cond}
