"""Sinks: where elements of a prunable axis are added up, and which of them may go there."""

import dataclasses

import numpy as np

from offprint.sparsity._known import Known
from offprint.sparsity._units import Axis


@dataclasses.dataclass(eq=False)
class Sink:
    """The terms of one contraction; arrays have one axis per entry of `axes`, of size 1 where all are the same."""

    name: str
    axes: list[Axis]
    summed: tuple[int, ...]  # which of the axes are contracted
    depends: np.ndarray  # bool: the term depends on the input
    constant: np.ndarray  # bool: it is a constant that is not zero
    factors: tuple[np.ndarray, np.ndarray]  # whose product is the term where it is constant
    shape: tuple[int, ...]  # of a result, such as the sum of the constant terms, laid out as the output
    reason: str = ""  # why a constant can't be folded, if it can't
    target: tuple[str, tuple[int, ...], int] | None = None  # leaf to fold into, its axes in the output, sign
    loose: bool = False  # the output is used otherwise than by that bias

    def removed(self, removed: np.ndarray) -> np.ndarray:
        """Which terms go, over the contracted axes (other axes of size 1)."""
        gone = np.zeros((1,) * len(self.axes), bool)
        for d in self.summed:
            if self.axes[d].shape[1]:
                gone = gone | along(removed[self.axes[d]].any(1), d, len(self.axes))
        return gone

    def constant_sum(self, removed: np.ndarray) -> np.ndarray:
        """The sum of the constant terms that go, laid out as the output."""
        left, right = self.factors
        terms = left * right * (self.removed(removed) & self.constant)
        lead = terms.ndim - len(self.axes)  # taps of a convolution come first
        repeats = [len(self.axes[d]) for d in self.summed if terms.shape[d + lead] == 1]
        terms = terms * np.asarray(np.prod(repeats), terms.dtype)
        return terms.sum(axis=(*range(lead), *(d + lead for d in self.summed))).reshape(self.shape)


def along(flags: np.ndarray, d: int, ndim: int) -> np.ndarray:
    """A vector as an array that varies along axis d only."""
    return flags.reshape([-1 if i == d else 1 for i in range(ndim)])


def terms(left: Known, right: Known) -> tuple[np.ndarray, np.ndarray]:
    """Where the product of the factors depends on the input, and where it is a constant other than zero."""
    depends = (~left.known & ~right.zero) | (~left.zero & ~right.known)
    constant = (left.known & ~left.zero) & (right.known & ~right.zero)
    return depends, constant


def violated(sink: Sink, removed: np.ndarray, fold: bool) -> tuple[np.ndarray, np.ndarray]:
    """Units that must stay because of this sink, given what is removed; and whether for a constant each."""
    none = np.zeros(0, np.int64)
    gone = sink.removed(removed)
    if not gone.any():
        return none, none
    free = np.ones((1,) * len(sink.axes), bool)
    for d, axis in enumerate(sink.axes):
        if d not in sink.summed and axis.shape[1] and sink.depends.shape[d] == len(axis):
            free = free & along(~removed[axis].any(1), d, len(sink.axes))
    others = tuple(d for d in range(len(sink.axes)) if d not in sink.summed)
    depends = (sink.depends & free).any(others, keepdims=True) & gone
    constant = np.zeros_like(depends)
    if fold and sink.reason:
        constant = (sink.constant & free).any(others, keepdims=True) & gone
    stay, why = [none], [none]
    for flags, reason in ((depends, 0), (constant, 1)):
        if flags.any():
            for d in sink.summed:
                axis = sink.axes[d]
                if axis.shape[1]:
                    rows = flags.any(tuple(i for i in range(flags.ndim) if i != d))
                    units = np.unique(axis[np.broadcast_to(rows, (len(axis),))])
                    units = units[removed[units]]
                    stay.append(units)
                    why.append(np.full(units.size, reason))
    return np.concatenate(stay), np.concatenate(why)


def settle(sinks: list[Sink], removed: np.ndarray, why: dict[int, str], fold: bool) -> None:
    """Put back units until no sink misses one."""
    changed = True
    while changed:
        changed = False
        for sink in reversed(sinks):
            units, constant = violated(sink, removed, fold)
            if units.size:
                removed[units] = False
                changed = True
                texts = (
                    f"{sink.name} adds up what depends on the input",
                    f"{sink.name} gets a constant and {sink.reason}",
                )
                for unit, is_constant in zip(units.tolist(), constant.tolist(), strict=True):
                    why.setdefault(unit, texts[is_constant])
