"""Measure this and that in one run: interleaved repeats, medians, the first call (compilation) apart.

times = measure({"ours": lambda: ours(x), "peer": lambda: peer(x)})
report("memory curve, N = 100", [row("N = 100", ours=times["ours"], peer=times["peer"])])
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import jax

REST = 0.25
"""Seconds before each call, in which the threads that the workload before it left spinning come to rest."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one workload."""

    median: float
    """Of the repeats."""
    least: float
    """The quickest repeat."""
    first: float
    """The first call, with compilation."""


def measure(workloads: Mapping[str, Callable[[], Any]], *, repeats: int = 7) -> dict[str, Timing]:
    """Time every workload `repeats` times, in turn, so that a machine whose speed drifts is fair to all.

    Args:
        workloads: functions by name. JAX results are waited for.
        repeats: timed calls of each, after a first one that is told apart.

    Returns:
        The timing of each, under the same names.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, but is {repeats}")
    first = {name: _seconds(workload) for name, workload in workloads.items()}
    seconds: dict[str, list[float]] = {name: [] for name in workloads}
    for _ in range(repeats):
        for name, workload in workloads.items():
            seconds[name].append(_seconds(workload))
    return {name: Timing(statistics.median(taken), min(taken), first[name]) for name, taken in seconds.items()}


def _seconds(workload: Callable[[], Any]) -> float:
    time.sleep(REST)
    began = time.perf_counter()
    jax.block_until_ready(workload())
    return time.perf_counter() - began


def row(workload: str, *, ours: Timing, peer: Timing | None, peer_name: str = "peer", per: int = 1) -> dict[str, Any]:
    """A line of a table: our time, a peer's, and how many times faster ours is.

    Args:
        workload: what was measured.
        ours: our timing.
        peer: the peer's; None where it is not installed.
        peer_name: who the peer is.
        per: units in one call (steps, samples); times are given for one of them.
    """
    return {
        "workload": workload,
        "ours [ms]": 1e3 * ours.median / per,
        "peer": peer_name,
        "peer [ms]": None if peer is None else 1e3 * peer.median / per,
        "peer / ours": None if peer is None else peer.median / ours.median,
        "first call [s]": ours.first,
    }


def machine() -> str:
    """Processor, cores, device and the versions that matter, in a line."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux: the short name has to do
    device = jax.devices()[0]
    on = "" if device.platform == "cpu" else f", {device.device_kind}"
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("jax", "flax", "numpy"))
    return f"{name}, {os.cpu_count()} cores{on}, Python {platform.python_version()}, {versions}"


def report(title: str, rows: Sequence[Mapping[str, Any]], *, note: str = "") -> None:
    """Print a table for people, then every row as a line of JSON (`tools/bench_table.py` makes Markdown of it)."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, caption="\n".join(filter(None, (note, machine()))), title_justify="left")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    for row in rows:
        sys.stdout.write(json.dumps({"table": title, **row}) + "\n")
    sys.stdout.flush()


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
