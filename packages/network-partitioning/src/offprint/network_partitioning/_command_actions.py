"""What the commands of `offprint-network-partitioning` do."""

import shutil
import time
from typing import Any

import jax
import numpy as np

from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.core.train import Checkpoint
from offprint.network_partitioning import _command_runs as runs
from offprint.network_partitioning._command_data import Examples, class_numbers, fingerprint, read
from offprint.network_partitioning._command_training import SAVE_EVERY, Trained, methods_for, plan_of, train
from offprint.network_partitioning._hyper import AffineAugmentation
from offprint.network_partitioning._shards import assign_shards

IMAGES = (".png", ".pdf", ".svg")
SHOWN = 30
"""Hyperparameters that are printed."""


def fit(command: Any) -> None:
    """One run in a run folder."""
    given = _read(command.source)
    plan = plan_of(command.method, command.settings, given, command.seed)
    source = command.source
    data = {"data": source.data, "target": source.target, "groups": source.groups, "task": source.task}
    runs.start(command.out, plan, data | {"checksum": fingerprint(given)})
    if not runs.finished(command.out):
        unfinished = command.out / runs.CHECKPOINTS
        trained = train(plan, given, Checkpoint(unfinished, every=SAVE_EVERY, keep=1), progress=True)
        runs.save(command.out, trained)
        shutil.rmtree(unfinished, ignore_errors=True)
    _, trained = runs.load(command.out)
    last = {name: float(v) for name, v in trained.history[-1].items() if not name.startswith("hyper/")}
    print_table(f"{plan.method} on {_described(given)}", [{"step": int(last.pop("step"))} | last])
    learned = trained.learned()
    print_table("learned" if learned else "", [{"": n, "value": v} for n, v in list(learned.items())[:SHOWN]])
    if len(learned) > SHOWN:
        print_table(f"and {len(learned) - SHOWN} more in {command.out / 'hyper.csv'}", [])
    if trained.matrix is not None:
        print_table("NLL, nats per example", _matrix_rows(trained.matrix))
        print_table(f"log marginal likelihood per out-of-sample example: {trained.log_marginal:.4f}", [])
    if given.test is not None:
        print_table("on test_x", [trained.score(trained.predict(given.test[0], command.seed), given.test[1])])


def predict(command: Any) -> None:
    """Predictions of a run for new examples."""
    check_output(command.out, (".csv",))
    config, trained = runs.load(command.run)
    plan, target = trained.plan, config["data"]["target"]
    given = read(command.data, target=target, task=None, columns=plan.columns or None)
    if given.x.shape[1:] != plan.shape:
        raise UsageError(f"{command.data} has examples of shape {given.x.shape[1:]}; the run learned from {plan.shape}")
    y = _targets(given, plan.classes)
    predicted = trained.predict(given.x, command.seed)
    rows = _class_rows(predicted, plan.classes) if plan.classes else [{"predicted": float(v)} for v in predicted]
    write_rows(command.out, [{"row": number} | row for number, row in enumerate(rows)])
    print_table(f"{len(rows)} predictions in {command.out}", [])
    if y is not None:
        print_table("", [trained.score(predicted, y)])


def compare(command: Any) -> None:
    """Several methods on the same data and seeds."""
    check_output(command.out, (".csv",))
    check_output(command.plot, IMAGES)
    if command.seeds < 1:
        raise UsageError(f"--seeds {command.seeds}: at least 1 is needed")
    given = _read(command.source)
    if given.test is None and not 0 < command.test < 1:
        raise UsageError(f"--test {command.test}: a share between 0 and 1 is needed")
    hyper = command.settings.hyper or ("affine" if given.images else "mask")
    methods = command.methods or methods_for(hyper)
    plans = {method: plan_of(method, command.settings, given, command.seed) for method in methods}
    rows: list[dict[str, Any]] = []
    for seed in range(command.seed, command.seed + command.seeds):
        trained_on, test = _split(given, command.test, seed)
        for method in plans:
            began = time.perf_counter()
            plan = plan_of(method, command.settings, trained_on, seed)
            trained = train(plan, trained_on)
            seconds = time.perf_counter() - began
            scores = trained.score(trained.predict(test[0], seed), test[1])
            rows.append({"method": method, "seed": seed} | scores | {"seconds": seconds} | trained.learned())
    names = [name for name in rows[0] if name in ("accuracy, %", "RMSE", "NLL", "seconds")]
    table = [
        {"method": method} | {n: _mean([r[n] for r in rows if r["method"] == method]) for n in names}
        for method in plans
    ]
    print_table(f"{_described(given)}; {command.seeds} seed{'s' * (command.seeds > 1)}, mean ± deviation", table)
    write_rows(command.out, rows)
    if command.plot is not None:
        from offprint.network_partitioning import plots

        panels = {n: {m: [r[n] for r in rows if r["method"] == m] for m in plans} for n in names[:-1]}
        plots.bars(panels).savefig(command.plot)


def plot(command: Any) -> None:
    """Figures of a run."""
    check_output(command.out, IMAGES)
    config, trained = runs.load(command.run)
    out = command.out or command.run / f"{command.what}.png"
    _DRAW[command.what](command, config, trained).savefig(out)
    print_table(f"{out}", [])


def _hyper_figure(command: Any, config: dict[str, Any], trained: Trained) -> Any:
    from offprint.network_partitioning import plots

    steps, curves = trained.steps()
    if not curves:
        raise UsageError(
            f"the run in {command.run} has no history of hyperparameters: it learned none, or more than 64 at once"
        )
    keeps = [values for name, values in curves.items() if name.startswith("keep ")]
    if keeps:
        return plots.keep_probabilities(np.stack(keeps, axis=1), steps)
    return plots.curves({"learned value": {name: [(steps, values)] for name, values in curves.items()}})


def _loss_figure(command: Any, config: dict[str, Any], trained: Trained) -> Any:
    from offprint.network_partitioning import plots

    steps, _ = trained.steps()
    names = [name for name in trained.history[0] if name.split("/")[0] in ("loss", "oos")]
    named = {name: [(steps, np.array([row[name] for row in trained.history]))] for name in names}
    return plots.curves({"NLL, nats per example": named})


def _nll_figure(command: Any, config: dict[str, Any], trained: Trained) -> Any:
    from offprint.network_partitioning import plots

    if trained.matrix is None:
        raise UsageError(f"--what nll is for runs of --method partitioned, not of {trained.plan.method}")
    return plots.nll_heat_map(trained.matrix)


def _images_figure(command: Any, config: dict[str, Any], trained: Trained) -> Any:
    from offprint.network_partitioning import plots

    plan, name = trained.plan, command.data or config["data"]["data"]
    inputs = plan.inputs()
    if not isinstance(inputs, AffineAugmentation):
        raise UsageError(f"--what images is for runs with learned augmentation, not for --hyper {plan.hyper}")
    x = read(name, task=None).x[:6]
    if x.shape[1:] != plan.shape:
        raise UsageError(f"{name} has examples of shape {x.shape[1:]}; the run learned from {plan.shape}")
    x, key = trained.scaling.inputs(x), jax.random.key(plan.seed)
    before = inputs(x, key, 3)
    inputs.raw[...] = jax.tree.leaves(trained.hyper["inputs"])[0]
    return plots.augmented_images(x, {"at the start": np.asarray(before), "learned": np.asarray(inputs(x, key, 3))})


_DRAW = {"hyper": _hyper_figure, "loss": _loss_figure, "nll": _nll_figure, "images": _images_figure}


def _read(source: Any) -> Examples:
    given = read(source.data, target=source.target, groups=source.groups, task=source.task)
    if given.y is None:
        raise UsageError(f"{source.data} has nothing to learn from")
    return given


def _split(given: Examples, share: float, seed: int) -> tuple[Examples, tuple[np.ndarray, np.ndarray]]:
    """The examples to train on, and the test examples: those of the file, or some kept out, whole groups together."""
    if given.test is not None:
        return given, given.test
    assert given.y is not None
    key = jax.random.fold_in(jax.random.key(seed), 1)
    labels = given.y if given.classes else None
    part = np.asarray(assign_shards(len(given.y), (1 - share, share), key=key, stratify=labels, groups=given.groups))
    return given.rows(part == 0), (given.x[part == 1], given.y[part == 1])


def _targets(given: Examples, classes: tuple[str, ...]) -> np.ndarray | None:
    """What is known of new examples."""
    if given.y is None:
        return None
    if classes:
        return class_numbers(given.y, classes, given.name)
    try:
        return given.y.astype(np.float64)
    except ValueError:
        raise UsageError(f"{given.name} has targets that are no numbers, such as {given.y[0]!r}") from None


def _described(given: Examples) -> str:
    size = "x".join(map(str, given.x.shape[1:])) + (" images" if given.images else " columns")
    return f"{given.name}: {len(given.x)} examples, {size}, " + (
        f"{len(given.classes)} classes" if given.classes else "values"
    )


def _matrix_rows(matrix: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"subnetwork": str(k)} | {f"shard {s + 1}": float(value) for s, value in enumerate(row)}
        for k, row in enumerate(matrix)
    ]


def _class_rows(logprob: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    probabilities = np.exp(logprob)
    return [
        {"predicted": classes[int(row.argmax())]}
        | {f"p {name}": float(p) for name, p in zip(classes, row, strict=True)}
        for row in probabilities
    ]


def _mean(values: list[float]) -> str:
    mean = f"{np.mean(values):.4g}"
    return mean + (f" ± {np.std(values):.2g}" if len(values) > 1 else "")
