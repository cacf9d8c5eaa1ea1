"""Experiments that check a paper's claims, the folders that they leave, and the report that shows them.

A method writes functions that yield claims, under [`experiment`][offprint.core.experiments.experiment], and advertises
the module that holds them through the entry-point group `offprint.experiments`. The `offprint` program does the rest.
"""

import importlib
from typing import TYPE_CHECKING, Any

from offprint.core._installed import UsageError
from offprint.core.experiments._claims import Claim, Rule, at_least, at_most, between, equals, holds_when, near, ordered
from offprint.core.experiments._environment import environment
from offprint.core.experiments._experiment import Experiment, Profile, Unavailable, experiment
from offprint.core.experiments._registry import Listing, Method, find_experiment, find_method, load, methods
from offprint.core.experiments._results import Result, exit_status, read_result, read_results
from offprint.core.experiments._run import Run, run_experiment

if TYPE_CHECKING:
    from offprint.core.experiments._report import write_report
    from offprint.core.experiments._reproduce import Event, reproduce

__all__ = [
    "Claim",
    "Event",
    "Experiment",
    "Listing",
    "Method",
    "Profile",
    "Result",
    "Rule",
    "Run",
    "Unavailable",
    "UsageError",
    "at_least",
    "at_most",
    "between",
    "environment",
    "equals",
    "exit_status",
    "experiment",
    "find_experiment",
    "find_method",
    "holds_when",
    "load",
    "methods",
    "near",
    "ordered",
    "read_result",
    "read_results",
    "reproduce",
    "run_experiment",
    "write_report",
]

_LATER = {"Event": "_reproduce", "reproduce": "_reproduce", "write_report": "_report"}


def __getattr__(name: str) -> Any:
    """What only a whole reproduction needs is loaded on first use: `offprint list` is to answer at once."""
    if name in _LATER:
        return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
