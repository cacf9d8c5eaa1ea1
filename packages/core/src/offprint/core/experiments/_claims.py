"""A claim: what the paper says, what was measured here, and the rule, written down before the run, that decides."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from offprint.core.experiments._files import plain

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


@dataclass(frozen=True)
class Rule:
    """When a measured value bears a claim out: a sentence for people and a test for the machine.

    The functions below build the usual ones. `test` gets `Claim.here` as plain Python values.
    """

    text: str
    test: Callable[[Any], bool] = field(repr=False)

    def __str__(self) -> str:
        return self.text


def at_least(least: float | int) -> Rule:
    """The number, or every number of a list, is `>= least`."""
    return Rule(f"at least {least:g}", _each(lambda here: here >= least))


def at_most(most: float | int) -> Rule:
    """The number, or every number of a list, is `<= most`."""
    return Rule(f"at most {most:g}", _each(lambda here: here <= most))


def between(low: float | int, high: float | int) -> Rule:
    """The number, or every number of a list, lies in the closed interval `[low, high]`."""
    if not low <= high:
        raise ValueError(f"between(low, high) needs low <= high, got {low} and {high}")
    return Rule(f"between {low:g} and {high:g}", _each(lambda here: low <= here <= high))


def near(value: float | int, tolerance: float | int) -> Rule:
    """The number, or every number of a list, is within `tolerance` (absolute) of `value`."""
    if not tolerance >= 0:
        raise ValueError(f"near(value, tolerance) needs a tolerance of 0 or more, got {tolerance}")
    return Rule(f"within {tolerance:g} of {value:g}", _each(lambda here: abs(here - value) <= tolerance))


def equals(value: Any) -> Rule:
    """What was measured is exactly `value` (a number, string, boolean or list)."""
    expected = plain(value)
    return Rule(f"equal to {expected}", lambda here: here == expected)


def ordered(*relations: str) -> Rule:
    """Every relation holds between the named values, e.g. `ordered("naive < osm <= exact", "exact <= 100")`.

    `Claim.here` is a mapping from name to number, or a list in the order in which the names first appear.
    Comparisons are `<`, `<=`, `>`, `>=` and `==`; a number may stand in place of a name.
    """
    steps = [step for relation in relations for step in _comparisons(relation)]
    if not steps:
        raise ValueError("ordered() needs at least one relation, such as 'naive < exact'")
    names = list(dict.fromkeys(name for left, _, right in steps for name in (left, right) if not _is_number(name)))

    def value(name: str, values: dict[str, Any]) -> float | int:
        return float(name) if _is_number(name) else _number(values[name])

    def test(here: Any) -> bool:
        values = here if isinstance(here, dict) else dict(zip(names, here, strict=True))
        if missing := [name for name in names if name not in values]:
            raise TypeError(f"no value is given for {', '.join(missing)}")
        return all(_COMPARISONS[sign](value(left, values), value(right, values)) for left, sign, right in steps)

    return Rule(" and ".join(relations), test)


def holds_when(text: str, test: Callable[[Any], bool] = lambda here: here is True) -> Rule:
    """Any other rule: `text` says it, `test(here)` decides. Without a test, `here` must be `True`."""
    return Rule(text, test)


@dataclass(frozen=True)
class Claim:
    """One statement of the paper beside what was measured.

    Attributes:
        claim: what is compared, in a few words.
        paper: what the paper says: a number, or words such as `"grows with N"`.
        here: what was measured: a number, string, boolean, list or mapping; NumPy and JAX values are converted.
        rule: when `here` bears the paper out. A `here` that contains NaN never holds, and neither does an empty one.

    Raises:
        TypeError: where the rule cannot be applied to `here`.
    """

    claim: str
    paper: str | float | int
    here: Any
    rule: Rule
    holds: bool = field(init=False)

    def __post_init__(self):
        if not isinstance(self.rule, Rule):
            raise TypeError(f"claim {self.claim!r}: rule must be a Rule such as at_least(0.9), got {self.rule!r}")
        here = plain(self.here)
        object.__setattr__(self, "paper", plain(self.paper))
        object.__setattr__(self, "here", here)
        try:
            verdict = not _is_void(here) and bool(self.rule.test(here))
        except (TypeError, ValueError) as error:
            message = f"claim {self.claim!r}: the rule '{self.rule}' cannot judge {here!r}: {error}"
            raise TypeError(message) from error
        object.__setattr__(self, "holds", verdict)

    def as_dict(self) -> dict[str, Any]:
        """The claim as it stands in `claims.json`."""
        return {
            "claim": self.claim,
            "paper": self.paper,
            "here": self.here,
            "rule": self.rule.text,
            "holds": self.holds,
        }


def _each(test: Callable[[float], bool]) -> Callable[[Any], bool]:
    return lambda here: all(test(_number(value)) for value in _leaves(here))


def _leaves(here: Any) -> Iterator[Any]:
    if isinstance(here, dict | list):
        for value in here.values() if isinstance(here, dict) else here:
            yield from _leaves(value)
    else:
        yield here


def _is_void(here: Any) -> bool:
    leaves = list(_leaves(here))
    return not leaves or any(isinstance(value, float) and math.isnan(value) for value in leaves)


def _number(value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number is needed, not {value!r}")
    return value


def _comparisons(relation: str) -> Iterator[tuple[str, str, str]]:
    parts = [part.strip() for part in re.split(r"(<=|>=|==|<|>)", relation)]
    if len(parts) < 3 or not all(parts):
        raise ValueError(f"a relation is written like 'naive < exact', got {relation!r}")
    yield from zip(parts[:-2:2], parts[1::2], parts[2::2], strict=True)


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
