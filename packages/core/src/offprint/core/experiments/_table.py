"""Results in words: the rows of the table of claims, numbers, durations, and the line that sums them up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from offprint.core.experiments._results import Result

Verdict = Literal["holds", "does not hold", "failed", "not run"]


@dataclass(frozen=True)
class Row:
    """A row of the table of claims. `name` and `time` stand in the first row of an experiment only."""

    name: str
    claim: str
    paper: str
    here: str
    verdict: Verdict
    time: str


def rows(results: Iterable[Result]) -> list[Row]:
    """The table of claims; an experiment that did not finish adds a row with its error."""
    table = []
    for result in results:
        lines = [
            (claim["claim"], value_text(claim["paper"]), value_text(claim["here"]), verdict(claim["holds"]))
            for claim in result.claims
        ]
        if not result.finished:
            lines.append((result.error, "", "", "not run" if result.unavailable else "failed"))
        for number, (claim, paper, here, word) in enumerate(lines):
            name, time = ("", "") if number else (result.name, duration_text(result.run.get("seconds")))
            table.append(Row(name, claim, paper, here, word, time))
    return table


def verdict(holds: bool) -> Verdict:
    """The word for a claim's outcome."""
    return "holds" if holds else "does not hold"


def summary(results: Sequence[Result]) -> str:
    """How many claims hold, and how many experiments failed or were not run, in one line."""
    claims = [claim["holds"] for result in results for claim in result.claims]
    absent = sum(result.unavailable for result in results)
    failed = sum(not result.finished for result in results) - absent
    failures = f"; {count_text(failed, 'experiment')} failed" if failed else ""
    failures += f"; {count_text(absent, 'experiment')} not run" if absent else ""
    if not claims:
        return f"no claim was checked{failures}"
    if len(claims) == 1:
        return f"the one claim {'holds' if claims[0] else 'does not hold'}{failures}"
    every = "both" if len(claims) == 2 else f"all {len(claims)}"
    held = every if all(claims) else f"{sum(claims)} of {len(claims)}"
    return f"{held} claims hold{failures}"


def count_text(count: int, noun: str) -> str:
    """`1 experiment`, `2 experiments`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def value_text(value: Any) -> str:
    """A measured or quoted value: numbers to four digits, lists and mappings flat and shortened."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {value_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        shown = [value_text(item) for item in value]
        return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "…", *shown[-2:]])
    return str(value)


def duration_text(seconds: float | int | None) -> str:
    """`0.8 s`, `12 s`, `3 min 20 s`, `2 h 5 min`; a dash where unknown."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
