"""Groups of variables: which columns of the input belong together."""

from collections.abc import Sequence
from operator import index
from typing import Any

Groups = tuple[tuple[int, ...], ...]
"""The columns of every group, in the order in which the group reads them; a partition of 0..F-1."""


def parse_groups(groups: Sequence[int] | Sequence[Sequence[int]], features: int | None = None) -> Groups:
    """Groups as lists of columns, from sizes or from such lists.

    Args:
        groups: sizes of contiguous groups, such as `(8, 8)`, or the column indices of every group, such as
            `[[0, 2], [1, 3]]`, which must hold each of 0..F-1 exactly once.
        features: F, the number of columns that there must be; None where the groups decide it.

    Returns:
        The column indices of every group.

    Raises:
        ValueError: no group, an empty group, sizes that do not sum to F, columns twice, missing or outside [0, F).
    """
    entries: list[Any] = list(groups)
    if not entries:
        raise ValueError("groups is empty; give sizes such as (8, 8) or one list of column indices per group.")
    listed = [not _is_integer(entry) for entry in entries]
    if any(listed) != all(listed):
        raise ValueError(f"groups mixes sizes and lists of columns: {entries}; give sizes only or lists only.")
    parsed = _from_lists(entries) if all(listed) else _from_sizes([index(entry) for entry in entries])
    _check_partition(parsed, features, sizes=not all(listed))
    return parsed


def group_sizes(groups: Groups) -> tuple[int, ...]:
    """f_k, the number of columns of every group."""
    return tuple(len(group) for group in groups)


def num_features(groups: Groups) -> int:
    """F, the number of columns of all groups together."""
    return sum(group_sizes(groups))


def _is_integer(entry: object) -> bool:
    try:
        index(entry)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _from_sizes(sizes: list[int]) -> Groups:
    if min(sizes) < 1:
        k = next(k for k, size in enumerate(sizes) if size < 1)
        raise ValueError(f"every group needs at least 1 column, but group {k} of sizes {tuple(sizes)} has {sizes[k]}.")
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return tuple(tuple(range(start, start + size)) for start, size in zip(starts, sizes))


def _from_lists(lists: list[Sequence[int]]) -> Groups:
    parsed = tuple(tuple(index(column) for column in columns) for columns in lists)
    if empty := [k for k, columns in enumerate(parsed) if not columns]:
        raise ValueError(f"every group needs at least 1 column, but group {empty[0]} of {len(parsed)} is empty.")
    return parsed


def _check_partition(groups: Groups, features: int | None, *, sizes: bool) -> None:
    columns = [column for group in groups for column in group]
    needed = len(columns) if features is None and sizes else features
    if sizes:
        if needed != len(columns):
            raise ValueError(
                f"the groups' sizes {group_sizes(groups)} sum to {len(columns)}, but the input has F={needed} columns."
            )
        return
    if needed is None:
        needed = max(len(set(columns)), max(columns) + 1)
    problems = {
        "missing": [column for column in range(needed) if column not in set(columns)],
        "more than once": sorted({column for column in columns if columns.count(column) > 1}),
        f"outside 0..{needed - 1}": sorted({column for column in columns if not 0 <= column < needed}),
    }
    if found := [f"{name}: {_shown(bad)}" for name, bad in problems.items() if bad]:
        raise ValueError(
            f"the groups' columns must be a partition of 0..{needed - 1} (F={needed}), but of their {len(columns)} "
            f"columns these are not right: {'; '.join(found)}."
        )


def _shown(columns: list[int], most: int = 8) -> str:
    text = ", ".join(map(str, columns[:most]))
    return text if len(columns) <= most else f"{text}, … ({len(columns)} in all)"
