"""Prunable units: which elements of which axes stand or fall together.

Every element of an axis has a set of *units* and is removed as soon as one of them is. Usually the set has one unit:
the column of a dense kernel that makes a neuron has that neuron's. After a reshape it may have several: element h·d + j
of the output of a query projection falls with head h and with channel j of the heads. An axis of n elements is an
integer array (n, k) of units; 0 stands for no unit, so an axis (n, 0) can lose nothing.

Two axes that an operation adds, multiplies or contracts must lose the same elements. `Units.unify` says so, by
union-find where both elements have one unit, and by substitution where one has several.
"""

import numpy as np

Axis = np.ndarray  # integers (n, k)


class Units:
    """All units of one traced function and what is known to be equal among them."""

    def __init__(self) -> None:
        self._parent = np.zeros(1024, np.int64)
        self._left = np.zeros(1024, np.int64)  # a unit that stands for two others: the first,
        self._right = np.zeros(1024, np.int64)  # the second
        self._pair = np.zeros(1024, bool)  # whether it does
        self.kind = np.zeros(1024, np.int64)  # which call of `fresh` made it
        self._kinds = 0
        self.count = 1  # unit 0 is never removed

    def fresh(self, n: int) -> Axis:
        """An axis of n elements that nothing ties yet; one of one element can't be shortened."""
        if n <= 1:
            return np.zeros((n, 0), np.int64)
        return self._new(n)

    def _new(self, n: int) -> Axis:
        while self.count + n > self._parent.size:
            for name in ("_parent", "_left", "_right", "_pair", "kind"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        new = np.arange(self.count, self.count + n)
        self._parent[new] = new
        self._kinds += 1
        self.kind[new] = self._kinds
        self.count += n
        return new[:, None]

    def _find(self, units: np.ndarray) -> np.ndarray:
        roots = self._parent[units]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                break
            roots = above
        self._parent[units] = roots
        return roots

    def resolve(self, axis: Axis) -> Axis:
        """The axis in today's units: each row without repetition, in descending order, filled up by 0."""
        if axis.shape[1] == 0:
            return axis
        units = self._find(axis)
        while True:
            pair = self._pair[units]
            if not pair.any():
                break
            first = np.where(pair, self._left[units], units)
            units = self._find(np.concatenate([first, np.where(pair, self._right[units], 0)], axis=1))
        if units.shape[1] > 1:
            units = -np.sort(-units, axis=1)
            units[:, 1:][units[:, 1:] == units[:, :-1]] = 0
            units = -np.sort(-units, axis=1)
        return units[:, : int((units > 0).sum(1).max(initial=0))]

    def freeze(self, axis: Axis) -> None:
        """No element of the axis may be removed."""
        units = self.resolve(axis)
        self._union(units.ravel(), np.zeros(units.size, np.int64))

    def _union(self, one: np.ndarray, other: np.ndarray) -> None:
        while True:
            a, b = self._find(one), self._find(other)
            low, high = np.minimum(a, b), np.maximum(a, b)
            apart = low != high
            if not apart.any():
                return
            # The smallest wins, so that 0 stays a root; of several pairs with one `high` the others come next time.
            np.minimum.at(self._parent, high[apart], low[apart])

    def unify(self, one: Axis, other: Axis) -> None:
        """Both axes lose the same elements from now on."""
        if one is other:
            return
        while True:
            a, b = _same_width(self.resolve(one), self.resolve(other))
            rows = (a != b).any(1)
            if not rows.any():
                return
            a, b = a[rows], b[rows]
            in_a, in_b = (a > 0).sum(1), (b > 0).sum(1)
            swap = in_a > in_b
            a, b = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
            fewer, more = np.minimum(in_a, in_b), np.maximum(in_a, in_b)
            kept, single, mixed = fewer == 0, more == 1, (fewer == 1) & (more > 1)
            if kept.any():
                self._union(b[kept].ravel(), np.zeros(b[kept].size, np.int64))
            elif single.any():
                self._union(a[single, 0], b[single, 0])
            elif mixed.any():
                self._substitute(a[mixed, 0], b[mixed])
            else:
                self._match(a, b)

    def _substitute(self, unit: np.ndarray, units: np.ndarray) -> None:
        """Replace each `unit` by the several `units` of its row."""
        within = (unit[:, None] == units).any(1)
        if within.any():
            self._merge(units[within])
            return
        _, first = np.unique(unit, return_index=True)
        unit, units = unit[first], units[first]
        # A unit that is replaced and also stands in another row would make a circle: leave that row for the next time.
        free = np.logical_not(np.asarray(np.isin(units, unit)).any(axis=1, keepdims=True))[:, 0]
        free[0] = free[0] or not free.any()
        unit, units = unit[free], units[free]
        while units.shape[1] > 2:
            rest = np.zeros(len(unit), np.int64)
            longer = units[:, -1] > 0
            if longer.any():
                rest[longer] = self._new(int(longer.sum()))[:, 0]
                self._set_pair(rest[longer], units[longer, -2], units[longer, -1])
            tail = np.where(longer, rest, units[:, -2])
            units = np.concatenate([units[:, :-2], tail[:, None]], axis=1)
        self._set_pair(unit, units[:, 0], units[:, 1])

    def _set_pair(self, unit: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
        self._left[unit], self._right[unit], self._pair[unit] = left, right, True

    def _match(self, a: np.ndarray, b: np.ndarray) -> None:
        """Rows of several units on both sides: column by column where they are alike, else all of a row as one."""
        open_columns = list(range(b.shape[1]))
        pairs = []
        for i in range(a.shape[1]):
            alike = next((j for j in open_columns if _same_partition(a[:, i], b[:, j])), None)
            if alike is None:
                self._merge(np.concatenate([a, b], axis=1))
                return
            open_columns.remove(alike)
            pairs.append((i, alike))
        for i, j in pairs:
            self._union(a[:, i], b[:, j])

    def _merge(self, units: np.ndarray) -> None:
        present = np.where(units > 0, units, units.max(1, keepdims=True))
        self._union(present[:, 1:].ravel(), np.repeat(present[:, 0], units.shape[1] - 1))


def _same_width(a: Axis, b: Axis) -> tuple[Axis, Axis]:
    width = max(a.shape[1], b.shape[1])
    return tuple(np.pad(axis, ((0, 0), (0, width - axis.shape[1]))) for axis in (a, b))  # type: ignore[return-value]


def _same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a, b]), axis=1).shape[1]
    return bool((a > 0).all() and (b > 0).all()) and pairs == np.unique(a).size == np.unique(b).size


def product(units: Units, sizes: tuple[int, ...]) -> tuple[list[Axis], Axis]:
    """Fresh axes of these sizes and the one axis, in C order, that they make when flattened."""
    factors = [units.fresh(n) for n in sizes]
    return factors, flatten(factors)


def flatten(axes: list[Axis]) -> Axis:
    """The axis that several make when flattened in C order: an element falls with any of its coordinates."""
    sizes = tuple(len(axis) for axis in axes)
    columns = []
    for d, axis in enumerate(axes):
        shape = tuple(n if i == d else 1 for i, n in enumerate(sizes))
        for k in range(axis.shape[1]):
            columns.append(np.broadcast_to(axis[:, k].reshape(shape), sizes).ravel())
    n = int(np.prod(sizes))
    return np.stack(columns, axis=1) if columns else np.zeros((n, 0), np.int64)


def split(units: Units, axis: Axis, sizes: tuple[int, ...]) -> list[Axis]:
    """The axes of these sizes that one axis makes when unflattened in C order; the inverse of `flatten`."""
    axis = units.resolve(axis)
    parts: list[list[np.ndarray]] = [[] for _ in sizes]
    tangled = []
    for column in axis.T:
        grid = column.reshape(sizes)
        varies = [d for d in range(len(sizes)) if not (grid == grid.take([0], d)).all()]
        if len(varies) > 1:
            tangled.append(column)
        else:
            where = varies[0] if varies else _largest(sizes)
            parts[where].append(np.moveaxis(grid, where, 0).reshape(sizes[where], -1)[:, 0])
    if tangled:
        factors, whole = product(units, sizes)
        if len(tangled) == 1:
            units.unify(tangled[0][:, None], whole)
        else:  # several units that depend on several coordinates: whole rows of units are tied to the product
            units.unify(np.stack(tangled, axis=1), whole)
        for part, factor in zip(parts, factors, strict=True):
            part.extend(factor.T)
    return [np.stack(p, 1) if p else np.zeros((n, 0), np.int64) for p, n in zip(parts, sizes, strict=True)]


def _largest(sizes: tuple[int, ...]) -> int:
    return int(np.argmax(sizes))
