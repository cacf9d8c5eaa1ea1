"""The command `sweep`: one network, several methods, sparsities and seeds."""

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.sparsity._apply import apply
from offprint.sparsity._command_files import read_npz
from offprint.sparsity._config import from_config, method_named, read_config
from offprint.sparsity._sparsify import Sparsified, sparsify
from offprint.sparsity._state import masks_of
from offprint.sparsity.data import Split, digits, flat
from offprint.sparsity.methods import Method, OneShot
from offprint.sparsity.methods._dynamic import DropGrow

if TYPE_CHECKING:
    from offprint.sparsity._command import Sweep

DEFAULT = (
    "gmp",
    {"method": "one-shot", "scope": "global"},
    "rigl",
    "set",
    "static",
    {"method": "gmp", "criterion": "random"},
)


def sweep(command: "Sweep") -> None:
    """Train every method at every sparsity, all seeds at once, and print a row for each."""
    methods: Any = DEFAULT
    if command.config is not None:
        command, methods = _configured(command)
    check_output(command.out, (".csv",))
    check_output(command.plot, (".png", ".pdf", ".svg"))
    if command.seeds < 1 or command.steps < 10:
        raise UsageError(f"at least 1 seed and 10 steps are needed; got {command.seeds} and {command.steps}")
    named = {_name(given): given for given in methods}
    made = {
        (name, share): _method(given, share, command.steps)
        for name, given in named.items()
        for share in command.sparsities
    }
    split = _data(command.data)
    dense = _train(optax.adam(command.learning_rate), None, split, command)
    rows = [{"method": "dense", "sparsity": 0.0, "density": 1.0} | _seeds(dense[0])]
    for (name, share), method in made.items():
        accuracy, density = _train(optax.adam(command.learning_rate), method, split, command)
        rows.append({"method": name, "sparsity": share, "density": density} | _seeds(accuracy))
    table = [{key: row[key] for key in ("method", "sparsity", "density", "accuracy", "sd")} for row in rows]
    print_table(f"test accuracy, %, mean and deviation of {command.seeds} seeds; {command.steps} steps", table)
    write_rows(command.out, rows)
    if command.plot is not None:
        _draw(rows, command.plot)


def _configured(command: "Sweep") -> tuple["Sweep", Any]:
    """The command with the settings of the file, and the methods."""
    assert command.config is not None
    config = read_config(command.config)
    methods = config.pop("methods", None)
    if not methods or isinstance(methods, str):
        raise UsageError(f"{command.config} needs a list `methods`: names, or mappings as for from_config")
    fields = {field.name: field.type for field in dataclasses.fields(command) if field.name != "config"}
    for name in config:
        if name not in fields:
            raise UsageError(f"{command.config}: unknown setting {name!r}; there are methods, {', '.join(fields)}")
    paths = {name: Path(config[name]) for name in ("data", "out", "plot") if name in config}
    lists = {name: tuple(config[name]) for name in ("sparsities", "hidden") if name in config}
    return replace(command, **{**config, **paths, **lists}), methods


def _name(given: str | Mapping[str, Any]) -> str:
    if isinstance(given, str):
        return given
    rest = [str(value) for key, value in given.items() if key not in ("method", "algorithm", "name")]
    return str(given.get("name") or " ".join([str(given.get("method") or given.get("algorithm")), *rest]))


def _method(given: str | Mapping[str, Any], sparsity: float, steps: int) -> Method:
    """The method at a sparsity, with a schedule that fits the number of steps where the file gives none."""
    settings = (
        {"method": given} if isinstance(given, str) else {key: value for key, value in given.items() if key != "name"}
    )
    kind, _ = method_named(str(settings.get("method") or settings.get("algorithm")))
    fields = {field.name for field in dataclasses.fields(kind)}
    if "sparsity" not in fields:
        raise UsageError(f"{kind.__name__} has no sparsity to sweep")
    schedule: dict[str, Any] = {}
    if issubclass(kind, DropGrow):
        schedule = {"every": max(1, steps // 20), "steps": steps}
    elif kind is OneShot:
        schedule = {"at": steps // 2}
    elif "end" in fields:
        schedule = {"begin": steps // 10, "end": steps * 7 // 10, "every": max(1, steps // 20)}
    return from_config(
        {**{key: value for key, value in schedule.items() if key in fields}, **settings, "sparsity": sparsity}
    )


def _data(path: Path | None) -> Split:
    if path is None:
        return flat(digits())
    arrays = read_npz(path)
    if "x" not in arrays or "y" not in arrays:
        raise UsageError(f"{path} must have the arrays x and y; it has {', '.join(arrays)}")
    x, y = arrays["x"].reshape(len(arrays["x"]), -1).astype(np.float32), arrays["y"]
    if len(x) != len(y) or not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise UsageError(f"{path}: y must be whole numbers from 0, one for each of the {len(x)} rows of x")
    if "test_x" in arrays:
        test_x = arrays["test_x"].reshape(len(arrays["test_x"]), -1).astype(np.float32)
        return Split(x, y, test_x, arrays["test_y"])
    order = np.random.default_rng(0).permutation(len(x))
    train, test = np.split(order, [len(x) * 4 // 5])
    return Split(x[train], y[train], x[test], y[test])


def _init(key: Array, sizes: tuple[int, ...]) -> PyTree:
    keys = jax.random.split(key, len(sizes) - 1)
    init = jax.nn.initializers.he_normal()
    return [
        {"kernel": init(key, (inputs, outputs)), "bias": jnp.zeros(outputs)}
        for key, inputs, outputs in zip(keys, sizes[:-1], sizes[1:])
    ]


def _logits(params: PyTree, x: Array) -> Array:
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x @ last["kernel"] + last["bias"]


def _train(
    inner: optax.GradientTransformation, method: Method | None, split: Split, command: "Sweep"
) -> tuple[np.ndarray, float]:
    """Test accuracy of every seed in percent, and the density of the kernels."""
    x, y, test_x, test_y = (jnp.asarray(array) for array in split)
    sizes = (x.shape[1], *command.hidden, int(max(y.max(), test_y.max())) + 1)
    size = min(command.batch_size, len(x))

    def one(key: Array) -> tuple[Array, Array]:
        params = _init(key, sizes)
        # A key for each seed, or random masks would be the same in all of them.
        tx: Any = inner if method is None else sparsify(inner, method, key=jax.random.fold_in(key, 2))
        state = tx.init(params)
        if isinstance(tx, Sparsified):
            params = apply(params, masks_of(state))

        def loss(params: PyTree, chosen: Array) -> Array:
            logits = _logits(params, x[chosen])
            return optax.softmax_cross_entropy_with_integer_labels(logits, y[chosen]).mean()

        def step(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], None]:
            params, state = carry
            chosen = jax.random.randint(key, (size,), 0, len(x))
            updates, state = tx.update(jax.grad(loss)(params, chosen), state, params)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(jax.random.fold_in(key, 1), command.steps)
        (params, state), _ = jax.lax.scan(step, (params, state), keys)
        kernels = [layer["kernel"] for layer in params]
        density = sum(jnp.sum(w != 0) for w in kernels) / sum(w.size for w in kernels)
        return 100 * jnp.mean(_logits(params, test_x).argmax(-1) == test_y), density

    # The counter of steps starts inside, so it is not batched, and masks change at their steps only.
    accuracy, density = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), command.seeds))
    if not np.isfinite(accuracy).all():
        raise FloatingPointError("the training broke off: numbers are no longer finite; try a smaller --learning-rate")
    return np.asarray(accuracy), float(density.mean())


def _seeds(accuracy: np.ndarray) -> dict[str, Any]:
    each = {f"seed {number}": float(value) for number, value in enumerate(accuracy)}
    return {"accuracy": float(accuracy.mean()), "sd": float(accuracy.std(ddof=min(1, len(accuracy) - 1))), **each}


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    from offprint.sparsity.plots import tradeoff

    curves = {}
    for name in dict.fromkeys(row["method"] for row in rows[1:]):
        chosen = [row for row in rows if row["method"] == name]
        values = [[value for key, value in row.items() if key.startswith("seed ")] for row in chosen]
        curves[name] = ([row["sparsity"] for row in chosen], values)
    tradeoff(curves, dense=rows[0]["accuracy"]).savefig(path)
