"""Training and prediction with scikit-learn's habits, on sequences of equal or unequal length."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import nnx
from jax.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_is_fitted

from offprint.mgrn._config import DropoutRates
from offprint.mgrn._gates import UpdateGates, update_gates
from offprint.mgrn._groups import parse_groups
from offprint.mgrn._network import ModelName, OptimizerName, SequenceModel, draw_network, make_optimizer, outputs_of
from offprint.mgrn._sequences import SequencesLike, as_sequences
from offprint.mgrn._standardize import NanPolicy, Standardizer
from offprint.mgrn._storage import read_config, read_weights, write_fitted
from offprint.mgrn._tasks import Classification, TargetsLike, TaskName, make_task, task_from_json
from offprint.mgrn._training import Examples, Plan, train_network

Real = float | int
GroupsLike = Literal["auto"] | Sequence[int] | Sequence[Sequence[int]]


class MGRNEstimator(BaseEstimator):
    """A memory-gated recurrent network, or one of its baselines, that is fitted to labelled sequences.

    The constructor only stores its arguments, which `fit` checks; `get_params`, `set_params` and
    `sklearn.base.clone` work, and so do the model selection tools of scikit-learn. Sequences are an array (n, T, F),
    with `lengths` where they are padded, or a list of arrays (T_i, F).

    Args:
        groups: sizes of contiguous groups of columns, or a list of column indices for each group. "auto" makes each
            column a group of its own (the paper's total split).
        hidden: H, marginal units of each group; all units of an LSTM or GRU.
        size_of: s; J = int(s H) joint units.
        model: "mgrn", or a baseline: "lstm", "gru", "channelwise".
        task: "classification", "multilabel" or "regression"; "auto" takes floating-point targets for a regression, a
            table of integers for labels of which several may hold, everything else for classes.
        input_dropout, recurrent_dropout, output_dropout: rates of `DropoutRates`.
        init: "torch" or "keras", of the mGRN.
        optimizer: "adam", "adamw", "rmsprop" or "sgd".
        learning_rate: of the optimiser.
        weight_decay: L2 term of the gradient; decoupled in "adamw".
        epochs: passes over the training data, at most.
        batch_size: sequences in a step; all of them where there are fewer.
        validation_fraction: share of the training data held out at random where `fit` gets no validation data.
        monitor: what the best epoch is chosen by, and early stopping: "loss" or "score" on the validation data.
        early_stopping: epochs without improvement that end the training; None for none.
        restore_best: end with the weights of the best epoch, where there are validation data; else with the last.
        standardize: work on standard scores of every feature over the valid steps of the training data, and of the
            targets of a regression.
        nan_policy: "raise" refuses NaN and infinite values in X, "zero" puts 0 in their place before standardising.
        random_state: seed of weights, batches, dropout and held-out data; None draws one.
        verbose: draw a progress bar on a terminal.

    Attributes:
        classes_: (C,) classes of a classification, sorted.
        history_: a row for every epoch: `epoch`, `loss`, `seconds` since the start and, with validation data,
            `val_loss` and `val_score`. Losses of a regression are in standard scores of the targets.
        best_epoch_: the epoch whose weights are kept.
        groups_: columns of every group.
        n_features_in_: F.
        num_parameters_: weights of the recurrent part, without the head.
        network_: the trained NNX module.
    """

    def __init__(
        self,
        groups: GroupsLike = "auto",
        hidden: int = 64,
        size_of: Real = 1.0,
        *,
        model: ModelName = "mgrn",
        task: TaskName = "auto",
        input_dropout: Real = 0.0,
        recurrent_dropout: Real = 0.0,
        output_dropout: Real = 0.0,
        init: Literal["torch", "keras"] = "torch",
        optimizer: OptimizerName = "adam",
        learning_rate: Real = 1e-3,
        weight_decay: Real = 0.0,
        epochs: int = 100,
        batch_size: int = 32,
        validation_fraction: Real = 0.0,
        monitor: Literal["loss", "score"] = "loss",
        early_stopping: int | None = None,
        restore_best: bool = True,
        standardize: bool = True,
        nan_policy: NanPolicy = "raise",
        random_state: int | None = 0,
        verbose: bool = False,
    ):
        self.groups = groups
        self.hidden = hidden
        self.size_of = size_of
        self.model = model
        self.task = task
        self.input_dropout = input_dropout
        self.recurrent_dropout = recurrent_dropout
        self.output_dropout = output_dropout
        self.init = init
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.monitor = monitor
        self.early_stopping = early_stopping
        self.restore_best = restore_best
        self.standardize = standardize
        self.nan_policy = nan_policy
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: SequencesLike,
        y: TargetsLike,
        *,
        lengths: ArrayLike | None = None,
        X_val: SequencesLike | None = None,
        y_val: TargetsLike | None = None,
        lengths_val: ArrayLike | None = None,
    ) -> "MGRNEstimator":
        """Train on sequences X and their targets y.

        Args:
            X: (n, T, F), or a list of n arrays (T_i, F).
            y: (n,) classes or numbers, (n, C) zeros and ones, or (n, C) numbers.
            lengths: (n,) valid steps of each sequence of a padded array.
            X_val, y_val, lengths_val: validation data of the same kind.

        Raises:
            ValueError: settings, sequences or targets that do not fit, each named; NaN.
            offprint.core.train.NonFiniteError: the loss is no longer finite.
        """
        self._check_settings(has_validation=X_val is not None)
        if (X_val is None) != (y_val is None):
            raise ValueError("validation data need both X_val and y_val")
        x, sizes = as_sequences(X, lengths, nan_policy=self.nan_policy)
        targets = np.asarray(y)
        if len(targets) != len(x):
            raise ValueError(f"X holds {len(x)} sequences, but y {len(targets)} targets")
        self.n_features_in_ = x.shape[2]
        split_seed, weight_seed, step_seed = np.random.SeedSequence(self.random_state).generate_state(3).tolist()
        everything = Examples(x, sizes, targets)
        kept, out = self._split(len(x), 0.0 if X_val is not None else self.validation_fraction, split_seed)
        train, validation = _rows(everything, kept), _rows(everything, out) if len(out) else None
        if X_val is not None and y_val is not None:
            given = as_sequences(X_val, lengths_val, nan_policy=self.nan_policy, name="X_val")
            validation = Examples(*given, np.asarray(y_val))
        self._task = make_task(self.task, train.y, standardize=self.standardize)
        self._scaler = Standardizer.fit(train.x, train.lengths) if self.standardize else None
        network = self._network(weight_seed)
        self.num_parameters_ = network.layer.num_parameters
        self.network_, self.history_, self.best_epoch_ = train_network(
            network,
            self._task,
            self._encoded(train, "y"),
            None if validation is None else self._encoded(validation, "y_val"),
            self._plan(step_seed),
        )
        return self

    def predict(self, X: SequencesLike, *, lengths: ArrayLike | None = None) -> np.ndarray:
        """Classes (n,), zeros and ones (n, C), or numbers as y had them.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            ValueError: sequences that do not fit.
        """
        outputs = self._outputs(X, lengths)
        return self._task.predictions(outputs)

    def predict_proba(self, X: SequencesLike, *, lengths: ArrayLike | None = None) -> np.ndarray:
        """Probabilities (n, C): of the classes in the order of `classes_`, or of each label by itself.

        Raises:
            AttributeError: a regression has no probabilities.
        """
        outputs = self._outputs(X, lengths)
        return self._task.probabilities(outputs)

    def score(self, X: SequencesLike, y: TargetsLike, *, lengths: ArrayLike | None = None) -> float:
        """Share of the rows whose prediction is right (in all labels), or R² of a regression."""
        predicted = self.predict(X, lengths=lengths)
        return float((r2_score if self.task_ == "regression" else accuracy_score)(np.asarray(y), predicted))

    def update_gates(self, X: SequencesLike, *, lengths: ArrayLike | None = None) -> UpdateGates:
        """Mean update gates at every step, of every group and of the joint memory, over the valid steps of X.

        Raises:
            ValueError: the model is a baseline, which has no such gates.
        """
        x, sizes = self._inputs(X, lengths)
        if self.model != "mgrn":
            raise ValueError(f"model={self.model!r} has no gates of marginal and joint memories; only 'mgrn' has")
        return update_gates(self.network_.layer.params, x, lengths=sizes)

    @property
    def task_(self) -> str:
        """The task that was found in the targets: "classification", "multilabel" or "regression"."""
        return self._task.to_json()["task"]

    @property
    def classes_(self) -> np.ndarray:
        """(C,) classes of a classification, sorted."""
        check_is_fitted(self, "network_")
        if not isinstance(self._task, Classification):
            raise AttributeError(f"a {self.task_} has no classes_")
        return self._task.classes

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write settings, weights and history to a new folder (by orbax); it is there whole or not at all.

        Raises:
            FileExistsError: the folder exists, and `overwrite` is false.
        """
        check_is_fitted(self, "network_")
        config = {
            "settings": self.get_params(),
            "task": self._task.to_json(),
            "features": self.n_features_in_,
            "history": self.history_,
            "best_epoch": self.best_epoch_,
            "scaler": None if self._scaler is None else [self._scaler.mean.tolist(), self._scaler.std.tolist()],
        }
        weights = nnx.to_pure_dict(nnx.state(self.network_, nnx.Param))
        write_fitted(Path(path), config, weights, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> "MGRNEstimator":
        """The estimator that `save` wrote there, with the same predictions to the last bit.

        Raises:
            FileNotFoundError: there is no folder.
            ValueError: the folder holds no saved estimator.
        """
        config = read_config(Path(path))
        estimator = cls(**config["settings"])
        estimator._task = task_from_json(config["task"])
        estimator.n_features_in_ = config["features"]
        scaler = config["scaler"]
        estimator._scaler = None if scaler is None else Standardizer(*(np.array(values) for values in scaler))
        estimator.history_, estimator.best_epoch_ = config["history"], config["best_epoch"]
        network = estimator._network(0)
        weights = read_weights(Path(path), nnx.to_pure_dict(nnx.state(network, nnx.Param)))
        nnx.update(network, weights)
        estimator.num_parameters_ = network.layer.num_parameters
        estimator.network_ = network
        return estimator

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        task = self.task_ if self.__sklearn_is_fitted__() else self.task
        tags.estimator_type = {"regression": "regressor", "auto": None}.get(task, "classifier")
        tags.target_tags.required = True
        return tags

    def _check_settings(self, *, has_validation: bool) -> None:
        for name, least in {"epochs": 1, "batch_size": 1, "early_stopping": 1}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.monitor not in ("loss", "score"):
            raise ValueError(f'monitor must be "loss" or "score", got {self.monitor!r}')
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must lie in [0, 1), got {self.validation_fraction}")
        if self.early_stopping is not None and not (has_validation or self.validation_fraction):
            raise ValueError("early_stopping needs validation data: give X_val and y_val, or a validation_fraction")

    def _split(self, count: int, fraction: Real, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on, and rows held out at random."""
        held = round(count * fraction)
        if fraction and not 0 < held < count:
            raise ValueError(f"validation_fraction={fraction} of {count} sequences leaves a part empty")
        order = np.random.default_rng(seed).permutation(count)
        return np.sort(order[held:]), np.sort(order[:held])

    def _plan(self, seed: int) -> Plan:
        return Plan(
            make_optimizer(self.optimizer, float(self.learning_rate), float(self.weight_decay)),
            self.epochs,
            self.batch_size,
            self.monitor,
            self.early_stopping,
            self.restore_best,
            seed,
            self.verbose,
        )

    def _network(self, seed: int) -> SequenceModel:
        """The network with its initial weights."""
        groups = [1] * self.n_features_in_ if isinstance(self.groups, str) else self.groups
        if isinstance(self.groups, str) and self.groups != "auto":
            raise ValueError(f'groups must be "auto", sizes or lists of columns, got {self.groups!r}')
        self.groups_ = parse_groups(groups, self.n_features_in_)
        return draw_network(
            model=self.model,
            groups=self.groups_,
            hidden=self.hidden,
            size_of=self.size_of,
            num_outputs=self._task.outputs,
            rates=DropoutRates(self.input_dropout, self.recurrent_dropout, self.output_dropout),
            init=self.init,
            rngs=nnx.Rngs(seed),
        )

    def _encoded(self, examples: Examples, name: str) -> Examples:
        x, lengths, y = examples
        if len(y) != len(x):
            raise ValueError(f"X{name[1:]} holds {len(x)} sequences, but {name} {len(y)} targets")
        return Examples(self._scaled(x, lengths, f"X{name[1:]}"), lengths, self._task.encode(y, name))

    def _scaled(self, x: np.ndarray, lengths: np.ndarray | None, name: str = "X") -> np.ndarray:
        if x.shape[2] != self.n_features_in_:
            raise ValueError(
                f"{name} has F={x.shape[2]} features, but the estimator was fitted to F={self.n_features_in_}"
            )
        return x if self._scaler is None else self._scaler.transform(x, lengths)

    def _inputs(self, X: SequencesLike, lengths: ArrayLike | None) -> tuple[np.ndarray, np.ndarray | None]:
        check_is_fitted(self, "network_")
        x, sizes = as_sequences(X, lengths, nan_policy=self.nan_policy)
        return self._scaled(x, sizes), sizes

    def _outputs(self, X: SequencesLike, lengths: ArrayLike | None) -> np.ndarray:
        x, sizes = self._inputs(X, lengths)
        return np.asarray(outputs_of(self.network_, x, sizes))


def _rows(examples: Examples, rows: np.ndarray) -> Examples:
    x, lengths, y = examples
    return Examples(x[rows], None if lengths is None else lengths[rows], y[rows])
