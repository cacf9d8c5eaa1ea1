"""Turns the JSON that benchmarks print into Markdown tables.

Usage: ``python tools/bench_table.py [FILE ...]``, or the output of a benchmark piped into it. A benchmark
prints, among other things, lines that each are one JSON object (a row) or a list of them; keys become
columns. Rows that name the same "table" stand together under that title.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def rows_of(lines: Iterable[str]) -> Iterator[Row]:
    """The rows in the output of a benchmark; lines that are not JSON are passed over."""
    text = "".join(lines)
    try:
        yield from flat(json.loads(text))
        return
    except json.JSONDecodeError:
        pass
    for line in text.splitlines():
        if line.lstrip().startswith(("{", "[")):
            try:
                yield from flat(json.loads(line))
            except json.JSONDecodeError:
                continue


def flat(value: Any) -> Iterator[Row]:
    """Rows out of a row, a list of rows, or an object with such a list under "rows"."""
    if isinstance(value, list):
        for one in value:
            yield from flat(one)
    elif isinstance(value, dict):
        if isinstance(value.get("rows"), list):
            yield from flat(value["rows"])
        else:
            yield value


def cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", r"\|")


def markdown(rows: list[Row]) -> str:
    """A table with a column for every key, in the order of first appearance; numbers to the right."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = [
        all(isinstance(row.get(column), int | float | None) and row.get(column) is not True for row in rows)
        for column in columns
    ]
    head = "| " + " | ".join(columns) + " |"
    rule = "| " + " | ".join("---:" if number else "---" for number in numeric) + " |"
    body = ["| " + " | ".join(cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join([head, rule, *body])


def titled(title: str, rows: list[Row]) -> str:
    """The table with its title above it."""
    table = markdown([{key: value for key, value in row.items() if key != "table"} for row in rows])
    return f"**{title}**\n\n{table}" if title else table


def main(paths: list[str]) -> int:
    texts = [Path(path).read_text(encoding="utf-8") for path in paths] or [sys.stdin.read()]
    rows = [row for text in texts for row in rows_of([text])]
    if not rows:
        print("no JSON rows found: give the output of `nox -s bench -- METHOD`", file=sys.stderr)
        return 1
    titles = dict.fromkeys(row.get("table", "") for row in rows)
    print("\n\n".join(titled(title, [row for row in rows if row.get("table", "") == title]) for title in titles))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
