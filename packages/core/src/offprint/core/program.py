"""The programs that methods bring: dataclasses as subcommands, one line for each error, an exit status.

Nothing of the method is imported before the arguments have been understood.
"""

import contextlib
import csv
import io
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from offprint.core._installed import UsageError

__all__ = ["UsageError", "check_output", "print_table", "run_program", "tyro_message", "write_rows"]


def run_program(
    name: str,
    description: str,
    commands: Any,
    actions: Mapping[type, Callable[[Any], None]],
    arguments: Sequence[str] | None = None,
    *,
    failures: tuple[type[Exception], ...] = (),
) -> int:
    """Reads the arguments into one of the subcommands, runs it, and returns the exit status of the program.

    Warnings that users can act on (`UserWarning`) are printed once each, after the result.

    Args:
        name: of the program, as it stands before every message.
        description: one line for `--help`.
        commands: dataclasses with `tyro.conf.subcommand` names, joined by `|`.
        actions: what runs each dataclass.
        arguments: those of the command line by default.
        failures: exceptions that mean that something could not be had or went wrong.

    Returns:
        0; 1 for one of `failures`; 2 for input that the program can't work with: arguments, `UsageError`, `ValueError`,
        `OSError`, `DataError`. Other exceptions are passed on.
    """
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            command: Any = tyro.cli(
                commands,
                args=None if arguments is None else list(arguments),
                prog=name,
                description=description,
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as end:
        return 0 if not end.code else _complain(name, f"{tyro_message(messages.getvalue())} (see {name} --help)", 2)
    from offprint.core.data import DataError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            actions[type(command)](command)
        except failures as error:
            return _complain(name, error, 1)
        except (UsageError, DataError, ValueError, OSError) as error:
            return _complain(name, error, 2)
    for text in dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)):
        sys.stderr.write(f"warning: {' '.join(text.split())}\n")
    return 0


def check_output(path: Path | None, suffixes: tuple[str, ...]) -> None:
    """Refuse an output file of an unknown format, or in a folder that is not there, before any work is done.

    Args:
        path: the file; None for none.
        suffixes: those that are known, such as `(".csv", ".npz")`.

    Raises:
        UsageError: another suffix, or no such folder.
    """
    if path is None:
        return
    if path.suffix not in suffixes:
        raise UsageError(f"{path} has an unknown format; {' or '.join(suffixes)} is needed")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder of {path} is not there")


def print_table(title: str, rows: Sequence[Mapping[str, Any]], *, digits: int = 4) -> None:
    """A table on standard output, one row for each mapping; the first one names the columns. Texts stand on the left.

    Args:
        title: stands above it, if it is not empty.
        rows: cells by column.
        digits: significant ones of a fraction.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    if title:
        console.print(title, highlight=False, markup=False, soft_wrap=True)
    if not rows:
        return
    table = Table()
    for column, cell in rows[0].items():
        table.add_column(escape(column), justify="left" if isinstance(cell, str) else "right")
    for row in rows:
        cells = (f"{cell:.{digits}g}" if isinstance(cell, float) else escape(str(cell)) for cell in row.values())
        table.add_row(*cells)
    console.print(table)


def write_rows(path: Path | None, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as .csv; the columns are those of all rows, in the order in which they first occur.

    Args:
        path: the file; None for none.
        rows: cells by column; one that is missing stays empty.
    """
    if path is None:
        return
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def tyro_message(box: str) -> str:
    """What tyro says in a box: its first paragraph in one line, and the flag that it thinks was meant."""
    lines = [line.strip(" │") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    first = next((number for number, line in enumerate(lines) if set(line) == {"─"}), len(lines))
    meant = re.search(r"Perhaps you meant:?\s+(--\S+)", " ".join(lines[first:]))
    return " ".join(lines[:first]) + (f"; did you mean {meant[1]}?" if meant else "")


def _complain(name: str, message: object, status: int) -> int:
    sys.stderr.write(f"{name}: {' '.join(str(message).split())}\n")
    return status
