"""What `offprint-gaug convert` does: one archive of the tables or arrays that people have."""

from pathlib import Path
from typing import Any

import numpy as np

from offprint.core.data import load_csv
from offprint.core.program import UsageError
from offprint.gaug._graph import Graph
from offprint.gaug.data import NodeData, Split, from_csv
from offprint.gaug.data._node_data import checked
from offprint.gaug.data._read import _scaled


def read_tables(command: Any) -> NodeData:
    """The data set that the flags of `convert` describe."""
    if (command.nodes is None) == (command.features is None or command.labels is None):
        raise UsageError("the nodes: give either --nodes nodes.csv, or --features and --labels")
    for path in (command.edges, command.nodes, command.features, command.labels):
        if path is not None and not path.is_file():
            raise UsageError(f"{path} is not there")
    options = {"scale": command.scale, "seed": command.seed, "symmetrize": command.symmetrize}
    if command.nodes is not None:
        return from_csv(command.edges, command.nodes, **options)
    return _of_arrays(command)


def _of_arrays(command: Any) -> NodeData:
    x = _features(command.features)
    edges, weights = _edges(command.edges)
    graph = Graph.from_edges(edges, len(x), weights, symmetrize=command.symmetrize)
    labels, parts = _labels(command.labels)
    if len(labels) != len(x):
        raise UsageError(
            f"{command.labels} has {len(labels)} labels, {command.features} {len(x)} rows; each node needs one"
        )
    split = _random_split(labels, command.seed) if parts is None else _split_of(parts, command.labels)
    return checked(command.features.stem, graph, _scaled(x, command.scale), labels, split)


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UsageError(f"{path} is not a plain .npy array ({error})") from None


def _features(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        x = _array(path)
    else:
        table = load_csv(path)
        if wrong := [name for name, column in table.items() if column.dtype.kind not in "if"]:
            raise UsageError(f"{path}, column {wrong[0]}: features must be numbers, without empty cells")
        x = np.stack(list(table.values()), axis=1)
    if x.ndim != 2:
        raise UsageError(f"{path} has the shape {x.shape}; a row of features for each node, (N, F), is needed")
    return x


def _edges(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    if path.suffix == ".npy":
        return _array(path), None
    table = load_csv(path)
    if missing := [name for name in ("source", "target") if name not in table]:
        raise UsageError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table)}")
    ends = [table["source"], table["target"]]
    if any(end.dtype.kind != "i" for end in ends):
        raise UsageError(f"{path}: with --features nodes are numbered by their rows from 0; for names, give --nodes")
    return np.stack(ends, axis=1), table["weight"].astype(float) if "weight" in table else None


def _labels(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Classes, or zeros and ones for several per node; and the part of the split that each node is in."""
    if path.suffix == ".npy":
        return _array(path), None
    table = load_csv(path)
    if "label" not in table:
        raise UsageError(f"{path} has no column label; it has {', '.join(table)}")
    if table["label"].dtype.kind == "f":
        raise UsageError(f"{path}: labels must be whole numbers or texts, not numbers with a point")
    return _classes(table["label"]), table.get("split")


def _classes(column: np.ndarray) -> np.ndarray:
    """Numbers of the classes in the order of their labels, -1 where a label is empty or -1: not known."""
    cells = [str(cell).strip() for cell in column]
    names = sorted(
        {*cells} - {"", "-1"}, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
    )
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(cell, -1) for cell in cells], np.int32)


def _split_of(parts: np.ndarray, path: Path) -> Split:
    if unknown := sorted({str(part) for part in parts} - {"train", "val", "test", ""}):
        raise UsageError(f"{path}: {unknown[0]!r} is no part of the split; train, val, test or nothing is needed")
    return Split(*(np.flatnonzero(parts == part).astype(np.int32) for part in Split._fields))


def _random_split(labels: np.ndarray, seed: int) -> Split:
    """10 % training, 20 % validation and 70 % test nodes of those whose labels are known."""
    known = np.flatnonzero(labels >= 0) if labels.ndim == 1 else np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(known).astype(np.int32)
    first, second = round(0.1 * len(order)), round(0.3 * len(order))
    return Split(*(np.sort(part) for part in (order[:first], order[first:second], order[second:])))
