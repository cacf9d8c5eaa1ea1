"""Reading arrays from files without ever running what is in them."""

import csv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from offprint.core.data._download import DataError


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive, by name. Pickled objects are refused.

    Raises:
        DataError: the file is not a NumPy archive, is damaged, or holds pickled objects.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path} is a single array, not an .npz archive: read it with numpy.load")
        with archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        if "allow_pickle" in str(error) or "pickled" in str(error):
            raise DataError(
                f"{path} holds pickled objects, which can run code when they are read: refused. "
                "Save it again with plain numeric or text arrays"
            ) from error
        raise DataError(f"{path} cannot be read as a NumPy archive: {error}") from error


def load_csv(
    path: Path,
    columns: Mapping[str, DTypeLike] | None = None,
    *,
    delimiter: str = ",",
    header: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """The columns of a table as arrays of one type each.

    Args:
        path: a text file in UTF-8.
        columns: the columns to read and their types, such as ``{"user": int, "rating": float, "when": str}``;
            by default all, each as int64 if all its cells are integers, else as float64 if all are numbers,
            else as text.
        delimiter: the character between cells.
        header: the column names, for a file whose first line already is data.

    Returns:
        Column name -> array of shape ``(rows,)``, in the order of `columns` (of the file by default).

    Raises:
        DataError: no header, a column that is missing or named twice, a row of another length, or a cell that
            does not fit its type; the message names file, line and column.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            names = list(header) if header is not None else [name.strip() for name in next(reader, [])]
            _check_header(path, names, columns)
            lines, rows = [], []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(names):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} cells, but {len(names)} columns "
                        f"({', '.join(names)})"
                    )
                lines.append(reader.line_num)
                rows.append(row)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {reader.line_num + 1}: {error}") from error
    cells = dict(zip(names, zip(*rows) if rows else [()] * len(names)))
    if columns is None:
        return {name: _of_any_type(column) for name, column in cells.items()}
    return {name: _of_type(path, name, cells[name], lines, dtype) for name, dtype in columns.items()}


def _check_header(path: Path, names: list[str], columns: Mapping[str, DTypeLike] | None) -> None:
    if not names:
        raise DataError(f"{path} is empty: a line with the column names is needed")
    if len(set(names)) < len(names):
        raise DataError(f"{path} names a column twice: {', '.join(names)}")
    missing = [name for name in columns or () if name not in names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}")


def _of_any_type(cells: Sequence[str]) -> np.ndarray:
    text = np.asarray(cells, dtype=np.str_)
    for dtype in (np.int64, np.float64):
        try:
            return text.astype(dtype)
        except (ValueError, OverflowError):
            continue
    return text


def _of_type(path: Path, name: str, cells: Sequence[str], lines: Sequence[int], dtype: DTypeLike) -> np.ndarray:
    try:
        return np.asarray(cells, dtype=np.str_).astype(dtype)
    except (ValueError, OverflowError):
        for line, cell in zip(lines, cells):
            try:
                np.asarray([cell]).astype(dtype)
            except (ValueError, OverflowError):
                kind = np.dtype(dtype).name
                raise DataError(f"{path}, line {line}, column {name}: {cell!r} is not a {kind}") from None
        raise
