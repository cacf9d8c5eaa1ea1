"""What the commands of `offprint-magnn` do."""

import dataclasses
import time
from typing import Any

import jax.numpy as jnp
import numpy as np

from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.magnn._command_files import (
    Cell,
    Run,
    ids_of_the_log,
    open_run,
    parse_ids,
    parse_ks,
    read_data,
    read_log,
    split_of,
    start_run,
    write_config,
)
from offprint.magnn._command_training import (
    TITLES,
    Stopped,
    Trained,
    measure,
    num_parameters,
    train_config,
    train_model,
)
from offprint.magnn._export import export_vectors
from offprint.magnn._metrics import METRICS, RankingMetrics
from offprint.magnn._model import MAGNN, Explanation
from offprint.magnn._prepare import prepare
from offprint.magnn._recommend import Recommendations, recommend, recommend_history
from offprint.magnn._sequences import Sequences
from offprint.magnn._storage import save_model
from offprint.magnn._windows import Batch, gather, last_windows, windows
from offprint.magnn.baselines import Popularity

__all__ = ["Stopped", "compare", "evaluate_run", "explain", "export", "prepare_log", "recommend_items", "train"]

IMAGES = (".png", ".pdf", ".svg")
SHOWN = 20
"""Rows of a long table that are printed."""


def prepare_log(command: Any) -> None:
    """Sequences of a log."""
    check_output(command.out, (".npz",))
    log = read_log(command.log, command.delimiter, {n: getattr(command, n) for n in ("user", "item", "time", "rating")})
    options = ("min_rating", "min_user", "min_item", "iterative", "dedup", "preset", "min_length", "strict")
    sequences = prepare(log, **{name: getattr(command, name) for name in options}, rating_scale=command.rating_scale)
    steps = [] if sequences.report is None else sequences.report.steps
    rows: list[dict[str, Cell]] = [{"after": s.name, **dataclasses.asdict(s)} for s in steps]
    for row in rows:
        del row["name"]
    lengths = sequences.lengths
    print_table("", rows)
    print_table(f"items of a user: {lengths.min()} to {lengths.max()}, median {np.median(lengths):g}", [])
    sequences.save(command.out)


def train(command: Any) -> None:
    """One model in a run folder."""
    check_output(command.plot, IMAGES)
    settings, name = dataclasses.asdict(command.settings), command.model
    train_config(settings)  # its errors come before the folder is made
    sequences = read_data(command.data)
    split = split_of(sequences, settings["test"], settings["val"], settings["leave_last"])
    known = split.train if settings["protocol"] == "select" else split.train_val
    if name not in ("pop", "bprmf"):
        windows(known, settings["L"], settings["T"], settings["max_long"])  # its errors, too
    config = {"model": name, "data": command.data, "settings": settings}
    start_run(command.out, config, sequences)
    found = train_model(name, settings, split, settings["seed"], command.out)
    rows = [row for row in found.history if len(row) > 3] or found.history[-1:]
    print_table(_title(name, settings, found, known), [_rounded(row) for row in rows])
    if found.history:
        write_rows(command.out / "history.csv", found.history)
    save_model(found.model, command.out / "model.npz")
    write_config(command.out, config | {"epoch": found.epoch})
    if command.plot is not None:
        _draw_history(command.plot, {TITLES[name]: [found.history]})


def evaluate_run(command: Any) -> None:
    """Metrics of a run, and those of popularity."""
    check_output(command.out, (".csv",))
    check_output(command.per_user, (".csv",))
    ks, run = parse_ks(command.ks), open_run(command.run)
    split, selected = run.split(), run.config["settings"]["protocol"] == "select"
    if command.part == "val" and not selected:
        raise UsageError(
            f"the run in {command.run} was trained on the validation part too; evaluate it on the test part"
        )
    name = TITLES[run.config["model"]]
    found = {name: measure(run.model, split, ks, command.part)}
    if not isinstance(run.model, Popularity):
        counted = Popularity(split.train if selected else split.train_val)  # what the run was trained on
        found[TITLES["pop"]] = measure(counted, split, ks, command.part)
    rows = [row for model, metrics in found.items() for row in _by_k({"model": model}, metrics)]
    print_table(f"{command.part} part, {_users(found[name], run.sequences)}, all unseen items ranked", rows)
    write_rows(command.out, rows)
    if command.per_user is not None:
        metrics = found[name]
        users = run.sequences.external_users(metrics.users)
        columns = {"user": users} | {f"{m}@{k}": metrics.per_user[m][k] for m in METRICS for k in ks}
        write_rows(command.per_user, ({c: values[i] for c, values in columns.items()} for i in range(len(users))))


def recommend_items(command: Any) -> None:
    """Lists for some users, everybody, or somebody new."""
    check_output(command.out, (".csv",))
    if command.history is not None and command.user:
        raise UsageError("--user ranks for users of the log, --history for somebody new; give one of them")
    if command.history is None and not command.user and command.out is None:
        raise UsageError("whose list? Give --user ID, --history 3,5,9, or --out top.csv for all users")
    run = open_run(command.run)
    found = _lists(run, command.user, command.history, command.k, exclude_seen=not command.include_seen)
    rows: list[dict[str, Cell]] = [
        {"user": str(user), "rank": rank, "item": str(item), "score": float(score)}
        for user, items, scores in zip(*found.external(run.sequences))
        for rank, (item, score) in enumerate(zip(items, scores), start=1)
    ]
    title = (
        f"{TITLES[run.config['model']]}, {command.k} items for {len(found.users)} user{'s' * (len(found.users) != 1)}"
    )
    if command.history is not None:
        rows = [{name: cell for name, cell in row.items() if name != "user"} for row in rows]
        title = f"{TITLES[run.config['model']]}, {command.k} items for somebody new"
    print_table(title + (f", the first {SHOWN} rows" if len(rows) > SHOWN else ""), rows[:SHOWN])
    write_rows(command.out, rows)


def compare(command: Any) -> None:
    """Several models on one split."""
    check_output(command.out, (".csv",))
    check_output(command.plot, IMAGES)
    names, ks = [name.strip() for name in command.models.split(",")], parse_ks(command.ks)
    if unknown := [name for name in names if name not in TITLES]:
        raise UsageError(f"--models: {unknown[0]!r} is unknown; there are {', '.join(TITLES)}")
    if command.seeds < 1:
        raise UsageError(f"--seeds {command.seeds}: at least 1 is needed")
    settings = dataclasses.asdict(command.settings)
    split = split_of(read_data(command.data), settings["test"], settings["val"], settings["leave_last"])
    results: dict[str, list[RankingMetrics]] = {}
    shown: list[dict[str, Cell]] = []
    rows: list[dict[str, Any]] = []
    for name in names:
        for seed in range(settings["seed"], settings["seed"] + (1 if name == "pop" else command.seeds)):
            start = time.perf_counter()
            trained = train_model(name, settings, split, seed)
            seconds = time.perf_counter() - start
            metrics = measure(trained.model, split, ks)
            results.setdefault(TITLES[name], []).append(metrics)
            facts: dict[str, Any] = {"model": TITLES[name], "seed": seed, "epoch": trained.epoch or 0}
            facts |= {"parameters": num_parameters(trained.model), "seconds": seconds}
            k = 10 if 10 in ks else ks[-1]
            shown.append(facts | {f"{m}@{k}": getattr(metrics, m)[k] for m in METRICS})
            rows.append(facts | metrics.as_dict())
    first = next(iter(results.values()))[0]
    print_table(
        f"test part, {_users(first, split.test)}, all unseen items ranked; protocol {settings['protocol']}", shown
    )
    write_rows(command.out, rows)
    if command.plot is not None:
        from offprint.magnn import plots

        plots.metric_by_k(results).savefig(command.plot)


def explain(command: Any) -> None:
    """The terms of a list's scores, and the inner weights."""
    check_output(command.out, (".csv",))
    check_output(command.plot, IMAGES)
    if (command.user is None) == (command.history is None):
        raise UsageError("whose list? Give either --user ID or --history 3,5,9")
    run = open_run(command.run)
    if not isinstance(run.model, MAGNN):
        raise UsageError(f"the run in {command.run} is {TITLES[run.config['model']]}; only MA-GNN has these parts")
    lists = _lists(run, () if command.user is None else (command.user,), command.history, command.k)
    batch = _input(run, int(lists.users[0]), command.history)
    found = run.model.explain(batch.users, batch.short, batch.long)
    names = run.sequences.external_items(lists.items[0])
    terms = ("user", "interest", "cooccurrence", "bias")
    rows: list[dict[str, Cell]] = [
        {"item": str(name), "score": float(found.score[0, item])}
        | {term: float(getattr(found, term)[0, item]) for term in terms}
        for name, item in zip(names, lists.items[0])
    ]
    print_table("a score is the sum of its terms", rows)
    write_rows(command.out, rows)
    _print_inner(run, batch, found)
    if command.plot is not None:
        if run.model.K is None:
            raise UsageError("--plot draws the memory, which this model does not have")
        from offprint.magnn import plots

        items = np.concatenate([batch.long[0], batch.short[0]])
        items = items[items >= 0][-12:]
        weights = run.model.memory_weights(items)
        plots.memory_attention(weights, run.sequences.external_items(items).tolist()).savefig(command.plot)


def export(command: Any) -> None:
    """Vectors of a run, from all that is known."""
    check_output(command.out, (".npz",))
    run = open_run(command.run)
    vectors = export_vectors(run.model, run.sequences, command.out)
    shapes: list[dict[str, Cell]] = [
        {"array": field.name, "shape": str(getattr(vectors, field.name).shape)} for field in dataclasses.fields(vectors)
    ]
    print_table("scores are users @ items.T + bias", shapes)


def _lists(
    run: Run, users: tuple[str, ...], history: str | None, k: int, *, exclude_seen: bool = True
) -> Recommendations:
    sequences = run.sequences
    with ids_of_the_log():
        if history is not None:
            items = parse_ids("--history", history.split(","), sequences.item_ids)
            return recommend_history(run.model, items, k=k, sequences=sequences, exclude_seen=exclude_seen)
        wanted = parse_ids("--user", users, sequences.user_ids) if users else None
        return recommend(run.model, sequences, k, users=wanted, exclude_seen=exclude_seen)


def _input(run: Run, user: int, history: str | None) -> Batch:
    """What the model looks at: the last items of a user, or of a history; user -1 is somebody unknown."""
    sequences, row = run.sequences, user
    if history is not None:
        items = run.sequences.item_index(parse_ids("--history", history.split(","), run.sequences.item_ids))
        sequences, row = Sequences.from_lists([items], run.sequences.num_items), 0
    windows = last_windows(sequences, run.model.L, run.model.max_long)
    return gather(sequences, windows, np.array([row]))._replace(users=jnp.array([user], jnp.int32))


def _print_inner(run: Run, batch: Batch, found: Explanation) -> None:
    if found.gate is not None:
        gate = np.asarray(found.gate[0])
        title = f"gate: {gate.mean():.3f} of the interest is short-term, {gate.min():.3f} to {gate.max():.3f}"
        print_table(f"{title} over the {len(gate)} dimensions", [])
    if found.attention is not None:
        items, weights = np.asarray(batch.long[0]), np.asarray(found.attention[0]).mean(axis=1)
        best = [i for i in np.argsort(-weights, kind="stable")[:10] if items[i] >= 0]
        names = run.sequences.external_items(np.maximum(items, 0))
        rows: list[dict[str, Cell]] = [
            {
                "earlier item": str(names[i]),
                "items ago": len(items) - int(i) + batch.short.shape[1],
                "mean attention": float(weights[i]),
            }
            for i in best
        ]
        print_table("attention to earlier items" if rows else "no earlier items", rows)
    if found.memory is not None:
        memory = np.asarray(found.memory[0])
        units = np.argsort(-memory, kind="stable")[:5]
        print_table("memory", [{"unit": int(unit), "weight": float(memory[unit])} for unit in units])


def _by_k(facts: dict[str, Cell], metrics: RankingMetrics) -> list[dict[str, Cell]]:
    return [facts | {"K": k} | {m: getattr(metrics, m)[k] for m in METRICS} for k in metrics.recall]


def _users(metrics: RankingMetrics, everybody: Sequences) -> str:
    without = everybody.num_users - len(metrics.users)
    return f"{len(metrics.users)} users" + (f" ({without} without items there are left out)" if without else "")


def _rounded(row: dict[str, Any]) -> dict[str, Cell]:
    return {name: row[name] for name in row if name != "step"}


def _title(name: str, settings: dict[str, Any], found: Trained, known: Sequences) -> str:
    title = f"{TITLES[name]}: {known.num_users} users, {known.num_items} items"
    if found.epoch is None:
        return f"{title}, {len(known)} interactions counted"
    counts = windows(known, found.model.L, settings["T"], found.model.max_long)
    filled = f" ({counts.num_padded} filled up)" if counts.num_padded else ""
    parameters = f"{num_parameters(found.model)} parameters of epoch {found.epoch}"
    return f"{title}, {len(counts)} windows{filled}; {parameters}"


def _draw_history(path: Any, histories: dict[str, Any]) -> None:
    from offprint.magnn import plots

    rows = next(iter(histories.values()))[0]
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name not in ("epoch", "step")]
    if not names:
        raise UsageError("there is no history to draw: popularity is not trained")
    plots.training_curves(histories, {name: name for name in names}).savefig(path)
