"""What the commands of `offprint-federated-mlo` do."""

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.federated_mlo import _command_runs as runs
from offprint.federated_mlo._actions import masks_from_actions
from offprint.federated_mlo._command_networks import Setup, build
from offprint.federated_mlo._command_validate import checks
from offprint.federated_mlo._metrics import jain
from offprint.federated_mlo._oracle import greedy_coloring, local_search, log_rate, min_rate, optimum, sum_rate
from offprint.federated_mlo._protocol import method
from offprint.federated_mlo._run import run

IMAGES = (".png", ".pdf", ".svg")
_CRITERIA = {"maxmin": min_rate, "sum": sum_rate, "pf": log_rate}


class Failed(Exception):
    """A validation that does not hold."""


def train(command: Any) -> None:
    """Every method on one network, in a run folder."""
    if command.steps < 1 or command.seeds < 1:
        raise UsageError(f"--steps {command.steps} --seeds {command.seeds}: at least 1 of each is needed")
    if not command.window > 0:
        raise UsageError(f"--window {command.window}: a positive number of seconds is needed")
    site = build(command.network, window_s=command.window)
    methods = tuple(dict.fromkeys(command.methods))
    for name in methods:  # a wrong name is told before any work
        if not name.startswith(("oracle_", "best_", "greedy_")):
            method(name, site.env, site.params, command.steps)
    runs.start(command.out, runs.settings(command, methods), site)
    if not runs.finished(command.out):
        key = jax.random.key(command.seed)
        with warnings.catch_warnings():  # told once by the program, not for each of its runs
            found = {name: _history(name, site, command, key) for name in methods}
        runs.save(command.out, site, found)
    found = runs.load(command.out)
    best = runs.optimum(command.out)
    title = f"{site.name}: {site.env.num_bss} BSSs, {site.env.num_links} links; {command.steps} steps, "
    title += f"{command.seeds} seed{'s' * (command.seeds > 1)}; throughputs in Mb/s over the last fifth"
    print_table(title, [_summary(name, values, best) for name, values in found.items()])
    if best is not None:
        print_table(f"largest smallest throughput of any allocation: {best:.1f} Mb/s", [])


def _history(name: str, site: Setup, command: Any, key: Any) -> dict[str, np.ndarray]:
    env, agent, frl = method(name, site.env, site.params, command.steps)
    history = run(key, env, site.params, agent, frl, command.steps, num_seeds=command.seeds)
    return {field: np.asarray(getattr(history, field)) for field in runs.FIELDS}


def _summary(name: str, values: Mapping[str, np.ndarray], best: float | None) -> dict[str, Any]:
    least = values["inst_min"]
    row: dict[str, Any] = {"method": name, "smallest": f"{least.mean():.1f} ± {least.std():.1f}"}
    if best:
        row["of optimum"] = f"{100 * least.mean() / best:.1f} %"
    row["of means"] = f"{values['mean_min'].mean():.1f}"
    row["Jain"] = f"{values['jain'].mean():.3f}"
    row["sum"] = f"{values['throughput'].sum(axis=1).mean():.0f}"
    row["kB sent"] = f"{(values['bytes_up'] + values['bytes_down']).mean() / 1000:.1f}"
    return row


def plot(command: Any) -> None:
    """Figures of a run."""
    check_output(command.out, IMAGES)
    found = runs.load(command.run)
    out = command.out or command.run / f"{command.what}.png"
    _DRAW[command.what](command.run, found).savefig(out)
    print_table(f"{out}", [])


def _curves_figure(folder: Any, found: runs.Found) -> Any:
    from offprint.federated_mlo import plots

    best = runs.optimum(folder)
    curves = {name: (values["curve_steps"], values["curve_min"]) for name, values in found.items()}
    return plots.learning_curves({"": curves}, optimum=None if best is None else {"": best})


def _cdf_figure(folder: Any, found: runs.Found) -> Any:
    from offprint.federated_mlo import plots

    return plots.throughput_cdf({"": {name: values["throughput"] for name, values in found.items()}})


def _fairness_figure(folder: Any, found: runs.Found) -> Any:
    from offprint.federated_mlo import plots

    label, name = "smallest throughput, Mb/s", runs.config(folder)["network"]["name"]
    least = {name: {m: values["inst_min"] for m, values in found.items()}}
    best = runs.optimum(folder)
    panels = {label: least, "Jain's index": {name: {m: values["jain"] for m, values in found.items()}}}
    return plots.fairness_bars(panels, lines=None if best is None else {label: best})


def _actions_figure(folder: Any, found: runs.Found) -> Any:
    from offprint.federated_mlo import plots

    links = runs.network(folder)["adj"].shape[0]
    counts = {name: values["action_counts"].sum(axis=0).astype(float) for name, values in found.items()}
    return plots.action_heat_map(counts, links)


def _map_figure(folder: Any, found: runs.Found) -> Any:
    from offprint.federated_mlo import plots

    arrays = runs.network(folder)
    links = arrays["adj"].shape[0]
    masks = {name: np.asarray(masks_from_actions(values["actions"][0], links)) for name, values in found.items()}
    return plots.topology_map(arrays["adj"], masks, ap=arrays.get("ap"), sta=arrays.get("sta"))


_DRAW = {
    "curves": _curves_figure,
    "cdf": _cdf_figure,
    "fairness": _fairness_figure,
    "actions": _actions_figure,
    "map": _map_figure,
}


def oracle(command: Any) -> None:
    """The best allocation, and what it changes."""
    check_output(command.out, (".csv", ".npz"))
    check_output(command.plot, IMAGES)
    if command.network.model == "dcf":
        raise UsageError("--model dcf: a simulation over time cannot be searched; ctmn, bianchi, airtime and bethe can")
    site = build(command.network)
    game, model = site.params.topology, site.env.model
    if command.search == "local_search":
        found = local_search(game, _CRITERIA[command.objective], model, key=jax.random.key(command.seed))
    else:
        found = optimum(game, _CRITERIA[command.objective], model)
    best = "best" if command.search == "exhaustive" else "best known"
    allocations = {
        best: np.asarray(found.actions),
        "all on": np.full(site.env.num_bss, site.env.num_actions - 1),
        "coloured": greedy_coloring(site.topology),
    }
    masks = {name: np.asarray(masks_from_actions(a, site.env.num_links)) for name, a in allocations.items()}
    rates = {name: np.asarray(site.env.throughput(site.params, jnp.asarray(mask))[0]) for name, mask in masks.items()}
    rows = [_bss_row(b, site, masks, rates) for b in range(site.env.num_bss)]
    print_table(f"{site.name}: links (0 to {site.env.num_links - 1}) and throughput in Mb/s", rows)
    totals = [_allocation_row(name, x) for name, x in rates.items()]
    print_table("", totals)
    _write(command.out, site, rows, masks, rates)
    if command.plot is not None:
        from offprint.federated_mlo import plots

        topology = site.topology
        places = {
            name: None if xy is None else np.asarray(xy) for name, xy in (("ap", topology.ap), ("sta", topology.sta))
        }
        figure = plots.topology_map(np.asarray(topology.adj), masks, throughput=rates, **places)
        figure.savefig(command.plot)


def _bss_row(b: int, site: Setup, masks: Mapping[str, np.ndarray], rates: Mapping[str, np.ndarray]) -> dict[str, Any]:
    row: dict[str, Any] = {"BSS": site.names[b]}
    for name, mask in masks.items():
        row[f"{name}: links"] = " ".join(str(n) for n in np.flatnonzero(mask[b] & site.usable[b])) or "-"
        row[f"{name}: Mb/s"] = float(rates[name][b])
    return row


def _allocation_row(name: str, x: np.ndarray) -> dict[str, Any]:
    return {"allocation": name, "smallest": float(x.min()), "sum": float(x.sum()), "Jain": float(jain(x))}


def _write(out: Any, site: Setup, rows: list[dict[str, Any]], masks: Any, rates: Any) -> None:
    if out is None:
        return
    if out.suffix == ".csv":
        write_rows(out, rows)
        return
    arrays: dict[str, Any] = {f"mask/{name}": mask for name, mask in masks.items()}
    arrays |= {f"throughput/{name}": x for name, x in rates.items()}
    np.savez_compressed(out, names=np.array(site.names), **arrays)


def validate(command: Any) -> None:
    """The channel models against numbers that are known."""
    check_output(command.out, (".csv",))
    if command.events < 1:
        raise UsageError(f"--events {command.events}: at least 1 is needed")
    rows = [check.row() for check in checks(command.events, jax.random.key(command.seed))]
    print_table("largest difference between two ways to the same number", rows)
    write_rows(command.out, rows)
    failed = [row["what"] for row in rows if row["holds"] != "yes"]
    if failed:
        raise Failed(f"{len(failed)} of {len(rows)} comparisons fail: {'; '.join(failed)}")


def flower_app(command: Any) -> None:
    """A Flower app in a new folder."""
    flower = _flower()
    if command.steps < 1:
        raise UsageError(f"--steps {command.steps}: at least 1 is needed")
    site = build(command.network)
    flower.write_app(command.out, site, command.method, command.steps, command.measured, command.seed)
    print_table(f"{command.out} is an app for {site.env.num_bss} nodes. To start it:", [])
    for line in flower.how_to_start(command.out, site, command.measured):
        print_table(line, [])


def flower_local(command: Any) -> None:
    """An app with all its nodes in this process."""
    flower = _flower()
    check_output(command.out, (".npz",))
    result, names, num_links = flower.rehearse(command.app, command.radio)
    print_table(f"after {len(result.actions)} steps", flower.summary(result, names, num_links))
    if command.out is not None:
        np.savez_compressed(command.out, throughput=result.throughput, actions=result.actions)


def _flower() -> Any:
    try:
        from offprint.federated_mlo import _command_flower
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("flwr"):
            raise
        raise UsageError('Flower is not installed: pip install "offprint-federated-mlo[flower]"') from None
    return _command_flower
