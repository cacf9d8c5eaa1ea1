"""What is looked at once, at the public boundary, before anything is traced.

Each check looks at values that are known and does nothing on traced ones, so that the functions that call it
can be put under `jax.jit`, `jax.vmap` and `jax.grad`.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

# The longest frame of 802.11 lasts 5.484 ms, some 600 slots: two times further apart than this are in two units.
_LONGEST_IN_SLOTS = 1e5


def is_concrete(*arrays: Any) -> bool:
    """Whether all values are known, that is, whether no leaf of the arguments is being traced."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays))


def check_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a name that is not one of those allowed.

    Raises:
        ValueError: with the names that there are.
    """
    names = list(allowed)
    if value not in names:
        raise ValueError(f"{name}={value!r} is unknown; use one of {', '.join(map(repr, names))}")


def check_finite(array: Any, name: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        ValueError: with the number of such entries and the index of the first.
    """
    if not is_concrete(array):
        return
    wrong = ~np.isfinite(np.asarray(array, dtype=float))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{name} has {int(wrong.sum())} entries that are NaN or infinite, the first at index {where}; "
            "finite numbers are needed"
        )


def check_adjacency(adj: Any, name: str = "adj") -> None:
    """Refuse what is no stack of undirected graphs: one [bss, bss] 0/1 matrix per link, symmetric, zero diagonal.

    Raises:
        ValueError: with the shape, or with the first offending entry as (link, bss, bss).
    """
    shape = np.shape(adj)
    if len(shape) != 3 or shape[1] != shape[2]:
        hint = f"; for one link use {name}[None]" if len(shape) == 2 else ""
        raise ValueError(f"{name} has shape {shape} where [links, bss, bss] is needed{hint}")
    if not is_concrete(adj):
        return
    values = np.asarray(adj)
    if values.dtype != np.bool_:
        _refuse_first((values != 0) & (values != 1), name, "is neither 0 nor 1", values)
    graph = values != 0
    _refuse_first(
        graph & np.eye(shape[1], dtype=bool), name, "is 1: no BSS is its own neighbour, the diagonal must be 0", values
    )
    _refuse_first(
        graph != graph.swapaxes(1, 2),
        name,
        "differs from the entry with its BSSs exchanged: sensing must be symmetric. "
        "Pass symmetrize=True to from_graph to let either direction count",
        values,
    )


def _refuse_first(wrong: np.ndarray, name: str, why: str, values: np.ndarray) -> None:
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name}[{', '.join(map(str, where))}] = {values[where]} (link, bss, bss) {why}")


def check_mask(mask: Any, name: str = "mask") -> None:
    """Refuse an activation mask [..., bss, links] in which a BSS has no link on, or with other values than 0 and 1.

    Raises:
        ValueError: naming the first such BSS.
    """
    shape = np.shape(mask)
    if len(shape) < 2:
        raise ValueError(f"{name} has shape {shape} where [bss, links] is needed")
    if not is_concrete(mask):
        return
    values = np.asarray(mask)
    if ((values != 0) & (values != 1)).any():
        raise ValueError(f"{name} has entries that are neither 0 nor 1 (link off or on)")
    off = ~(values != 0).any(-1)
    if off.any():
        raise ValueError(
            f"{name}: BSS {int(np.argwhere(off)[0][-1])} has no link on, and each BSS must keep at least one link"
        )


def check_actions(actions: Any, num_links: int, name: str = "actions") -> None:
    """Refuse action indices outside 0 .. 2**num_links - 2; index a is the link bitmask a + 1.

    Raises:
        ValueError: with the first offending index and the range.
        TypeError: the indices are not integers.
    """
    if not is_concrete(actions):
        return
    values = np.asarray(actions)
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"{name} is {values.dtype} where integer action indices are needed")
    wrong = (values < 0) | (values > 2**num_links - 2)
    if wrong.any():
        raise ValueError(
            f"{name} holds the index {int(values[wrong].ravel()[0])} where 0 to {2**num_links - 2} are the non-empty "
            f"subsets of {num_links} links (index a is bitmask a + 1): each BSS must keep at least one link"
        )


def check_times(t_s: Any, t_c: Any, sigma: Any) -> None:
    """Refuse durations that cannot be in one unit: a frame exchange that is shorter than a slot.

    Raises:
        ValueError: with the offending pair.
    """
    if not is_concrete(t_s, t_c, sigma):
        return
    slot = np.asarray(sigma, dtype=float)
    if not (slot > 0).all():
        raise ValueError(f"the slot sigma = {slot.min():g} must be positive")
    for name, value in (("T_s", t_s), ("T_c", t_c)):
        times, slots = np.broadcast_arrays(np.asarray(value, dtype=float), slot)
        wrong = ~((times >= slots) & (times < _LONGEST_IN_SLOTS * slots))
        if wrong.any():
            time, one = times[wrong].ravel()[0], slots[wrong].ravel()[0]
            size = "shorter than" if time < one else f"{time / one:.3g} times"
            raise ValueError(
                f"{name} = {time:g} is {size} the slot sigma = {one:g}: are seconds and microseconds mixed? "
                "Give both in one unit; in microseconds a slot is 9 and a full TXOP about 5500"
            )


def check_W(W: Any, name: str = "W") -> None:
    """Look at the number of backoff values of stage 0; W counts values, so that CWmin = 15 is W = 16.

    Warns:
        UserWarning: W is not a power of two, with the W that was probably meant.

    Raises:
        ValueError: W < 1.
    """
    if not is_concrete(W):
        return
    values = np.asarray(W, dtype=float).ravel()
    if not (values >= 1).all():
        raise ValueError(f"{name} = {values[~(values >= 1)][0]:g} backoff values: at least 1 is needed")
    odd = values[~_is_power_of_two(values) & (values % 1 == 0)]  # real numbers are meant: for gradients in W
    if odd.size:
        hint = f"did you mean {odd[0] + 1:g}?" if _is_power_of_two(odd[:1] + 1)[0] else "CWmin + 1 is usual"
        warnings.warn(
            f"{name} = {odd[0]:g} is not a power of two; {name} counts the values 0 to {name}-1 of a backoff: {hint}",
            stacklevel=3,
        )


def _is_power_of_two(values: np.ndarray) -> np.ndarray:
    return np.frexp(values)[0] == 0.5


def check_demand(demand: Any, name: str = "demand") -> None:
    """Refuse negative or NaN demands; zero is allowed and always satisfied.

    Raises:
        ValueError: with the first offending demand.
    """
    if not is_concrete(demand):
        return
    values = np.asarray(demand, dtype=float)
    wrong = ~(values >= 0)
    if wrong.any():
        raise ValueError(f"{name} = {values[wrong].ravel()[0]:g} Mb/s: a demand of 0 or more is needed")
