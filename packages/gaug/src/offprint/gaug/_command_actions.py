"""What the commands of `offprint-gaug` do."""

import shutil
import time
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.core.train import Checkpoint
from offprint.gaug._command_convert import read_tables
from offprint.gaug._command_files import (
    IMAGES,
    Cell,
    fingerprint,
    history_of,
    open_run,
    read_data,
    same_data,
    save_seed,
    start_run,
)
from offprint.gaug._command_training import TITLES, Stopped, check_flags, flags_of, plan_of, train
from offprint.gaug._config import GAugMConfig
from offprint.gaug._edge_fit import fit_edge_predictor
from offprint.gaug._graph import Graph
from offprint.gaug._metrics import edge_ap, edge_auc, homophily, homophily_report, validation_pairs
from offprint.gaug._modify import ModifyReport, modify_graph
from offprint.gaug._scores import edge_scores
from offprint.gaug._tune import tune
from offprint.gaug.data import NodeData, save_npz

__all__ = ["Stopped", "compare", "convert", "fit", "modify", "plot", "tune_settings"]

SAVE_EVERY = 50
"""Epochs between checkpoints of a run."""
SHOWN = 10
"""Trials of a search that are printed."""


def fit(command: Any) -> None:
    """Runs of one method in a run folder."""
    _check_seeds(command)
    check_flags([command.method], command.settings)
    plan = plan_of(command.method, command.classifier, command.settings, command.paper_config)
    given = read_data(command.data, command.scale)
    source = {"data": command.data, "scale": command.scale}
    start_run(command.out, {"plan": plan.as_dict(), "data": fingerprint(given), "source": source})
    for seed in range(command.seed, command.seed + command.seeds):
        path = command.out / f"seed-{seed}.npz"
        if path.is_file():
            continue
        unfinished = command.out / f"seed-{seed}-checkpoints"
        result = train(plan, given, seed, Checkpoint(unfinished, every=SAVE_EVERY, keep=1), progress=True)
        save_seed(path, result, given)
        shutil.rmtree(unfinished, ignore_errors=True)
    _, seeds = open_run(command.out)
    rows = [_row(seed, arrays) for seed, arrays in seeds.items()]
    print_table(f"{plan.title} on {_described(given)}", rows)
    print_table(_summary(rows), [])
    write_rows(command.out / "results.csv", rows)
    write_rows(command.out / "predictions.csv", _predictions(given, [arrays["logits"] for arrays in seeds.values()]))
    first = next(iter(seeds.values()))
    if plan.method in ("m", "adaedge", "gdc"):
        print_table(_change(given, Graph.from_edges(first["edges"], given.graph.num_nodes)), [])


def modify(command: Any) -> None:
    """Change a graph once by the scores of an edge predictor."""
    check_output(command.out, (".npz",))
    check_output(command.edges, (".csv",))
    given = read_data(command.data, command.scale)
    cfg = GAugMConfig(
        0, 0, command.score, command.autoencoder == "vgae", command.draw, command.edge_epochs, command.edge_lr
    )
    usual = {"remove": 0.02, "add": 0.57} if command.units == "fraction" else {"remove": 0, "add": 0}
    asked = {name: getattr(command, name) for name in usual if getattr(command, name) is not None}
    amounts = {**usual, **asked, "score": command.score, "units": command.units}
    modify_graph(given.graph, np.zeros((given.graph.num_nodes, 1)), **amounts)  # its errors come before the training
    key = jax.random.key(command.seed)  # as in fit --method m with this seed
    found = fit_edge_predictor(given.graph, given.x, cfg, key=key, progress=True)
    z = np.asarray(found.z)
    changed, report = modify_graph(given.graph, z, **amounts)
    print_table(_described(given), [])
    print_table(_judged(given.graph, z, command.score), [])
    print_table(_change(given, changed), [])
    save_npz(command.out, replace(given, graph=changed))
    write_rows(command.edges, _edge_rows(given, z, changed, report, command.score))


def compare(command: Any) -> None:
    """Several methods with the same classifier, data and seeds."""
    check_output(command.out, (".csv",))
    check_output(command.plot, IMAGES)
    _check_seeds(command)
    methods = [name.strip() for name in command.methods.split(",")]
    if unknown := [name for name in methods if name not in TITLES]:
        raise UsageError(f"--methods: {unknown[0]!r} is unknown; there are {', '.join(TITLES)}")
    check_flags(methods, command.settings)
    plans = [plan_of(name, command.classifier, command.settings, command.paper_config) for name in methods]
    given = read_data(command.data, command.scale)
    rows: list[dict[str, Cell]] = []
    scores: dict[str, np.ndarray] = {}
    for plan in plans:
        runs = []
        for seed in range(command.seed, command.seed + command.seeds):
            start = time.perf_counter()
            result = train(plan, given, seed, progress=True)
            runs.append((result.val, result.test_at_best, time.perf_counter() - start))
            row: dict[str, Cell] = {"method": TITLES[plan.method], "seed": seed, "val": result.val}
            row |= {"test": result.test_at_best, "best epoch": result.best_epoch, "seconds": runs[-1][2]}
            rows.append(row)
        scores[TITLES[plan.method]] = np.array(runs)
    print_table(
        f"{plans[0].title.split(', ')[1]} on {_described(given)}; test micro-F1 at the best validation epoch",
        [_compared(name, runs) for name, runs in scores.items()],
    )
    write_rows(command.out, rows)
    if command.plot is not None:
        from offprint.gaug import plots

        values = {name: 100 * runs[:, 1] for name, runs in scores.items()}
        plots.bars({"test micro-F1, %": values}).savefig(command.plot)


def tune_settings(command: Any) -> None:
    """Search for settings by the validation score."""
    check_output(command.out, (".csv",))
    check_flags([command.method], command.settings)
    plan = plan_of(command.method, command.classifier, command.settings, command.paper_config)
    given = read_data(command.data, command.scale)
    found = tune(
        lambda rngs: plan.make_models(given, rngs),
        given.graph,
        given.x,
        given.y,
        given.split,
        plan.config,
        key=jax.random.key(command.seed),
        trials=command.trials,
        seeds=command.seeds,
    )
    rows = [{"trial": n, "val": t.val, "test": t.test} | _tuned(t.cfg) for n, t in enumerate(found.trials)]
    best = sorted(rows, key=lambda row: -row["val"])
    print_table(f"{plan.title} on {_described(given)}; chosen by val, test is only told", best[:SHOWN])
    print_table(f"fit --method {plan.method} {flags_of(found.best)}", [])
    write_rows(command.out, rows)


def plot(command: Any) -> None:
    """Figures of a run."""
    check_output(command.out, IMAGES)
    out = command.out or command.run / f"{command.what}.png"
    config, seeds = open_run(command.run)
    title = TITLES[config["plan"]["method"]]
    from offprint.gaug import plots

    if command.what == "curves":
        figure = plots.training_curves({title: [history_of(arrays) for arrays in seeds.values()]})
    else:
        given = _same_data(config, command)
        arrays = next(iter(seeds.values()))
        if command.what == "degrees":
            changed = Graph.from_edges(arrays["edges"], given.graph.num_nodes)
            figure = plots.degree_distribution({"given": given.graph, title: changed})
        elif "z" not in arrays:
            raise UsageError(f"--what scores: {title} has no edge predictor; GAug-M and GAug-O have")
        else:
            pairs, is_edge = validation_pairs(given.graph)
            score = config["plan"]["config"].get("score", "inner")
            scores = np.asarray(edge_scores(arrays["z"], pairs, score))
            figure = plots.score_histograms({f"{score} score": (scores[is_edge], scores[~is_edge])})
    figure.savefig(out)


def convert(command: Any) -> None:
    """One archive of tables or arrays."""
    check_output(command.out, (".npz",))
    given = read_tables(command)
    save_npz(command.out, given)
    print_table(_described(given), [])
    sizes = {name: len(part) for name, part in given.split._asdict().items()}
    print_table(f"{sizes['train']} training, {sizes['val']} validation and {sizes['test']} test nodes", [])


def _check_seeds(command: Any) -> None:
    if command.seeds < 1:
        raise UsageError(f"--seeds {command.seeds}: at least 1 is needed")


def _same_data(config: dict[str, Any], command: Any) -> NodeData:
    name = command.data or config["source"]["data"]
    given = read_data(name, config["source"]["scale"])
    if not same_data(config["data"], fingerprint(given)):
        raise UsageError(f"--data {name} is not what the run in {command.run} was made with; give that")
    return given


def _described(given: NodeData) -> str:
    graph = given.graph
    text = f"{given.name}: {graph.num_nodes} nodes, {graph.num_edges} edges, {given.num_features} features, "
    text += f"{given.num_classes} {'classes' if given.y.ndim == 1 else 'labels'}"
    return text + (f", homophily {float(homophily(graph, given.y)):.3f}" if given.y.ndim == 1 else "")


def _row(seed: int, arrays: dict[str, np.ndarray]) -> dict[str, Cell]:
    return {
        "seed": seed,
        "val": float(arrays["val"]),
        "test": float(arrays["test"]),
        "best epoch": int(arrays["best_epoch"]),
        "epochs": len(arrays["history/val"]),
        "edges": len(arrays["edges"]),
    }


def _percent(values: Any) -> str:
    values = 100 * np.asarray(values, float)
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")


def _summary(rows: list[dict[str, Cell]]) -> str:
    val, test = ([row[name] for row in rows] for name in ("val", "test"))
    seeds = f"{len(rows)} seed{'s' * (len(rows) > 1)}"
    return f"micro-F1 at the best validation epoch, {seeds}: test {_percent(test)} %, validation {_percent(val)} %"


def _compared(name: str, runs: np.ndarray) -> dict[str, Cell]:
    return {
        "method": name,
        "test, %": _percent(runs[:, 1]),
        "validation, %": _percent(runs[:, 0]),
        "seconds": float(runs[:, 2].mean()),
    }


def _predictions(given: NodeData, logits: list[np.ndarray]) -> list[dict[str, Any]]:
    """Of every node, by the mean probabilities of the seeds."""
    if given.y.ndim == 2:
        mean = np.mean([1 / (1 + np.exp(-one)) for one in logits], axis=0)
        return [
            {"node": node, "predicted": " ".join(map(str, np.flatnonzero(row > 0.5))), "confidence": float(row.max())}
            for node, row in enumerate(mean)
        ]
    mean = np.mean([np.asarray(jax.nn.softmax(one, axis=1)) for one in logits], axis=0)
    parts = {int(node): name for name, part in given.split._asdict().items() for node in part}
    return [
        {"node": node, "part": parts.get(node, ""), "label": int(label), "predicted": int(row.argmax())}
        | {"confidence": float(row.max())}
        for node, (label, row) in enumerate(zip(given.y, mean))
    ]


def _change(given: NodeData, changed: Graph) -> str:
    if given.y.ndim == 1:
        return homophily_report(given.graph, changed, given.y)
    return f"{given.graph.num_edges} edges before, {changed.num_edges} after"


def _judged(graph: Graph, z: np.ndarray, score: Any) -> str:
    pairs, is_edge = validation_pairs(graph)
    scores = edge_scores(z, pairs, score)
    auc, ap = float(edge_auc(scores, is_edge)), float(edge_ap(scores, is_edge))
    return f"edge predictor, {len(pairs)} pairs, not hidden from it: ROC-AUC {auc:.3f}, average precision {ap:.3f}"


def _edge_rows(
    given: NodeData, z: np.ndarray, changed: Graph, report: ModifyReport, score: Any
) -> list[dict[str, Any]]:
    """Every edge of the old and the new graph with its score and what became of it."""
    known = {tuple(pair) for pair in report.added.tolist()}
    kept = np.array([pair for pair in changed.edges().tolist() if tuple(pair) not in known], np.int64).reshape(-1, 2)
    parts = {
        "removed": (report.removed, report.removed_scores),
        "added": (report.added, report.added_scores),
        "kept": (kept, np.asarray(edge_scores(z, kept, score))),
    }
    rows = []
    for change, (pairs, scores) in parts.items():
        for (i, j), value in zip(pairs.tolist(), scores.tolist()):
            row = {"source": i, "target": j, "change": change, "score": value}
            if given.y.ndim == 1 and min(given.y[i], given.y[j]) >= 0:
                row["same_class"] = int(given.y[i] == given.y[j])
            rows.append(row)
    return rows


def _tuned(cfg: Any) -> dict[str, Any]:
    names = ("remove", "add", "draw") if isinstance(cfg, GAugMConfig) else (
        "alpha", "beta", "temperature", "pretrain_edge", "pretrain_nodes", "warmup",
    )  # fmt: skip
    return {name: getattr(cfg, name) for name in names}
