"""Settings that cannot be are refused when they are written down."""

import pytest

from offprint.magnn._config import TrainConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0}, "lr must be above 0, but is 0"),
        ({"weight_decay": -1}, "weight_decay must be 0 or more"),
        ({"epochs": 0}, "epochs must be at least 1, but is 0"),
        ({"T": 0}, "T must be at least 1"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"select": "auc"}, "select must be a metric at a K such as 'ndcg@10'"),
        ({"select": None, "patience": 3}, "patience needs a metric to watch"),
        ({"train_on": "train_val"}, r"use config.refit\(best_epoch\)"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


@pytest.mark.parametrize("name", ["loss", "negatives", "regularizer", "train_on"])
def test_unknown_options_are_refused(unchecked_types, name):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, but is 'other'"):
        TrainConfig(**{name: "other"})


def test_a_refit_keeps_the_settings_but_selects_nothing():
    config = TrainConfig(lr=0.01, patience=3)
    again = config.refit(7)
    assert (again.lr, again.epochs, again.train_on) == (0.01, 7, "train_val")
    assert again.select is None
    assert again.patience is None
