"""MIMIC-III, from the user's own licensed copy as YerevaNN/mimic3-benchmarks lays it out.

The data are under PhysioNet's licence, so nothing of them is here. `load_mimic` reads a folder of that layout::

    <folder>/in-hospital-mortality/         also decompensation, length-of-stay, phenotyping
        train_listfile.csv                  stay,y_true or stay,period_length,y_true or stay,period_length,25 names
        val_listfile.csv
        test_listfile.csv
        train/<stay>                        the series of training and validation: Hours and 17 channels
        test/<stay>

Source of channels, categories and normal values: Harutyunyan et al., Scientific Data 6:96 (2019).
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from offprint.core.data import DataError
from offprint.mgrn._standardize import Standardizer
from offprint.mgrn.data._mimic_channels import CHANNELS, Channel

MimicTask = Literal["in-hospital-mortality", "decompensation", "length-of-stay", "phenotyping"]
MORTALITY_HOURS = 48.0
"""In-hospital mortality is told from that many first hours."""

LENGTH_OF_STAY_EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 14)
"""Days at which the next of the ten classes of the remaining length of stay begins."""
LENGTH_OF_STAY_MEANS = (
    11.450379, 35.070846, 59.206531, 83.382723, 107.487817, 131.579534, 155.643957, 179.660558, 254.306624, 585.325890,
)  # fmt: skip
"""Mean hours of every class: what a predicted class counts as where the absolute error is measured."""

_EPSILON = 1e-6  # an event at exactly hour n still belongs to the hour before it
_EXTRA_COLUMNS = {"in-hospital-mortality": 1, "decompensation": 2, "length-of-stay": 2, "phenotyping": 26}


class MimicBatch(NamedTuple):
    """Samples padded with 0 at the end."""

    x: Float[np.ndarray, "batch steps features"]
    lengths: Int[np.ndarray, "batch"]
    y: Shaped[np.ndarray, "batch *labels"]


@dataclass(frozen=True)
class MimicSamples:
    """Samples of one task: each the last hours, at most `steps` of them, before its moment of prediction.

    Samples of one stay overlap, so the hours of every stay are held once.
    """

    hours: Float[np.ndarray, "hours features"]
    """Hours of all stays one after another, float32, 76 features: each channel's values and then its mask."""
    starts: Int[np.ndarray, "samples"]
    """First row of every sample."""
    lengths: Int[np.ndarray, "samples"]
    """Rows of every sample, 1 to `steps`."""
    y: Shaped[np.ndarray, "samples *labels"]
    """int32: 0 or 1, the class of the remaining stay, or 25 phenotypes (samples, 25)."""
    remaining: Float[np.ndarray, "samples"]
    """Remaining hours of the stay, of the task length-of-stay; NaN in the others."""
    steps: int

    def batch(self, rows: Int[np.ndarray, "batch"] | slice = slice(None)) -> MimicBatch:
        """Those samples, padded with 0 at the end."""
        starts, lengths = self.starts[rows], self.lengths[rows]
        steps = np.arange(self.steps)
        valid = steps < lengths[:, None]
        at = np.where(valid, starts[:, None] + steps, 0)
        return MimicBatch(np.where(valid[..., None], self.hours[at], 0), lengths, self.y[rows])


class MimicData(NamedTuple):
    """One task, standardised by its training part."""

    train: MimicSamples
    validation: MimicSamples
    test: MimicSamples


def mimic_groups() -> tuple[int, ...]:
    """Features of every channel, its mask included: the groups of the paper, 76 in all."""
    return tuple(channel.width + 1 for channel in CHANNELS)


def length_of_stay_class(hours: Float[np.ndarray, "samples"]) -> Int[np.ndarray, "samples"]:
    """Class 0 to 9 of the remaining length of stay, in hours: under 1 day, each day to 8, to 14 days, longer."""
    return np.digitize(hours / 24, LENGTH_OF_STAY_EDGES).astype(np.int32)


def load_mimic(folder: str | Path, task: MimicTask, steps: int) -> MimicData:
    """One task of the benchmark, from the user's own copy.

    Args:
        folder: holds a folder for every task, see above.
        task: one of the four.
        steps: hours before the moment of prediction that a sample has at most.

    Returns:
        Hourly samples of 76 features: the last value of each channel in the hour, carried forward where there is none
        and the channel's normal value before the first; categories one-hot; a mask of what was measured. The twelve
        numeric channels have mean 0 and deviation 1 over the hours of the training stays.

    Raises:
        ValueError: an unknown task, or steps < 1.
        DataError: a file that is missing or not of that layout; the message names file and line.
    """
    if task not in _EXTRA_COLUMNS:
        raise ValueError(f"task must be one of {', '.join(_EXTRA_COLUMNS)}, got {task!r}")
    if steps < 1:
        raise ValueError(f"a sample needs at least 1 hour, got steps={steps}")
    root = Path(folder) / task
    parts = {
        part: _read_part(root / f"{part}_listfile.csv", root / ("test" if part == "test" else "train"), task, steps)
        for part in ("train", "val", "test")
    }
    numeric = _numeric_columns()
    fitted = Standardizer.fit(parts["train"].hours[:, numeric])
    for part in parts.values():  # in place: the hours of a task can be a gigabyte
        part.hours[:, numeric] = fitted.transform(part.hours[:, numeric])
    return MimicData(parts["train"], parts["val"], parts["test"])


def _read_part(listfile: Path, series: Path, task: str, steps: int) -> MimicSamples:
    stays, periods, labels = _read_listfile(listfile, task)
    # A stay is discretised once, up to its last moment of prediction; earlier moments see the beginning of that.
    longest: dict[str, float] = {}
    for stay, period in zip(stays, periods):
        longest[stay] = max(period, longest.get(stay, 0.0))
    blocks = {stay: discretize(read_episode(series / stay), period) for stay, period in longest.items()}
    counts = [len(block) for block in blocks.values()]
    offsets = dict(zip(blocks, np.cumsum([0, *counts[:-1]]).tolist()))
    ends = np.array([offsets[stay] + _bins(period) for stay, period in zip(stays, periods)])
    lengths = np.minimum([_bins(period) for period in periods], steps)
    values = np.array(labels)
    remaining = values[:, 0] if task == "length-of-stay" else np.full(len(values), np.nan)
    if task == "length-of-stay":
        y = length_of_stay_class(remaining)
    else:
        y = (values if task == "phenotyping" else values[:, 0]).astype(np.int32)
    return MimicSamples(
        np.concatenate(list(blocks.values())), ends - lengths, lengths.astype(np.int32), y, remaining, steps
    )


def _read_listfile(path: Path, task: str) -> tuple[list[str], list[float], list[list[float]]]:
    if not path.is_file():
        raise DataError(
            f"{path} is missing: the folder must be laid out as mimic3-benchmarks does it, with its validation part "
            "split off"
        )
    stays, periods, labels = [], [], []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        for row in rows:
            if len(row) != 1 + _EXTRA_COLUMNS[task]:
                raise DataError(
                    f"{path}, line {rows.line_num}: {len(row)} columns, but {task} needs {1 + _EXTRA_COLUMNS[task]} "
                    f"(header: {', '.join(header[:4])}…)"
                )
            try:
                numbers = [float(cell) for cell in row[1:]]
            except ValueError as error:
                raise DataError(f"{path}, line {rows.line_num}: {error}") from error
            stays.append(row[0])
            periods.append(MORTALITY_HOURS if task == "in-hospital-mortality" else numbers.pop(0))
            labels.append(numbers)
    if not stays:
        raise DataError(f"{path} lists no stay")
    return stays, periods, labels


class Episode(NamedTuple):
    """Events of one stay in the order of time."""

    hours: Float[np.ndarray, "events"]
    cells: Mapping[str, Sequence[str]]
    """What was noted for every channel at each event; empty where nothing was."""
    name: str


def read_episode(path: Path) -> Episode:
    """The events in `<stay>`: a table with a column Hours and one for each of the 17 channels.

    Raises:
        DataError: the file is missing, a column is, or the hours are negative, not sorted or no numbers.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing, but a listfile names it")
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    needed = ["Hours", *(channel.name for channel in CHANNELS)]
    if missing := [name for name in needed if name not in header]:
        raise DataError(f"{path} has no column {', '.join(missing)}")
    columns = dict(zip(header, zip(*rows, strict=True))) if rows else dict.fromkeys(header, ())
    try:
        hours = np.array([float(cell) for cell in columns["Hours"]])
    except ValueError as error:
        raise DataError(f"{path}, column Hours: {error}") from error
    if (hours < 0).any() or (np.diff(hours) < -_EPSILON).any():
        raise DataError(f"{path}: the hours must be 0 or later, and sorted")
    return Episode(hours, columns, path.name)


def discretize(episode: Episode, length: float) -> Float[np.ndarray, "hours features"]:
    """The first `length` hours of a stay as one row an hour, float32, 76 features; see `load_mimic`.

    Raises:
        DataError: a category or a number that cannot be read.
    """
    bins = _bins(length)
    kept = episode.hours <= length + _EPSILON
    hour = np.minimum((episode.hours - _EPSILON).astype(int), bins - 1)
    table = np.zeros((bins, sum(mimic_groups())), np.float32)
    column = 0
    for channel in CHANNELS:
        cells = episode.cells[channel.name]
        events = np.array([event for event, cell in enumerate(cells) if cell != "" and kept[event]], int)
        last = np.full(bins, -1)
        last[hour[events]] = events  # of several events in an hour the last one stays
        carried = np.maximum.accumulate(last)
        block = table[:, column : column + channel.width + 1]
        distinct, back = np.unique(carried, return_inverse=True)
        values = [_encode(episode, channel, channel.normal if at < 0 else cells[at]) for at in distinct]
        block[:, :-1] = np.array(values)[back]
        block[:, -1] = last >= 0
        column += channel.width + 1
    return table


def _encode(episode: Episode, channel: Channel, cell: str) -> list[float]:
    try:
        return channel.encode(cell)
    except ValueError:
        allowed = f"one of {', '.join(channel.categories)}" if channel.categories else "a number"
        raise DataError(f"{episode.name}, {channel.name}: {cell!r} is not {allowed}") from None


def _bins(length: float) -> int:
    return max(int(length + 1 - _EPSILON), 1)


def _numeric_columns() -> np.ndarray:
    ends = np.cumsum(mimic_groups())
    return np.array([end - 2 for end, channel in zip(ends, CHANNELS) if not channel.categories])
