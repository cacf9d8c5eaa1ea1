"""The program `offprint-mgrn`: networks that are fitted to your own sequences, used, compared and looked into."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from offprint.core.program import UsageError, check_output, print_table, run_program
from offprint.mgrn._command_files import (
    Cell,
    Samples,
    read_groups,
    read_parts,
    read_samples,
    write_columns,
)

PROGRAM = "offprint-mgrn"
MODELS = Literal["mgrn", "lstm", "gru", "channelwise"]
TABLES, IMAGES = (".csv", ".npz"), (".png", ".pdf", ".svg")
Data = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class Settings:
    """The network and its training."""

    groups: str = "auto"
    """auto (each column its own group), sizes such as 8,8, or a file: .json, or a line of columns for each group."""
    hidden: int = 64
    """H, marginal units of each group."""
    size_of: float = 1.0
    """s: the joint memory has int(s H) units."""
    task: Literal["auto", "classification", "multilabel", "regression"] = "auto"
    """What the targets are; auto takes floating-point numbers for a regression."""
    epochs: int = 100
    """Passes over the training data, at most."""
    batch_size: int = 32
    """Sequences in a step."""
    learning_rate: float = 1e-3
    """Of the optimiser."""
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    """The optimiser."""
    weight_decay: float = 0.0
    """L2 term of the gradient."""
    input_dropout: float = 0.0
    """Rate on the input, one mask for each sequence."""
    output_dropout: float = 0.0
    """Rate on the last joint state."""
    validation: float = 0.2
    """Share of the training part that the best epoch is chosen on; 0 takes the last epoch."""
    patience: int | None = None
    """Epochs without improvement that end the training."""
    holdout: float = 0.2
    """Share held out for the test where the data have no test part."""
    nan: Literal["raise", "zero"] = "raise"
    """Whether NaN in the input are refused or counted as 0."""
    seed: int = 0
    """Seed of weights, batches, dropout and held-out data."""

    def estimator(self, **changes: Any) -> Any:
        """The estimator that these settings describe."""
        from offprint.mgrn import MGRNEstimator

        names = ("hidden", "size_of", "task", "epochs", "batch_size", "learning_rate", "optimizer", "weight_decay")
        settings = {name: getattr(self, name) for name in (*names, "input_dropout", "output_dropout")}
        settings |= {
            "groups": read_groups(self.groups),
            "validation_fraction": self.validation,
            "early_stopping": self.patience,
            "nan_policy": self.nan,
            "random_state": self.seed,
            "verbose": True,
        }
        return MGRNEstimator(**(settings | changes))


@dataclass(frozen=True)
class Fit:
    """Fit a network to labelled sequences, and test it."""

    data: Data
    """.npz with X_train, y_train, X_test, y_test, or with X and y; <name>_TRAIN.ts; a folder with such .ts files."""
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    model: MODELS = "mgrn"
    """The network, or a baseline."""
    out: Path | None = None
    """Save the fitted network to this folder, for predict and gates."""
    overwrite: bool = False
    """Replace the folder of --out if it is there."""
    plots: Path | None = None
    """Draw learning curves and confusion matrix into this folder."""


@dataclass(frozen=True)
class Predict:
    """Predictions of a fitted network."""

    network: Data
    """Folder that fit --out wrote."""
    data: Data
    """.npz with X (and lengths), or .ts; of a data set with two parts, see --part."""
    out: Path | None = None
    """Write predictions (and probabilities) to this .csv or .npz file."""
    part: Literal["all", "train", "test"] = "all"
    """Part of the data."""


@dataclass(frozen=True)
class Compare:
    """The mGRN beside LSTM, GRU and channel-wise LSTM of at most as many parameters."""

    data: Data
    """As in fit."""
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    models: str = "mgrn,lstm,gru,channelwise"
    """Models, separated by commas."""
    seeds: int = 3
    """Trainings of each model, from --seed on."""
    out: Path | None = None
    """Write the table to this .csv or .npz file."""
    plot: Path | None = None
    """Draw mean and deviation of the score to this image file."""


@dataclass(frozen=True)
class Budget:
    """The largest networks within a budget of parameters (without the head)."""

    parameters: int
    """The budget."""
    groups: str = "auto"
    """As in fit; auto needs --features."""
    features: int | None = None
    """F, columns of the input."""
    size_of: float = 1.0
    """s: int(s H) joint units."""
    biases: Literal[1, 2] = 1
    """Bias vectors for each gate of the LSTM and GRU cells: 1 as the paper counts, 2 as PyTorch has."""


@dataclass(frozen=True)
class Gates:
    """When each group, and the joint memory, keeps its memory (1) and when it replaces it (0)."""

    network: Data
    """Folder that fit --out wrote."""
    data: Data
    """As in predict."""
    plot: Path | None = None
    """Draw the heat map to this image file."""
    out: Path | None = None
    """Write the gates at every step to this .csv or .npz file."""
    part: Literal["all", "train", "test"] = "all"
    """Part of the data."""


Command = (
    Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Budget, tyro.conf.subcommand("budget")]
    | Annotated[Gates, tyro.conf.subcommand("gates")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0, 1 for a failure, 2 for input that it can't work with."""
    return run_program(
        PROGRAM,
        "Memory-gated recurrent networks for your own sequences.",
        Command,
        _RUN,
        arguments,
        failures=(FloatingPointError,),
    )


def _fit(command: Fit) -> None:
    settings = command.settings
    if command.out is not None and command.out.exists() and not command.overwrite:
        raise UsageError(f"{command.out} is there already; choose another folder, or add --overwrite")
    train, test = read_parts(command.data, settings.holdout, settings.seed, settings.nan)
    estimator = settings.estimator(model=command.model).fit(train.X, train.y, lengths=train.lengths)
    rows: list[dict[str, Cell]] = [
        {"part": name, "sequences": len(part.X), _metric(estimator): _score(estimator, part)}
        for name, part in (("train", train), ("test", test))
    ]
    print_table(_summary(estimator), rows)
    if command.out is not None:
        estimator.save(command.out, overwrite=command.overwrite)
    if command.plots is not None:
        _draw_fit(command.plots, estimator, test)


def _draw_fit(folder: Path, estimator: Any, test: Samples) -> None:
    from offprint.mgrn import plots

    folder.mkdir(parents=True, exist_ok=True)
    plots.learning_curves(estimator.history_).savefig(folder / "learning_curves.png")
    if estimator.task_ == "classification" and test.y is not None:
        predicted = estimator.predict(test.X, lengths=test.lengths)
        plots.confusion_matrix(test.y, predicted, estimator.classes_).savefig(folder / "confusion_matrix.png")


def _predict(command: Predict) -> None:
    check_output(command.out, TABLES)
    estimator, samples = _load(command.network), read_samples(command.data, command.part)
    predicted = estimator.predict(samples.X, lengths=samples.lengths)
    table = predicted.reshape(len(predicted), -1)
    names = ["prediction"] if predicted.ndim == 1 else [f"prediction_{j}" for j in range(table.shape[1])]
    columns = dict(zip(names, table.T))
    if estimator.task_ != "regression":
        probabilities = estimator.predict_proba(samples.X, lengths=samples.lengths)
        labels = estimator.classes_ if estimator.task_ == "classification" else range(probabilities.shape[1])
        columns |= {f"p({label})": column for label, column in zip(labels, probabilities.T)}
    shown: list[dict[str, Cell]] = [
        {"sequence": i, **{name: column[i].item() for name, column in list(columns.items())[:10]}}
        for i in range(min(10, len(predicted)))
    ]
    print_table(f"{len(predicted)} predictions" + (", the first 10" if len(predicted) > 10 else ""), shown)
    if samples.y is not None:
        print_table("against the targets in the file", [{_metric(estimator): _score(estimator, samples)}])
    if command.out is not None:
        write_columns(command.out, columns)


def _compare(command: Compare) -> None:
    from offprint.mgrn import plots
    from offprint.mgrn._budget import count_parameters, match_parameters

    check_output(command.out, TABLES)
    check_output(command.plot, IMAGES)
    models, settings = [name.strip() for name in command.models.split(",")], command.settings
    if command.seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {command.seeds}")
    train, test = read_parts(command.data, settings.holdout, settings.seed, settings.nan)
    groups = read_groups(settings.groups)
    groups = [1] * train.X.shape[-1] if groups == "auto" else groups
    target = count_parameters("mgrn", groups, settings.hidden, settings.size_of)
    units = {name: match_parameters(target, groups, name, settings.size_of, biases=2) for name in models}
    rows: list[dict[str, Cell]] = []
    scores: dict[str, list[float]] = {}
    metric = "score"
    for name in models:
        fitted = [
            settings.estimator(model=name, hidden=units[name], random_state=settings.seed + i, groups=groups).fit(
                train.X, train.y, lengths=train.lengths
            )
            for i in range(command.seeds)
        ]
        metric, scores[name] = _metric(fitted[0]), [_score(one, test) for one in fitted]
        rows.append(
            {
                "model": name,
                "H": units[name],
                "parameters": fitted[0].num_parameters_,
                f"test {metric}": float(np.mean(scores[name])),
                "sd": float(np.std(scores[name], ddof=1)) if command.seeds > 1 else float("nan"),
                "s/epoch": _seconds_per_epoch(fitted[-1]),
            }
        )
    print_table(f"at most {target} parameters without the head, {command.seeds} seeds", rows)
    if command.out is not None:
        write_columns(command.out, {name: np.array([row[name] for row in rows]) for name in rows[0]})
    if command.plot is not None:
        plots.metric_bars(scores, metric=f"test {metric}").savefig(command.plot)


def _budget(command: Budget) -> None:
    from offprint.mgrn._budget import count_parameters, match_parameters

    groups = read_groups(command.groups)
    if groups == "auto":
        if command.features is None:
            raise UsageError("--groups auto needs --features, the number of columns")
        groups = [1] * command.features
    rows: list[dict[str, Cell]] = []
    for name in ("mgrn", "lstm", "gru", "channelwise"):
        options: dict[str, Any] = {"size_of": command.size_of, "biases": command.biases}
        try:
            hidden = match_parameters(command.parameters, groups, name, **options)
        except ValueError as error:
            if "smallest" not in str(error):
                raise
            rows.append({"model": name, "H": "-", "parameters": "none is that small"})
            continue
        count = count_parameters(name, groups, hidden, **options)
        rows.append({"model": name, "H": str(hidden), "parameters": str(count)})
    print_table(f"largest networks of at most {command.parameters} parameters", rows)


def _gates(command: Gates) -> None:
    from offprint.mgrn import plots

    check_output(command.out, TABLES)
    check_output(command.plot, IMAGES)
    estimator, samples = _load(command.network), read_samples(command.data, command.part)
    gates = estimator.update_gates(samples.X, lengths=samples.lengths)
    marginal, joint = np.asarray(gates.marginal), np.asarray(gates.joint)
    names = [f"group {k + 1}" for k in range(len(marginal))]
    rows: list[dict[str, Cell]] = [
        {
            "memory": name,
            "columns": columns,
            "mean gate": float(np.nanmean(row)),
            "last": float(row[~np.isnan(row)][-1]),
        }
        for name, columns, row in zip(
            [*names, "joint"],
            [*(", ".join(map(str, group)) for group in estimator.groups_), "all"],
            [*marginal, joint],
        )
    ]
    print_table(f"mean update gates over {len(samples.X)} sequences and {len(joint)} steps (1 keeps, 0 replaces)", rows)
    if command.out is not None:
        steps = {"step": np.arange(1, len(joint) + 1)}
        write_columns(command.out, steps | dict(zip([*names, "joint"], [*marginal, joint])))
    if command.plot is not None:
        plots.gate_map(marginal, joint, group_names=names).savefig(command.plot)


def _load(path: Path) -> Any:
    from offprint.mgrn import MGRNEstimator

    return MGRNEstimator.load(path)


def _metric(estimator: Any) -> str:
    return "R2" if estimator.task_ == "regression" else "accuracy"


def _score(estimator: Any, part: Samples) -> float:
    return estimator.score(part.X, part.y, lengths=part.lengths)


def _seconds_per_epoch(estimator: Any) -> float:
    """The median, without the first epoch, in which the program is compiled; NaN where there is no other."""
    times = np.diff([row["seconds"] for row in estimator.history_])
    return float(np.median(times)) if len(times) else float("nan")


def _summary(estimator: Any) -> str:
    return (
        f"{estimator.model}, {len(estimator.groups_)} groups, H = {estimator.hidden}, {estimator.num_parameters_} "
        f"parameters without the head; weights of epoch {estimator.best_epoch_} of {len(estimator.history_)}"
    )


_RUN: dict[type, Any] = {Fit: _fit, Predict: _predict, Compare: _compare, Budget: _budget, Gates: _gates}


if __name__ == "__main__":
    sys.exit(main())
