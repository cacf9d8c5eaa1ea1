"""PenDigits (Table 3), by the published protocol, which selects the epoch on the test set, and by a clean one."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.core.experiments import Claim, Run, at_least, experiment, holds_when
from offprint.mgrn import data, plots
from offprint.mgrn.experiments._classify import Accuracies, Labelled, Parts, Training, train
from offprint.mgrn.experiments._figures import accuracy_curves
from offprint.mgrn.experiments._members import maker

PUBLISHED = 0.988565
"""Best test epoch of the best of three trials, 500 epochs."""


@dataclass(frozen=True)
class PenDigitsConfig:
    """Settings of the experiment."""

    hidden: int = 64
    """H, units of every marginal memory; each coordinate is a group."""
    size_of: int = 2
    """s: the joint memory has s·H units."""
    epochs: int = 60
    first_epoch: int = 1
    """First epoch that can be selected."""
    batch_size: int = 128
    learning_rate: float = 1e-3
    """Of Adam."""
    weight_decay: float = 1e-4
    """L2 term of the gradient."""
    seeds: int = 1
    """Trials of each protocol, from seed 0 on."""
    clean_epochs: int = 20
    """Epochs of the clean protocol."""
    held_out: float = 0.2
    """Share of the training digits that the clean protocol selects the epoch on, and does not train on."""


@experiment(
    "pendigits",
    reproduces="Table 3, PenDigits",
    paper=PenDigitsConfig(epochs=500, first_epoch=100, clean_epochs=500, seeds=3),
    long=True,
)
def pendigits(config: PenDigitsConfig, run: Run) -> Iterator[Claim]:
    """Handwritten digits from eight pen positions, one group for each coordinate."""
    if not 0 < config.held_out < 1 or not 1 <= config.first_epoch <= min(config.epochs, config.clean_epochs):
        raise ValueError("held_out must lie in (0, 1), and first_epoch in [1, epochs] and in [1, clean_epochs]")
    digits = data.pendigits().standardized()
    test = _labelled(digits.X_test, digits.y_test)
    keys = jax.vmap(jax.random.key)(jnp.arange(config.seeds))

    full = _train(config, config.epochs, digits, Parts(_labelled(digits.X_train, digits.y_train), {"test": test}), keys)
    best = _from_first(full.accuracy["test"], config)
    order = np.random.default_rng(0).permutation(len(digits.y_train))
    held, rest = np.split(order, [round(config.held_out * len(order))])
    parts = Parts(
        _labelled(digits.X_train[rest], digits.y_train[rest]),
        {"held out": _labelled(digits.X_train[held], digits.y_train[held]), "test": test},
    )
    clean = _train(config, config.clean_epochs, digits, parts, keys)
    selected = _from_first(clean.accuracy["held out"], config).argmax(axis=1) + config.first_epoch - 1
    clean_accuracy = clean.accuracy["test"][np.arange(config.seeds), selected]

    for seed in range(config.seeds):
        run.log(protocol="published", seed=seed, best_test_accuracy=best[seed].max(), last=best[seed, -1])
        run.log(protocol="clean", seed=seed, epoch=selected[seed] + 1, test_accuracy=clean_accuracy[seed])
    _draw(run, config, full, clean, digits)
    yield Claim(
        "best test accuracy, published protocol (selects the epoch on test)",
        paper=PUBLISHED,
        here=float(best.max()),
        rule=at_least(0.975),
    )
    yield Claim(
        f"test accuracy, clean protocol (selects the epoch on {config.held_out:.0%} of the training digits)",
        paper="not reported",
        here={"clean": float(clean_accuracy.mean()), "its own best test epoch": float(clean.accuracy["test"].max())},
        rule=holds_when(
            "the clean accuracy is at least 0.96, and not above what selecting on test would report",
            lambda here: 0.96 <= here["clean"] <= here["its own best test epoch"],
        ),
    )


def _train(config: PenDigitsConfig, epochs: int, digits: data.SequenceData, parts: Parts, keys: Array) -> Accuracies:
    make = maker("mgrn", (1,) * digits.features, config.hidden, config.size_of, digits.num_classes)
    training = Training(epochs, config.batch_size, config.learning_rate, config.weight_decay)
    return train(make, parts, keys, training)


def _labelled(x: np.ndarray, y: np.ndarray) -> Labelled:
    return Labelled(jnp.asarray(x), None, jnp.asarray(y))


def _from_first(accuracy: np.ndarray, config: PenDigitsConfig) -> np.ndarray:
    return accuracy[:, config.first_epoch - 1 :]


def _draw(run: Run, config: PenDigitsConfig, full: Accuracies, clean: Accuracies, digits: data.SequenceData) -> None:
    curves = {
        "test, trained on all": full.accuracy["test"],
        "test, trained on the rest": clean.accuracy["test"],
        "held out": clean.accuracy["held out"],
    }
    run.figure(
        "accuracy",
        accuracy_curves(curves, lines={"published, best test epoch of 500": PUBLISHED}),
        f"Accuracy by epoch on PenDigits, mean and range of {config.seeds} seeds.",
    )
    run.figure(
        "confusion",
        plots.confusion_matrix(digits.y_test, full.predicted["test"][0]),
        "Test digits by predicted digit: trained on all training digits, first seed, last epoch.",
    )
