"""The programs that methods bring: dataclasses as subcommands, one line for each error, an exit status.

Nothing of the method is imported before the arguments have been understood.
"""

import contextlib
import io
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro

from offprint.core._installed import UsageError

__all__ = ["UsageError", "run_program", "tyro_message"]


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


def tyro_message(box: str) -> str:
    """What tyro says in a box: its first paragraph in one line, and the flag that it thinks was meant."""
    lines = [line.strip(" │") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    first = next((number for number, line in enumerate(lines) if set(line) == {"─"}), len(lines))
    meant = re.search(r"Perhaps you meant:?\s+(--\S+)", " ".join(lines[first:]))
    return " ".join(lines[:first]) + (f"; did you mean {meant[1]}?" if meant else "")


def _complain(name: str, message: object, status: int) -> int:
    sys.stderr.write(f"{name}: {' '.join(str(message).split())}\n")
    return status
