"""What the program `offprint-forward-propagation` reads and writes: data, networks, spikes, run folders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from offprint.core.data import load_csv, load_npz
from offprint.core.program import UsageError
from offprint.forward_propagation import data
from offprint.forward_propagation._embed import Parameters
from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._recipe import Encoding, Recipe
from offprint.forward_propagation._recurrent import RecurrentParams
from offprint.forward_propagation._spikes import SpikeTrain, from_events
from offprint.forward_propagation.data import ClassificationData

IMAGES = (".png", ".pdf", ".svg")
KNOWN_DATA = ("iris", "yin-yang", "xor", "mnist")
FORMAT = 1
"""Of a run folder."""
_OF_LAYER = ("weights", "delays", "tau_mem", "tau_syn", "threshold")
_OF_RECURRENT = ("w_in", "w_rec", "tau_mem", "tau_syn", "threshold", "delay_in", "delay_rec", "mask_rec")


class Task(NamedTuple):
    """Data with the names that they came with."""

    data: ClassificationData
    features: tuple[str, ...]
    classes: tuple[str, ...]


def read_task(name: str, label: str, test: float, seed: int) -> Task:
    """A data set that the package knows, or one of a file, split if it isn't yet."""
    if name in KNOWN_DATA:
        return _known(name, test, seed)
    path = Path(name)
    if path.suffix == ".csv":
        x, texts, features = read_table(path, label)
        classes, y = np.unique(texts, return_inverse=True)
        return Task(_split(x, y, test, seed, path.stem), features, tuple(map(str, classes)))
    if path.suffix != ".npz":
        raise UsageError(f"--data {name}: neither one of {', '.join(KNOWN_DATA)} nor a .csv or .npz file")
    arrays = load_npz(existing(path))
    if {"train_x", "train_y", "test_x", "test_y"} <= arrays.keys():
        train, held_out = ((arrays[f"{part}_x"], arrays[f"{part}_y"]) for part in ("train", "test"))
        found = data.classification_data(path.stem, train, held_out)
    elif {"x", "y"} <= arrays.keys():
        found = _split(arrays["x"], arrays["y"], test, seed, path.stem)
    else:
        raise UsageError(
            f"--data {path}: train_x, train_y, test_x, test_y, or x and y, are needed; it has {', '.join(arrays)}"
        )
    return Task(found, _numbered(found.train_x.shape[1]), tuple(map(str, range(found.classes))))


def read_table(path: Path, label: str, features: Sequence[str] | None = None) -> tuple[Any, Any, tuple[str, ...]]:
    """Features, labels and names of the features of a .csv file.

    Where the features are named, as those of a run, the labels may be missing (None).
    """
    columns = load_csv(existing(path))
    texts = columns.pop(label, None)
    if features is None and texts is None:
        raise UsageError(f"--data {path}: no column {label!r} for the label; name it with --label")
    names = tuple(columns) if features is None else tuple(features)
    if missing := [name for name in names if name not in columns]:
        raise UsageError(f"{path} has no column {', '.join(missing)}; it has {', '.join(columns)}")
    for name in names:
        if columns[name].dtype.kind not in "if":
            raise UsageError(f"{path}: the column {name} is no column of numbers; leave it out")
    if not names or not len(columns[names[0]]):
        raise UsageError(f"{path} has no features: a column for each, and a row for each sample, are needed")
    return np.stack([np.asarray(columns[name], float) for name in names], axis=1), texts, names


def read_network(path: Path) -> list[LayerParams] | RecurrentParams:
    """The network of an .npz file, in float64."""
    arrays = load_npz(existing(path))
    if "w_in" in arrays:
        _only(path, arrays, _OF_RECURRENT, needed=("w_in", "w_rec", "tau_mem", "tau_syn"))
        given = {name: _number(path, arrays, name) for name in arrays if name != "mask_rec"}
        neuron = LIF(given["tau_mem"], given["tau_syn"], given.get("threshold", 1.0))
        delays = given.get("delay_in", 0.0), given.get("delay_rec", 0.0)
        mask = arrays["mask_rec"].astype(bool) if "mask_rec" in arrays else None
        return RecurrentParams(given["w_in"], given["w_rec"], neuron, *delays, mask)
    count = sum(name.removeprefix("weights").isdigit() for name in arrays if name.startswith("weights"))
    known = [f"{name}{number}" for number in range(count) for name in _OF_LAYER]
    _only(path, arrays, [*known, *_OF_LAYER[1:]], needed=[f"weights{number}" for number in range(max(count, 1))])
    layers = []
    for number in range(count):
        names = {name: f"{name}{number}" if f"{name}{number}" in arrays else name for name in _OF_LAYER}
        if missing := [name for name in ("tau_mem", "tau_syn") if names[name] not in arrays]:
            raise UsageError(f"{path} has no {', '.join(missing)}, neither for layer {number} nor for all")
        value = {name: _number(path, arrays, key) for name, key in names.items() if key in arrays}
        neuron = LIF(value["tau_mem"], value["tau_syn"], value.get("threshold", 1.0))
        layers.append(LayerParams(value["weights"], neuron, value.get("delays", 0.0)))
    return layers


def network_arrays(params: Parameters) -> dict[str, Any]:
    """A network, or a gradient by its parameters, as the arrays of its file."""
    if isinstance(params, RecurrentParams):
        fields = params._asdict()
        neuron = fields.pop("neuron")
        named = {**fields, **neuron._asdict()}
        return {name: np.asarray(value) for name, value in named.items() if value is not None}
    layers = [params] if isinstance(params, LayerParams) else params
    return {
        f"{name}{number}": np.asarray(value)
        for number, layer in enumerate(layers)
        for name, value in {"weights": layer.weights, "delays": layer.delays, **layer.neuron._asdict()}.items()
    }


def read_spikes(path: Path, n: int) -> SpikeTrain:
    """Input spikes of n sources from a .csv file with the columns time and source."""
    columns = load_csv(existing(path), {"time": float, "source": int})
    return _trains(path, columns["time"], columns["source"], n, "source")


def read_fired(path: Path, sizes: Sequence[int]) -> tuple[list[SpikeTrain], list[np.ndarray] | None]:
    """Spikes of the neurons of every layer, and dL/dt of each if the file has it."""
    columns = load_csv(existing(path))
    for name in ("time", "neuron", *(("layer",) if len(sizes) > 1 else ())):
        if name not in columns:
            raise UsageError(f"{path} has no column {name}; it has {', '.join(columns)}")
    layer = columns.get("layer", np.zeros(len(columns["time"]), int))
    if len(layer) and not set(np.unique(layer)) <= set(range(len(sizes))):
        raise UsageError(f"{path}: layers from 0 to {len(sizes) - 1} are needed, got {layer.min()} to {layer.max()}")
    trains, weights = [], []
    for number, n in enumerate(sizes):
        mine = {name: column[layer == number] for name, column in columns.items()}
        trains.append(_trains(path, mine["time"], mine["neuron"], n, "neuron"))
        if "dL_dt" in columns:
            order = np.argsort(mine["time"], kind="stable")
            of_spike = np.zeros(trains[-1].times.shape)
            for neuron in range(n):
                rows = order[mine["neuron"][order] == neuron]
                of_spike[neuron, : len(rows)] = mine["dL_dt"][rows]
            weights.append(of_spike)
    return trains, weights if "dL_dt" in columns else None


def _trains(path: Path, times: np.ndarray, sources: np.ndarray, n: int, what: str) -> SpikeTrain:
    try:
        return from_events(np.asarray(times, float), np.asarray(sources, int), n)
    except ValueError as error:
        raise UsageError(f"{path}: {str(error).replace('sources', f'the column {what}: numbers')}") from None


def save_run(folder: Path, config: dict[str, Any], arrays: Mapping[str, Any], params: Sequence[LayerParams]) -> None:
    """What a finished training leaves; network.npz last, so that a run is there whole or not at all."""
    np.savez_compressed(folder / "results.npz", **arrays)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    np.savez_compressed(folder / "network.npz", **network_arrays(params))


def start_run(folder: Path, config: dict[str, Any]) -> bool:
    """Make the folder of a run, or find it again; True if the run is finished. That of another run is refused."""
    before = read_config(folder)
    if before is None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there and holds no run; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    elif before != json.loads(json.dumps(config)):
        changed = [name for name in config if json.loads(json.dumps(config[name])) != before.get(name)]
        raise UsageError(f"the run in {folder} has another {' and another '.join(changed)}; choose another --out")
    return (folder / "network.npz").is_file()


def read_config(folder: Path) -> dict[str, Any] | None:
    """What a run was started with; None if there is no run."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["format"] == FORMAT:
            return config
    except (json.JSONDecodeError, KeyError, TypeError):
        pass
    raise UsageError(f"{path} is not that of a run in format {FORMAT}, which this version reads")


def open_run(folder: Path) -> tuple[dict[str, Any], Recipe, list[LayerParams], dict[str, np.ndarray]]:
    """Configuration, recipe, trained layers and results of a finished run."""
    config = read_config(folder)
    if config is None or not (folder / "network.npz").is_file():
        raise UsageError(f"{folder} holds no finished run; fit --out {folder} makes one")
    layers = read_network(folder / "network.npz")
    assert not isinstance(layers, RecurrentParams)  # fit trains layers in a row
    results = load_npz(folder / "results.npz")
    return config, recipe_of(config["recipe"]), layers, results


def recipe_as_dict(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON has it."""
    return json.loads(json.dumps(asdict(recipe)))


def recipe_of(stored: Mapping[str, Any]) -> Recipe:
    """The recipe of a run's configuration."""
    fixed = {name: tuple(stored[name]) for name in ("sizes", "max_spikes", "learn")}
    init = tuple(tuple(pair) for pair in stored["init"])
    return Recipe(**{**stored, **fixed, "init": init, "encoding": Encoding(**stored["encoding"])})


def existing(path: Path) -> Path:
    """The path, if there is a file."""
    if not path.is_file():
        raise UsageError(f"{path} is not there")
    return path


def _known(name: str, test: float, seed: int) -> Task:
    if name == "yin-yang":
        return Task(data.yin_yang_data(), ("x", "y", "1-x", "1-y"), ("yin", "yang", "dot"))
    if name == "mnist":
        digits = data.mnist()
        return Task(digits, _numbered(784), tuple("0123456789"))
    if name == "xor":
        x, y = data.xor()
        return Task(data.classification_data("xor", (x, y), (x, y)), ("a", "b"), ("0", "1"))
    features = ("sepal length", "sepal width", "petal length", "petal width")
    return Task(_split(*data.iris(), test, seed, "iris"), features, ("setosa", "versicolor", "virginica"))


def _split(x: np.ndarray, y: np.ndarray, test: float, seed: int, name: str) -> ClassificationData:
    if not 0 < test < 1:
        raise UsageError(f"--test {test:g}: a share between 0 and 1 is needed")
    return data.split(x, y, max(1, round(test * len(y))), seed, name=name)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"x{number}" for number in range(count))


def _only(path: Path, arrays: Mapping[str, Any], known: Sequence[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in arrays]:
        raise UsageError(
            f"{path} has no array {', '.join(missing)}; weights0, weights1, ... of layers, or w_in and w_rec of a "
            f"recurrent network, with tau_mem and tau_syn, are needed; it has {', '.join(arrays)}"
        )
    if strange := [name for name in arrays if name not in known]:
        raise UsageError(f"{path}: nothing is known of an array {', '.join(strange)}; there can be {', '.join(known)}")


def _number(path: Path, arrays: Mapping[str, np.ndarray], name: str) -> Any:
    if arrays[name].dtype.kind not in "if":
        raise UsageError(f"{path}: {name} must hold numbers, not {arrays[name].dtype}")
    value = jnp.asarray(arrays[name], float)
    return float(value) if value.ndim == 0 else value
