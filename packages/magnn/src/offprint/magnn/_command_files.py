"""What the program `offprint-magnn` reads and writes: logs, sequences, run folders, tables."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offprint.core.program import UsageError, check_output
from offprint.magnn import data
from offprint.magnn._log import InteractionLog
from offprint.magnn._prepare import prepare
from offprint.magnn._sequences import Sequences
from offprint.magnn._split import Split, split_leave_last, split_ratio
from offprint.magnn._storage import load_model

Cell = str | int | float
FORMAT = 1
"""Of a run folder."""
MAY_CHANGE = ("epochs", "patience")
"""Settings with which a run may go on: its steps are the same."""
KNOWN_DATA = {
    "movielens-1m": data.movielens_1m,
    "movielens-100k": lambda: prepare(data.movielens_100k(), min_rating=4, min_user=10, min_item=10, iterative=True),
    "markov": data.markov_sessions,
}


@dataclass(frozen=True)
class Run:
    """What a run folder holds."""

    folder: Path
    config: dict[str, Any]
    """The model's name, its settings, and the epoch that was kept."""
    sequences: Sequences
    model: Any

    def split(self) -> Split:
        """The split that the model was trained on."""
        settings = self.config["settings"]
        return split_of(self.sequences, settings["test"], settings["val"], settings["leave_last"])


def read_log(path: Path, delimiter: str, columns: dict[str, str]) -> InteractionLog:
    """A .csv table or an .npz archive."""
    check_output(path, (".csv", ".tsv", ".txt", ".npz"))
    if not path.is_file():
        raise UsageError(f"{path} is not there")
    if path.suffix == ".npz":
        return InteractionLog.from_npz(path, **columns)
    return InteractionLog.from_csv(path, **columns, delimiter=delimiter)


def read_data(name: str) -> Sequences:
    """Sequences of a file, or one of the data sets that the package knows."""
    if name in KNOWN_DATA:
        return KNOWN_DATA[name]()
    path = Path(name)
    if path.suffix != ".npz":
        raise UsageError(f"{name!r} is neither one of {', '.join(KNOWN_DATA)} nor an .npz file that prepare wrote")
    if not path.is_file():
        raise UsageError(f"{path} is not there")
    return Sequences.load(path)


def split_of(sequences: Sequences, test: float, val: float, leave_last: int | None) -> Split:
    """The split that the flags describe."""
    return split_ratio(sequences, test=test, val=val) if leave_last is None else split_leave_last(sequences, leave_last)


def open_run(folder: Path) -> Run:
    """A trained run."""
    config = _read_config(folder)
    if config is None:
        raise UsageError(f"{folder} holds no run; train --out {folder} makes one")
    if not (folder / "model.npz").is_file():
        raise UsageError(f"the run in {folder} is not finished; start its train command again to go on")
    return Run(folder, config, Sequences.load(folder / "sequences.npz"), load_model(folder / "model.npz"))


def start_run(folder: Path, config: dict[str, Any], sequences: Sequences) -> None:
    """A folder for a run, or the one of the same run that was stopped; that of another run is refused."""
    before = _read_config(folder)
    if before is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and holds no run; choose another --out")
    begun = (folder / "model.npz").is_file() or any(folder.glob("checkpoints*/run/[0-9]*"))
    if before is None or not begun:  # one that broke off before its first checkpoint has nothing to lose
        folder.mkdir(parents=True, exist_ok=True)
        sequences.save(folder / "sequences.npz")
    else:
        old, new = ({"model": c["model"], **c["settings"]} for c in (before, config))
        changed = [name for name in new if old.get(name) != new[name] and name not in MAY_CHANGE]
        if changed:
            name = changed[0]
            raise UsageError(
                f"the run in {folder} has --{name.replace('_', '-')} {old.get(name)}, not {new[name]}; "
                "only --epochs and --patience may change in a run: choose another --out"
            )
        there = Sequences.load(folder / "sequences.npz")
        if not (np.array_equal(there.indptr, sequences.indptr) and np.array_equal(there.items, sequences.items)):
            raise UsageError(f"the run in {folder} is one on other data; choose another --out")
    write_config(folder, config)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Settings and outcome of a run, for people and for `open_run`."""
    text = json.dumps({"format": FORMAT, **config}, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _read_config(folder: Path) -> dict[str, Any] | None:
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["format"] == FORMAT and {"model", "settings"} <= config.keys():
            return config
    except (json.JSONDecodeError, KeyError, TypeError):
        pass
    raise UsageError(f"{path} is not that of a run in format {FORMAT}, which this version reads")


@contextmanager
def ids_of_the_log() -> Iterator[None]:
    """Ids that the log does not have become one line."""
    try:
        yield
    except KeyError as error:
        raise UsageError(str(error.args[0]).replace("user=None ranks for an unknown user", "give --history")) from None


def parse_ids(flag: str, texts: Iterable[str], ids: np.ndarray | None) -> list[int] | list[str]:
    """Ids as the log has them: whole numbers or texts."""
    texts = [text.strip() for text in texts]
    if ids is not None and ids.dtype.kind == "U":
        return texts
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise UsageError(f"{flag} {','.join(texts)}: the log's ids are whole numbers") from None


def parse_ks(text: str) -> tuple[int, ...]:
    """Lengths of lists, such as 5,10."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--ks {text}: whole numbers from 1 on are needed, such as 5,10,20")
    return tuple(sorted({int(part) for part in parts}))
