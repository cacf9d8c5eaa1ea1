"""The first pass over a jaxpr: which elements of which axes go together."""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend import core as jcore
from jaxtyping import PyTree

# The rules register themselves.
from offprint.sparsity import _rules_contract as _contract
from offprint.sparsity import _rules_control as _control
from offprint.sparsity._jaxprs import Key, Traced, called, trace
from offprint.sparsity._rules import RULES, Axes, kept
from offprint.sparsity._units import Axis, Units

del _contract, _control


class Labels:
    """The units of every axis of every array of a traced function.

    `axes[key]` has the axes of the inputs and outputs of each equation, `sinks[key]` those of a contraction's terms
    (see `_constants.py`), `consts` those of the arrays that the function holds, `leaves` those of the parameters.
    """

    def __init__(self, traced: Traced, freeze: Sequence[str] = ()) -> None:
        self.traced = traced
        self.units = Units()
        self.axes: dict[Key, tuple[list[Axes], list[Axes]]] = {}
        self.sinks: dict[Key, list[Axis]] = {}
        self.consts: dict[Key, list[Axes]] = {}
        self._doubts: list[tuple[Axis, str]] = []
        self._used: set[int] = set()
        jaxpr = traced.jaxpr.jaxpr
        shapes = [var.aval.shape for var in jaxpr.invars]
        count = len(traced.paths)
        leaves = [tuple(self.units.fresh(n) for n in shape) for shape in shapes[:count]]
        self.leaves = dict(zip(traced.paths, leaves, strict=True))
        _check_patterns(freeze, traced.paths)
        for path, axes in self.leaves.items():
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in freeze):
                self._freeze(axes)
        inputs = [tuple(kept(n) for n in shape) for shape in shapes[count:]]
        for axes in self.walk(traced.jaxpr, leaves + inputs, ()):
            self._freeze(axes)
        for axes in leaves:
            if id(axes) not in self._used:  # the function does nothing with it
                self._freeze(axes)
        self._settle()

    def _freeze(self, axes: Axes) -> None:
        for axis in axes:
            self.units.freeze(axis)

    def walk(self, jaxpr: jcore.ClosedJaxpr, args: list[Axes], prefix: Key) -> list[Axes]:
        """The axes of the outputs, given those of the inputs."""
        env: dict[Any, Axes] = {}
        # What the function holds besides its parameters can be sliced as they can.
        self.consts[prefix] = [tuple(self.units.fresh(n) for n in v.aval.shape) for v in jaxpr.jaxpr.constvars]
        env.update(zip(jaxpr.jaxpr.constvars, self.consts[prefix], strict=True))
        env.update(zip(jaxpr.jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Axes:
            if isinstance(atom, jcore.Literal):
                return tuple(self.units.fresh(n) for n in np.shape(atom.val))
            return env[atom]

        for i, eqn in enumerate(jaxpr.jaxpr.eqns):
            key = (*prefix, i)
            ins = [read(atom) for atom in eqn.invars]
            inner = called(eqn)
            if inner is None:
                self._used.update(map(id, ins))
            if inner is not None:
                outs = self.walk(inner, ins, key)
            elif eqn.primitive.name in RULES:
                outs = RULES[eqn.primitive.name](self, eqn, key, ins)
            else:
                outs = self.unknown(eqn, ins)
            outs = [tuple(self._long(axis) for axis in axes) for axes in outs]
            self.axes[key] = (ins, outs)
            env.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.jaxpr.outvars]

    def _long(self, axis: Axis) -> Axis:
        # An axis of one element is dropped and broadcast freely, so that element has to stay.
        if len(axis) == 1 and axis.shape[1]:
            self.units.freeze(axis)
            return kept(1)
        return axis

    def unknown(self, eqn: Any, ins: list[Axes]) -> list[Axes]:
        """An equation without a rule: an error, raised at the end, if it turns out to touch prunable units."""
        name = eqn.primitive.name
        shapes = [tuple(getattr(var.aval, "shape", ())) for var in eqn.outvars]
        if any(len(axis) > 1 for axes in ins for axis in axes):
            doubtful, outs = ins, [tuple(kept(n) for n in shape) for shape in shapes]
        else:  # it makes an array of a fixed shape, as random bits for dropout
            doubtful = outs = [tuple(self.units.fresh(n) for n in shape) for shape in shapes]
        message = f"{name!r} with shapes {[axis_shape(axes) for axes in ins]} -> {shapes}"
        self._doubts.extend((axis, message) for axes in doubtful for axis in axes if axis.shape[1])
        return outs

    def _settle(self) -> None:
        for axis, message in self._doubts:
            paths = self.paths_of(np.unique(self.units.resolve(axis)))
            if paths:
                raise ValueError(
                    f"no rule says how the primitive {message} ties the units of {', '.join(paths)}, which reach it; "
                    f"keep them whole with freeze={paths[:1]!r}, or use an operation that has a rule (for random bits: "
                    "pass the model in evaluation mode)"
                )

    def paths_of(self, units: np.ndarray) -> list[str]:
        """The paths of the leaves that have any of these units."""
        return [
            path
            for path, axes in self.leaves.items()
            if any(np.isin(self.units.resolve(axis), units[units > 0]).any() for axis in axes)
        ]


def axis_shape(axes: Axes) -> tuple[int, ...]:
    """The shape of an array with these axes."""
    return tuple(len(axis) for axis in axes)


def _check_patterns(patterns: Sequence[str], paths: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(path, pattern) for path in paths):
            raise ValueError(f"freeze={pattern!r} matches no parameter; the paths are {', '.join(paths)}")


def label(apply_fn: Callable[..., PyTree], params: PyTree, example: PyTree, freeze: Sequence[str] = ()) -> Labels:
    """Trace `apply_fn(params, example)` and label it; `freeze` holds path patterns of leaves to keep whole."""
    return Labels(trace(apply_fn, params, example), (freeze,) if isinstance(freeze, str) else tuple(freeze))
