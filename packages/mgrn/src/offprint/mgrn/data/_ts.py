"""Reader of the .ts text format of the UEA and UCR archives."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from offprint.core.data import DataError


@dataclass(frozen=True)
class TimeSeries:
    """The cases of one .ts file, padded with 0 at the end; missing values are NaN."""

    x: Float[np.ndarray, "cases steps features"]
    """float32."""
    lengths: Int[np.ndarray, "cases"]
    y: Shaped[np.ndarray, "cases"]
    """int32 class labels in [0, C), or float64 targets where `class_names` is empty."""
    class_names: tuple[str, ...]
    """In the order of the header."""
    name: str
    """Of the problem, as the header has it."""


@dataclass
class _Header:
    name: str = ""
    class_names: tuple[str, ...] = ()
    has_target: bool = False
    dimensions: int | None = None
    length: int | None = None
    equal_length: bool = False


def read_ts(path: str | Path) -> TimeSeries:
    """Reads one .ts file: one case a line, its dimensions separated by colons, its label or target at the end.

    Cases of unequal length are padded with 0; `?` is a missing value. Cases without a label or a target, time stamps
    and dimensions of one case that differ in length are refused.

    Raises:
        DataError: the file is missing or is not of that format; the message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is missing")
    lines = enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1)
    header = _read_header(path, lines)
    cases: list[np.ndarray] = []
    labels: list[int | float] = []
    for number, line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            values, label = _read_case(f"{path.name}, line {number}", line.strip(), header)
            if cases and len(values) != len(cases[0]):
                raise DataError(
                    f"{path.name}, line {number}: {len(values)} dimensions, but the case before has {len(cases[0])}"
                )
            cases.append(values)
            labels.append(label)
    if not cases:
        raise DataError(f"{path.name} has no cases behind @data")
    lengths = np.array([case.shape[1] for case in cases], np.int32)
    if header.equal_length and len(set(lengths.tolist())) > 1:
        raise DataError(
            f"{path.name} says @equalLength true, but its cases have {lengths.min()} to {lengths.max()} steps"
        )
    x = np.zeros((len(cases), lengths.max(), len(cases[0])), np.float32)
    for row, case in enumerate(cases):
        x[row, : case.shape[1]] = case.T
    y = np.array(labels, np.int32 if header.class_names else np.float64)
    return TimeSeries(x, lengths, y, header.class_names, header.name)


def _read_header(path: Path, lines: Iterator[tuple[int, str]]) -> _Header:
    header = _Header()
    for number, line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path.name}, line {number}"
        key, values = words[0].lower(), words[1:]
        if key == "@data":
            if not header.class_names and not header.has_target:
                raise DataError(f"{where}: the header has neither @classLabel true nor @targetLabel true: no labels")
            return header
        if not key.startswith("@"):
            raise DataError(f"{where}: {words[0][:20]!r} stands before @data; header lines begin with @")
        _read_key(where, header, key, values)
    raise DataError(f"{path.name} has no line @data")


def _read_key(where: str, header: _Header, key: str, values: list[str]) -> None:
    said = values[0].lower() if values else ""
    try:
        match key:
            case "@problemname":
                header.name = " ".join(values)
            case "@timestamps" if said == "true":
                raise DataError(f"{where}: cases with time stamps are not read; sample them at equal steps first")
            case "@classlabel" if said == "true":
                header.class_names = tuple(values[1:])
                if not header.class_names:
                    raise DataError(f"{where}: @classLabel true names no classes")
            case "@targetlabel":
                header.has_target = said == "true"
            case "@dimensions" | "@dimension":
                header.dimensions = int(said)
            case "@univariate" if said == "true":
                header.dimensions = 1
            case "@equallength":
                header.equal_length = said == "true"
            case "@serieslength":
                header.length = int(said)
    except ValueError as error:
        raise DataError(f"{where}: {key} needs a whole number, got {said!r}") from error


def _read_case(where: str, line: str, header: _Header) -> tuple[np.ndarray, int | float]:
    if line.startswith("("):
        raise DataError(f"{where}: cases with time stamps are not read; sample them at equal steps first")
    *dimensions, label = line.split(":")
    if not dimensions or (header.dimensions is not None and len(dimensions) != header.dimensions):
        needed = header.dimensions or "at least 1"
        raise DataError(f"{where}: {len(dimensions)} dimensions and a label, but the header says {needed}")
    rows = [_numbers(where, text) for text in dimensions]
    if len({row.size for row in rows}) > 1:
        sizes = ", ".join(str(row.size) for row in rows)
        raise DataError(f"{where}: the dimensions have {sizes} steps; one case needs one length")
    if not rows[0].size:
        raise DataError(f"{where}: a case without a step")
    if header.length is not None and header.equal_length and rows[0].size != header.length:
        raise DataError(f"{where}: {rows[0].size} steps, but the header says @seriesLength {header.length}")
    return np.stack(rows), _label(where, label.strip(), header)


def _numbers(where: str, text: str) -> np.ndarray:
    cells = [cell.strip() for cell in text.split(",")] if text.strip() else []
    try:
        return np.array([np.nan if cell == "?" else float(cell) for cell in cells])
    except ValueError as error:
        raise DataError(f"{where}: {error}; numbers, or ? for a missing one, are needed") from error


def _label(where: str, text: str, header: _Header) -> int | float:
    if header.class_names:
        if text not in header.class_names:
            raise DataError(
                f"{where}: class {text!r} is not among those of the header: {', '.join(header.class_names)}"
            )
        return header.class_names.index(text)
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{where}: the target {text!r} is not a number") from error
