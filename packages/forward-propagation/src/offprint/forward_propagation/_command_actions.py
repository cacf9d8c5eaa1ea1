"""The commands of `offprint-forward-propagation` that train or use a classifier: fit, predict, compare, plot."""

import shutil
import time
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from offprint.core.data import load_npz
from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.core.train import Checkpoint, Interrupted
from offprint.forward_propagation._command_files import (
    IMAGES,
    Task,
    existing,
    network_arrays,
    open_run,
    read_table,
    read_task,
    recipe_as_dict,
    save_run,
    start_run,
)
from offprint.forward_propagation._command_training import EXACT, on_grid, plan_of, train_by
from offprint.forward_propagation._feedforward import feedforward
from offprint.forward_propagation._first_spike import first_spike
from offprint.forward_propagation._neuron import LayerParams
from offprint.forward_propagation._recipe import Recipe
from offprint.forward_propagation._spikes import SpikeTrain
from offprint.forward_propagation._train import Examples, feature_range, fit_classifier
from offprint.forward_propagation.surrogate import SURROGATES


class Stopped(Exception):
    """A training was asked to end; what was saved is there to go on from."""


def fit(command: Any) -> None:
    """Train one classifier, in a run folder."""
    task = read_task(command.data.data, command.data.label, command.data.test, command.data.seed)
    settings = replace(plan_of(command.settings, task), reset_coupling=command.gradient == "exact")
    low, high = feature_range(settings.encoding, task.data.train_x, task.data.test_x)
    config = {
        "format": 1,
        "recipe": recipe_as_dict(settings),
        "data": {"name": task.data.name, "label": command.data.label, "checksum": _checksum(task)},
        "features": list(task.features),
        "classes": list(task.classes),
        "low": np.asarray(low).tolist(),
        "high": np.asarray(high).tolist(),
        "seed": command.data.seed,
        "dtype": "float64" if command.float64 else "float32",
    }
    if not start_run(command.out, config):
        with jax.enable_x64(True) if command.float64 else nullcontext():
            try:
                _train(command.out, config, task, settings)
            except Interrupted as stop:
                raise Stopped(str(stop)) from None
    _, _, _, results = open_run(command.out)
    accuracy = float(np.mean(results["predicted"] == results["test_y"]))
    rows = [
        {
            "network": "-".join(map(str, settings.sizes)),
            "training": len(task.data.train_y),
            "test": len(task.data.test_y),
            "test accuracy, %": 100 * accuracy,
            "silent outputs, %": 100 * float(np.mean(results["times"] >= settings.t_max)),
        }
    ]
    print_table(f"{task.data.name}: {len(task.features)} features, {len(task.classes)} classes", rows)


def _train(folder: Path, config: dict[str, Any], task: Task, settings: Recipe) -> None:
    given, dtype, key = task.data, config["dtype"], jax.random.key(config["seed"])
    unfinished = folder / "checkpoints"
    steps = -(-len(given.train_y) // settings.batch_size)
    train, test = (given.train_x, given.train_y), (given.test_x, given.test_y)
    start = settings.model(nnx.Rngs(params=jax.random.split(key)[0]), np.dtype(dtype))
    fitted = fit_classifier(
        train,
        test,
        settings,
        key,
        dtype=dtype,
        evaluations=settings.epochs,
        checkpoint=Checkpoint(unfinished, every=steps * max(1, settings.epochs // 5), keep=1),
        progress=True,
    )
    layers = [layer.layer for layer in fitted.model.layers]
    times = _first_times(layers, settings, given.test_x, config)
    arrays = {
        "test_x": given.test_x,
        "test_y": given.test_y,
        "times": times,
        "predicted": times.argmin(1),
        **{f"before/{name}": value for name, value in network_arrays([layer.layer for layer in start.layers]).items()},
    }
    for name in ("loss", "accuracy", "test_loss", "test_accuracy"):
        arrays[f"history/{name}"] = fitted.result.series(name)[1]
    save_run(folder, config, arrays, layers)
    write_rows(folder / "history.csv", fitted.result.history)
    write_rows(folder / "predictions.csv", _predictions(times, settings, config["classes"], given.test_y))
    shutil.rmtree(unfinished, ignore_errors=True)


def predict(command: Any) -> None:
    """Classify with the network of a run."""
    check_output(command.out, (".csv",))
    config, settings, layers, _ = open_run(command.run)
    classes, truth = config["classes"], None
    if command.data.suffix == ".npz":
        arrays = load_npz(existing(command.data))
        if "x" not in arrays:
            raise UsageError(f"{command.data} has no array x; it has {', '.join(arrays)}")
        x, truth = np.asarray(arrays["x"]), arrays.get("y")
    else:
        x, texts, _ = read_table(command.data, config["data"]["label"], config["features"])
        truth = None if texts is None else np.array([_place(classes, str(text), command.data) for text in texts])
    if x.ndim != 2 or x.shape[1] != len(config["features"]):
        raise UsageError(f"{command.data}: {x.shape} features; (N, {len(config['features'])}) is needed for this run")
    times = _first_times(layers, settings, x, config)
    rows = _predictions(times, settings, classes, truth)
    if command.out is None:
        print_table(f"{len(rows)} samples", rows[:20])
    write_rows(command.out, rows)
    found = times.argmin(1)
    of_class = [{"class": name, "samples": int(np.sum(found == number))} for number, name in enumerate(classes)]
    print_table("predicted", of_class)
    if truth is not None:
        print_table(f"accuracy {100 * np.mean(found == truth):.4g} %", [])
    if unanswered := int(np.sum((times >= settings.t_max).all(1))):
        print_table(f"{unanswered} samples make no output neuron fire; the first class stands for them", [])


def compare(command: Any) -> None:
    """The same network, trained by several rules on the same seeds."""
    check_output(command.out, (".csv",))
    check_output(command.plot, IMAGES)
    check_output(command.similarity, IMAGES)
    methods = command.methods.split(",")
    known = (*EXACT, *SURROGATES)
    if unknown := [name for name in methods if name not in known]:
        raise UsageError(f"--methods {command.methods}: nothing is known of {', '.join(unknown)}; {', '.join(known)}")
    for name in ("seeds", "steps"):
        if getattr(command, name) < 1:
            raise UsageError(f"--{name} {getattr(command, name)}: at least 1 is needed")
    task = read_task(command.data.data, command.data.label, command.data.test, command.data.seed)
    settings = plan_of(command.settings, task)
    sets = (task.data.train_x, task.data.train_y), (task.data.test_x, task.data.test_y)
    rows, results = [], {}
    for method in methods:
        began = time.perf_counter()
        results[method] = result = train_by(method, sets, settings, command)
        seconds = time.perf_counter() - began
        for seed, accuracy in enumerate(result.test_accuracy[:, -1], command.data.seed):
            place = seed - command.data.seed
            rows.append(
                {
                    "method": method,
                    "seed": seed,
                    "test accuracy, %": 100 * float(accuracy),
                    "test loss": float(result.test_loss[place, -1]),
                    "silent outputs, %": 100 * float(result.silent[place, -1]),
                    "seconds, all seeds": seconds,
                }
            )
    print_table(f"{'-'.join(map(str, settings.sizes))} on {task.data.name}, {settings.epochs} epochs", rows)
    write_rows(command.out, rows)
    if command.plot is not None:
        from offprint.forward_propagation import plots

        panels = {
            "training loss": {method: result.loss for method, result in results.items()},
            "training accuracy": {method: result.accuracy for method, result in results.items()},
        }
        steps = next(iter(results.values())).loss.shape[1]
        per_epoch = steps // settings.epochs
        plots.training_curves(panels, window=max(1, steps // 20), steps_per_epoch=per_epoch).savefig(command.plot)
    if command.similarity is not None:
        _similarity(command, settings, sets, [name for name in methods if name in SURROGATES])


def plot(command: Any) -> None:
    """One figure of a run."""
    check_output(command.out, IMAGES)
    from offprint.forward_propagation import plots

    config, settings, layers, results = open_run(command.run)
    what, x, y, times = command.what, *(results[name] for name in ("test_x", "test_y", "times"))
    if what in ("classes", "latency") and x.shape[1] < 2:
        raise UsageError(f"--what {what} needs two features, but the run has one")
    names = tuple(config["features"][:2])
    if what == "curves":
        of_part = {"training": "", "test": "test_"}
        panels = {
            quantity: {part: results[f"history/{prefix}{quantity}"] for part, prefix in of_part.items()}
            for quantity in ("loss", "accuracy")
        }
        figure = plots.training_curves(panels, window=1, steps_per_epoch=1)
    elif what == "first-spikes":
        figure = plots.first_spike_histograms(times, y, settings.t_max, classes=config["classes"])
    elif what == "classes":
        figure = plots.predicted_classes(x, y, results["predicted"], names=names)
    elif what == "latency":
        figure = plots.latency_map(x, times, settings.t_max, names=names)
    elif what == "activity":
        if not 0 <= command.sample < len(x):
            raise UsageError(f"--sample {command.sample}: 0 to {len(x) - 1} are the test samples of this run")
        spikes = _encoded(x[command.sample], settings, config)
        enough = [max(20, kept) for kept in settings.max_spikes]  # also of outputs, whose first spike is the answer
        trains = feedforward(spikes, layers, t_max=settings.t_max, max_spikes=enough)
        figure = plots.activity(spikes, trains, layers, settings.t_max)
    else:
        after = network_arrays(layers)
        before = {name.removeprefix("before/"): value for name, value in results.items() if name.startswith("before/")}
        moved = [name for name in after if np.ptp(before[name]) or np.any(after[name] != before[name])]
        figure = plots.parameter_histograms(
            {name: before[name] for name in moved}, {name: after[name] for name in moved}
        )
    figure.savefig(command.out or command.run / f"{what}.png")


def _similarity(command: Any, settings: Recipe, sets: tuple[Examples, Examples], surrogates: Sequence[str]) -> None:
    from offprint.forward_propagation import plots
    from offprint.forward_propagation.experiments._similarity import similarities

    networks = {name: on_grid(settings, command, name) for name in surrogates}
    key, points = jax.random.key(command.data.seed), min(6, settings.epochs)
    _, epochs, found = similarities(settings, *sets, key, networks, points=points)
    rows = [
        {"update": name, **{f"layer {layer}": float(value) for layer, value in enumerate(values.mean(0), 1)}}
        for name, values in found.items()
    ]
    print_table("cosine with the exact gradient, mean over the training", rows)
    plots.update_similarity(found, epochs).savefig(command.similarity)


def _encoded(x: Any, settings: Recipe, config: dict[str, Any]) -> SpikeTrain:
    """Features as input spikes, in the range and precision of the run."""
    return settings.encoding(np.asarray(x, config["dtype"]), np.array(config["low"]), np.array(config["high"]))


def _first_times(layers: Sequence[LayerParams], settings: Recipe, x: Any, config: dict[str, Any]) -> np.ndarray:
    """First spike times (samples, outputs) of a trained network, those of silent outputs at the horizon."""

    @jax.jit
    def outputs(layers: Sequence[LayerParams], spikes: SpikeTrain) -> Any:
        def one(train: SpikeTrain) -> Any:
            last = feedforward(train, layers, t_max=settings.t_max, max_spikes=settings.max_spikes)[-1]
            return first_spike(last, settings.t_max)

        return jax.vmap(one)(spikes)

    with jax.enable_x64(True) if config["dtype"] == "float64" else nullcontext():
        layers = jax.tree.map(lambda leaf: jnp.asarray(leaf, config["dtype"]), list(layers))
        parts = [x[start : start + 500] for start in range(0, len(x), 500)]
        return np.concatenate([np.asarray(outputs(layers, _encoded(part, settings, config))) for part in parts])


def _predictions(times: np.ndarray, settings: Recipe, classes: Sequence[str], truth: Any) -> list[dict[str, Any]]:
    rows = []
    for number, row in enumerate(times):
        known = {} if truth is None else {"label": classes[int(truth[number])]}
        first = {f"t {name}": float(t) if t < settings.t_max else "" for name, t in zip(classes, row)}
        rows.append({"sample": number, **known, "predicted": classes[int(row.argmin())], **first})
    return rows


def _place(classes: Sequence[str], name: str, path: Path) -> int:
    if name not in classes:
        raise UsageError(f"{path}: the label {name!r} is none of the run's classes, {', '.join(classes)}")
    return list(classes).index(name)


def _checksum(task: Task) -> int:
    """To know the data of a run again."""
    checksum = 0
    for part in task.data[1:5]:
        checksum = zlib.crc32(np.ascontiguousarray(part).tobytes(), checksum)
    return checksum
