"""Experiments as they run and their claims at the end, on a terminal or, in plain lines, anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from offprint.core.experiments._reproduce import Event, Watch
from offprint.core.experiments._results import Result
from offprint.core.experiments._table import duration_text, rows, summary

_STYLES = {"holds": "green", "does not hold": "yellow", "failed": "bold red", "not run": "dim"}


def console() -> Console:
    """Standard output; 120 columns wide where it is not a terminal, and no text is taken for markup."""
    width = None if sys.stdout.isatty() else 120
    return Console(width=width, markup=False, highlight=False, emoji=False)


@contextmanager
def watching(screen: Console, total: int) -> Iterator[Watch]:
    """Draws the events of `reproduce`: a line as each experiment starts and ends; on a terminal, a bar below them."""
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("starting", total=total)
        running: list[str] = []

        def watch(event: Event) -> None:
            if event.kind == "started":
                running.append(event.name)
            elif event.name in running:
                running.remove(event.name)
            bar.update(task, description=", ".join(running), advance=0 if event.kind == "started" else 1)
            if event.result is not None or not screen.is_terminal:
                screen.print(_line(event), soft_wrap=True)

        yield watch


@contextmanager
def downloading(screen: Console) -> Iterator[Callable[[str, int, int | None], None]]:
    """Draws downloads on a terminal: the function given is told a file's name, the bytes so far, and those in all."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], completed=done, total=total)

        yield progress


def print_claims(screen: Console, results: Iterable[Result]) -> None:
    """The table of claims, and for each experiment that failed where its traceback is."""
    results = list(results)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("method", no_wrap=True)
    for heading in ("claim", "paper", "here"):
        table.add_column(heading, overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for row in rows(results):
        style = _STYLES[row.verdict]
        table.add_row(row.name, row.claim, row.paper, row.here, Text(row.verdict, style), row.time)
    screen.print()
    screen.print(table)
    screen.print()
    for result in results:
        if result.run.get("traceback"):
            screen.print(f"{result.name}: the traceback is in {result.folder / 'run.json'}", soft_wrap=True)
    line = summary(results)
    screen.print(f"{line[0].upper()}{line[1:]}.", style="bold")


def _line(event: Event) -> Text:
    if event.result is None:
        return Text(f"{event.name} started")
    if event.result.unavailable:
        return Text(f"{event.name} not run: {event.result.error}", "dim")
    if not event.result.finished:
        return Text(f"{event.name} failed: {event.result.error}", "red")
    how = "taken as it is" if event.kind == "taken" else duration_text(event.result.run["seconds"])
    return Text(f"{event.name} finished: {summary([event.result])} ({how})")
