"""The folders of runs that the program `offprint-federated-mlo` writes and reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from offprint.core.data import load_npz
from offprint.core.program import UsageError, write_rows
from offprint.federated_mlo import plots
from offprint.federated_mlo._command_networks import Setup

FORMAT = 1
"""Of a run folder."""
RESULTS = "results.npz"
FIELDS = (
    "throughput",
    "inst_min",
    "mean_min",
    "jain",
    "curve_min",
    "curve_sum",
    "curve_steps",
    "actions",
    "action_counts",
    "switch_rate",
    "bytes_up",
    "bytes_down",
)
"""Of a `History`, what is kept."""
Found = dict[str, dict[str, np.ndarray]]
"""Arrays of every method."""


def settings(command: Any, methods: tuple[str, ...]) -> dict[str, Any]:
    """What decides the results of a run."""
    return {
        "methods": list(methods),
        "steps": command.steps,
        "seeds": command.seeds,
        "seed": command.seed,
        "window": command.window,
    }


def start(folder: Path, given: dict[str, Any], site: Setup) -> None:
    """A folder for a run, or the one of the same run; that of another is refused."""
    wanted = {"format": FORMAT, "run": given, "network": site.settings | {"name": site.name, "checksum": site.checksum}}
    wanted = json.loads(json.dumps(wanted))  # as it is read again
    path = folder / "config.json"
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there and holds no run; choose another --out")
    elif finished(folder):
        before = config(folder)
        for part in ("network", "run"):
            for name, value in wanted[part].items():
                if before[part].get(name) != value:
                    raise UsageError(
                        f"the run in {folder} has {name} {before[part].get(name)}, not {value}; choose another --out"
                    )
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def config(folder: Path) -> dict[str, Any]:
    """What a run was started with."""
    path = folder / "config.json"
    if not path.is_file():
        raise UsageError(f"{folder} holds no run; run --out {folder} makes one")
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] == FORMAT and {"run", "network"} <= found.keys():
            return found
    except (json.JSONDecodeError, KeyError, TypeError):
        pass
    raise UsageError(f"{path} is not that of a run in format {FORMAT}, which this version reads")


def finished(folder: Path) -> bool:
    """Whether the results are there."""
    return (folder / RESULTS).is_file()


def save(folder: Path, site: Setup, found: Found) -> None:
    """Tables, and last the arrays, so that a run is there whole or not at all."""
    names = [f"Mb/s of {name}" for name in site.names]
    links = plots.action_names(site.env.num_links)
    rows: list[dict[str, Any]] = []
    for method, values in found.items():
        for seed, x in enumerate(values["throughput"]):
            row: dict[str, Any] = {"method": method, "seed": seed}
            for field in ("inst_min", "mean_min", "jain", "switch_rate", "bytes_up", "bytes_down"):
                row[field] = float(values[field][seed])
            row |= {name: float(value) for name, value in zip(names, x)}
            row |= {f"links of {name}": links[a] for name, a in zip(site.names, values["actions"][seed])}
            rows.append(row)
    numbers = [name for name in rows[0] if isinstance(rows[0][name], float)]
    summary = []
    for method in found:
        own = [row for row in rows if row["method"] == method]
        summary.append({"method": method} | {name: float(np.mean([row[name] for row in own])) for name in numbers})
    write_rows(folder / "summary.csv", summary)
    write_rows(folder / "runs.csv", rows)
    arrays: dict[str, Any] = {f"network/{name}": value for name, value in site.arrays().items()}
    arrays |= {f"{method}/{field}": array for method, values in found.items() for field, array in values.items()}
    unfinished = folder / f"writing-{RESULTS}"
    np.savez_compressed(unfinished, **arrays)
    unfinished.replace(folder / RESULTS)


def load(folder: Path) -> Found:
    """The arrays of every method of a finished run."""
    arrays = _arrays(folder)
    methods = config(folder)["run"]["methods"]
    return {name: {field: arrays[f"{name}/{field}"] for field in FIELDS} for name in methods}


def network(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the network of a finished run."""
    parts = {name.removeprefix("network/"): a for name, a in _arrays(folder).items() if name.startswith("network/")}
    return parts


def optimum(folder: Path) -> float | None:
    """The largest smallest throughput of any allocation, Mb/s, where it is known."""
    value = network(folder).get("optimum")
    return None if value is None else float(value)


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    if not finished(folder):
        config(folder)
        raise UsageError(f"the run in {folder} is not finished; start its run command again")
    return load_npz(folder / RESULTS)
