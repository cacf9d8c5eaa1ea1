"""What is installed, found without importing it: `offprint list` must answer before JAX could be loaded."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec


class UsageError(Exception):
    """What was asked for does not exist or cannot be done: one clear line, exit status 2."""


def unknown(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = list(known)
    nearest = difflib.get_close_matches(given, names, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return UsageError(f"there is no {kind} {given!r}; {hint}known: {', '.join(names) or 'none'}")


def find_module(name: str) -> ModuleSpec | None:
    """Where `name` would be imported from, or None; unlike `importlib.util.find_spec`, imports no parent."""
    path = None
    spec = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = _find(".".join(parts[:depth]), path)
        path = spec.submodule_search_locations if spec else None
        if spec is None or (path is None and depth < len(parts)):
            return None
    return spec


def _find(name: str, path) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if spec := finder.find_spec(name, path):
            return spec
    return None
