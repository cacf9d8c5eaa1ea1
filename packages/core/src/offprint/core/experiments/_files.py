"""Reading and writing the files of a results folder: plain JSON, and never half a file."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from offprint.core._installed import UsageError


def plain(value: Any) -> Any:
    """`value` in terms of None, bool, int, float, str, list and dict.

    Arrays and scalars of NumPy and JAX become numbers and lists, dataclasses become dicts; what has no such form
    (a function, a type, a key) becomes its name or its text.
    """
    if isinstance(value, Enum):
        return value.name
    if hasattr(value, "tolist"):  # before numbers: NumPy's float64 is a float as well
        try:
            return plain(value.tolist())
        except TypeError:  # e.g. an array of typed JAX keys
            return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | Set):
        return [plain(item) for item in value]
    return getattr(value, "__qualname__", None) or str(value)


def as_json(value: Any) -> Any:
    """`value` as it reads back from a file, with `"nan"`, `"inf"`, `"-inf"` as strings: JSON has no such numbers."""
    return _finite(plain(value))


def encode(value: Any, indent: int | None = None) -> str:
    """`value` as JSON text."""
    return json.dumps(as_json(value), indent=indent, ensure_ascii=False, allow_nan=False)


def write_text(path: Path, text: str) -> None:
    """Writes `path` whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON, whole or not at all."""
    write_text(path, encode(value, indent=2) + "\n")


def read_json(path: Path, default: Any = None) -> Any:
    """What `path` holds, or `default` where there is no such file.

    Raises:
        UsageError: where the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON ({error}); remove it and run the experiment again") from error


def make_writable(folder: Path) -> None:
    """Makes `folder` and tries to write in it.

    Raises:
        UsageError: where that fails, with the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot write results into {folder}: {reason}; choose another with --out") from error


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
