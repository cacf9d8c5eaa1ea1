"""The folders of runs that the program `offprint-network-partitioning` writes and reads."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.data import load_npz
from offprint.core.program import UsageError, write_rows
from offprint.network_partitioning._command_data import Scaling
from offprint.network_partitioning._command_training import Plan, Trained

FORMAT = 1
"""Of a run folder."""
WEIGHTS, CHECKPOINTS = "weights.npz", "checkpoints"


def start(folder: Path, plan: Plan, data: dict[str, Any]) -> None:
    """A folder for a run, or the one of the same run; that of another run is refused."""
    config = json.loads(json.dumps({"format": FORMAT, "plan": asdict(plan), "data": data}))  # as it is read again
    before = read_config(folder)
    if before is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and holds no run; choose another --out")
    if before is None or not (finished(folder) or (folder / CHECKPOINTS).is_dir()):  # nothing to lose
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        return
    if before["data"]["checksum"] != config["data"]["checksum"]:
        raise UsageError(f"the run in {folder} is one on other data, {before['data']['data']}; choose another --out")
    for name, value in config["plan"].items():
        if before["plan"][name] != value:
            raise UsageError(
                f"the run in {folder} has {name} {before['plan'][name]}, not {value}; choose another --out"
            )


def read_config(folder: Path) -> dict[str, Any] | None:
    """What a run was started with; None if there is no run."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if config["format"] == FORMAT and set(config["plan"]) == {one.name for one in fields(Plan)}:
            return config
    except (json.JSONDecodeError, KeyError, TypeError):
        pass
    raise UsageError(f"{path} is not that of a run in format {FORMAT}, which this version reads")


def finished(folder: Path) -> bool:
    """Whether the run has been trained to its end."""
    return (folder / WEIGHTS).is_file()


def save(folder: Path, trained: Trained) -> None:
    """Tables of what was learned, and last the arrays, so that a run is there whole or not at all."""
    steps, curves = trained.steps()
    losses = [
        {k: v for k, v in row.items() if np.ndim(v) == 0 and not k.startswith("hyper/")} for row in trained.history
    ]
    named = [{name: float(values[i]) for name, values in curves.items()} for i in range(len(steps))]
    write_rows(folder / "history.csv", [loss | row for loss, row in zip(losses, named, strict=True)])
    write_rows(
        folder / "hyper.csv", [{"hyperparameter": name, "value": value} for name, value in trained.learned().items()]
    )
    arrays: dict[str, Any] = {f"scaling/{name}": value for name, value in trained.scaling._asdict().items()}
    for group in ("params", "hyper"):
        arrays |= {f"{group}/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(getattr(trained, group)))}
    if trained.matrix is not None:
        arrays |= {"matrix": trained.matrix, "log_marginal": trained.log_marginal}
    history: dict[str, list[Any]] = {}
    for row in trained.history:
        for name in trained.history[0]:
            history.setdefault(name, []).append(np.asarray(row[name]))
    arrays |= {f"history/{name}": np.stack(values) for name, values in history.items()}
    unfinished = folder / f"writing-{WEIGHTS}"
    np.savez_compressed(unfinished, **arrays)
    unfinished.replace(folder / WEIGHTS)


def load(folder: Path) -> tuple[dict[str, Any], Trained]:
    """The configuration of a run, and what it has learned."""
    config = read_config(folder)
    if config is None:
        raise UsageError(f"{folder} holds no run; fit --out {folder} makes one")
    if not finished(folder):
        raise UsageError(f"the run in {folder} is not finished; start its fit command again to go on")
    settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in config["plan"].items()}
    plan = Plan(**settings)
    arrays, network = load_npz(folder / WEIGHTS), plan.network()
    trees: list[Any] = []
    for group, like in (("params", network.params), ("hyper", network.hyper)):
        leaves = [jnp.asarray(arrays[f"{group}/{i}"]) for i in range(len(jax.tree.leaves(like)))]
        trees.append(jax.tree.unflatten(jax.tree.structure(like), leaves))
    names = [name.removeprefix("history/") for name in arrays if name.startswith("history/")]
    count = len(arrays["history/step"])
    history = [{name: arrays[f"history/{name}"][i] for name in names} for i in range(count)]
    scaling = Scaling(*(arrays[f"scaling/{name}"] for name in Scaling._fields))
    marginal = arrays.get("log_marginal")
    found = Trained(
        plan,
        network,
        trees[0],
        trees[1],
        scaling,
        history,
        arrays.get("matrix"),
        None if marginal is None else float(marginal),
    )
    return config, found
