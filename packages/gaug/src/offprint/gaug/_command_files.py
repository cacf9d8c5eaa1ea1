"""What the program `offprint-gaug` reads and writes: data sets, run folders, tables."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from offprint.core.data import load_npz as read_archive
from offprint.core.program import UsageError
from offprint.gaug import data
from offprint.gaug._pretrain import embed
from offprint.gaug._result import Result
from offprint.gaug.data import NodeData

Cell = str | int | float
FORMAT = 1
"""Of a run folder."""
KNOWN_DATA = {
    "cora": data.cora,
    "citeseer": data.citeseer,
    "air-usa": data.air_usa,
    "blogcatalog": data.blogcatalog,
    "flickr": data.flickr,
    "karate": data.karate,
    "sbm": data.sbm,
}
IMAGES = (".png", ".pdf", ".svg")


def read_data(name: str, scale: Any = None) -> NodeData:
    """A data set of a file, or one that the package knows."""
    if name in KNOWN_DATA:
        if scale is not None:
            raise UsageError(f"--scale {scale} is for files of your own; {name} is scaled as in the paper")
        return KNOWN_DATA[name]()
    path = Path(name)
    if path.suffix != ".npz":
        raise UsageError(f"--data {name}: neither one of {', '.join(KNOWN_DATA)} nor an .npz file, as convert makes it")
    if not path.is_file():
        raise UsageError(f"--data {name}: the file is not there")
    return data.load_npz(path, scale=scale or "none")


def fingerprint(given: NodeData) -> dict[str, Any]:
    """Sizes of a data set and a checksum of what is in it, to know it again."""
    graph, x = given.graph, given.x
    parts = [graph.edges(), graph.weights, given.y, *given.split, *jax.tree.leaves(x)]
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(np.ascontiguousarray(part).tobytes(), checksum)
    return {
        "name": given.name,
        "nodes": graph.num_nodes,
        "edges": graph.num_edges,
        "features": given.num_features,
        "classes": given.num_classes,
        "checksum": checksum,
    }


def same_data(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two fingerprints are of one data set; a file may have been renamed."""
    return all(one[name] == other[name] for name in one if name != "name")


def start_run(folder: Path, config: dict[str, Any]) -> None:
    """A folder for a run, or the one of the same run with other seeds; that of another run is refused."""
    config = json.loads(json.dumps({"format": FORMAT, **config}))  # as it will be read again
    before = read_config(folder)
    if before is None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there and holds no run; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
    elif any(folder.glob("seed-*")):  # one that has no seed yet has nothing to lose
        if not same_data(before["data"], config["data"]):
            raise UsageError(
                f"the run in {folder} is one on other data, {before['data']['name']}; choose another --out"
            )
        old, new = dict(_settings(before["plan"])), dict(_settings(config["plan"]))
        for name in {**new, **old}:
            if old.get(name) != new.get(name):
                raise UsageError(
                    f"the run in {folder} has {name} {old.get(name)}, not {new.get(name)}; only the seeds may change "
                    "in a run: choose another --out"
                )
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any] | None:
    """What a run was started with; None if there is no run."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["format"] == FORMAT and {"plan", "data", "source"} <= config.keys():
            return config
    except (json.JSONDecodeError, KeyError, TypeError):
        pass
    raise UsageError(f"{path} is not that of a run in format {FORMAT}, which this version reads")


def _settings(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a configuration with its name: that of the part which it belongs to, and its own."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _settings(value, "" if name == "config" else f"{name} ")
        else:
            yield f"{above}{name}", value


def save_seed(path: Path, result: Result, given: NodeData) -> None:
    """One finished run: scores, history, logits, the graph that was classified on, the edge predictor's embedding."""
    arrays: dict[str, Any] = {f"history/{name}": values for name, values in result.history.items()}
    arrays |= {"val": result.val, "test": result.test_at_best, "best_epoch": result.best_epoch}
    arrays |= {"logits": result.logits, "edges": result.graph.edges()}
    if result.edge_model is not None:
        arrays["z"] = embed(result.edge_model, given.graph, given.x, None).z
    unfinished = path.with_name(f"writing-{path.name}")  # so that a seed is there whole or not at all
    np.savez_compressed(unfinished, **arrays)
    unfinished.replace(path)


def open_run(folder: Path) -> tuple[dict[str, Any], dict[int, dict[str, np.ndarray]]]:
    """The configuration of a run and the arrays of its finished seeds."""
    config = read_config(folder)
    if config is None:
        raise UsageError(f"{folder} holds no run; fit --out {folder} makes one")
    numbers = sorted(int(path.stem.removeprefix("seed-")) for path in folder.glob("seed-*.npz"))
    if not numbers:
        raise UsageError(f"no seed of the run in {folder} is finished; start its fit command again to go on")
    return config, {number: read_archive(folder / f"seed-{number}.npz") for number in numbers}


def history_of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The history in the arrays of a seed."""
    return {name.removeprefix("history/"): values for name, values in arrays.items() if name.startswith("history/")}
