"""The settings: what is refused, the published ones, and the warm-up."""

import dataclasses

import numpy as np
import pytest

from offprint.gaug._adaedge import AdaEdgeConfig
from offprint.gaug._config import GAugMConfig, GAugOConfig, NodeConfig, warmup_schedule
from offprint.gaug._published import PUBLISHED_O, paper_config


def test_warmup_is_the_schedule_of_the_original(golden):
    arrays = golden("metrics")
    for warmup, expected in zip(arrays["sched_warmup"], arrays["sched"], strict=True):
        schedule = warmup_schedule(int(warmup), 200, float(arrays["sched_lr"]))
        # The original worked it out in float32, ours in float64 here.
        np.testing.assert_allclose(schedule, expected, rtol=0, atol=5e-9)


def test_warmup_rises_from_exactly_zero_to_the_rate_and_none_is_constant():
    schedule = warmup_schedule(3, 12, 0.01)
    assert schedule[0] == 0
    assert schedule[-1] == 0.01
    assert (np.diff(schedule) > 0).all()
    assert (warmup_schedule(0, 12, 0.01) == 0.01).all()
    assert warmup_schedule(3, 1, 0.01).tolist() == [0.01]


def test_published_settings_are_those_of_the_parameter_files():
    cfg = paper_config("cora", "gcn", "o")
    assert (cfg.alpha, cfg.beta, cfg.temperature) == (1.0, 0.8, 1.2)
    assert (cfg.pretrain_edge, cfg.pretrain_nodes, cfg.warmup) == (160, 30, 0)
    assert (cfg.epochs, cfg.patience, cfg.lr, cfg.weight_decay) == (200, 100, 0.01, 5e-4)
    cfg = paper_config("air-usa", "jknet", "m")
    assert (cfg.remove, cfg.add, cfg.draw) == (0.21, 0.12, 1)
    assert paper_config("flickr", "gat", "dropedge") == NodeConfig(lr=0.005, drop_edge=0.591)
    assert paper_config("ppi", "gsage", "original") == NodeConfig()


def test_all_published_settings_of_gaug_o_are_valid():
    found = {paper_config(name, gnn, "o") for name in PUBLISHED_O for gnn in ("gcn", "gsage", "gat", "jknet")}
    assert len(found) == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pubmed", "gcn", "o"), "no dataset 'pubmed' in the published settings; there are cora, "),
        (("cora", "mlp", "o"), "no gnn 'mlp'"),
        (("cora", "gcn", "x"), "no method 'x'"),
        (("citeseer", "gat", "m"), "were not published; tune them"),
    ],
)
def test_settings_that_were_not_published_are_named(arguments, message):
    with pytest.raises(KeyError, match=message):
        paper_config(*arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.2}, "alpha must be at least 0 and at most 1, but is 1.2"),
        ({"alpha": float("nan")}, "alpha must be at least 0"),
        ({"beta": -0.1}, "beta must be at least 0, but is -0.1"),
        ({"temperature": 0}, "temperature must be above 0, but is 0"),
        ({"lr": 0}, "lr must be above 0"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"pretrain_edge": -1}, "pretrain_edge must be a whole number of at least 0"),
        ({"capacity": 0}, "capacity must be a whole number of at least 1"),
        ({"backend": "sparse"}, "backend must be one of 'auto', 'dense'"),
        ({"estimator": "gumbel"}, "estimator must be one of 'binary_concrete'"),
        ({"backend": "blockwise", "score_map": "sigmoid"}, "use backend='dense'"),
    ],
)
def test_settings_of_gaug_o_out_of_range_are_refused(settings, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        GAugOConfig(**settings)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (GAugMConfig, {"add": 57}, r"share of the number of edges, in \[0, 1\], but is 57 \(0.57, not 57\)"),
        (GAugMConfig, {"remove": -0.1}, "remove is a share of the edges"),
        (GAugMConfig, {"score": "dot"}, "score must be one of 'inner'"),
        (NodeConfig, {"drop_edge": 1.0}, r"drop_edge is the share of edges left out, in \[0, 1\)"),
        (NodeConfig, {"patience": 0}, "patience must be a whole number of at least 1"),
        (AdaEdgeConfig, {"conf_add": 90}, r"conf_add is a confidence in \[0, 1\], but is 90"),
        (AdaEdgeConfig, {"n_add": -1}, "must not be negative"),
    ],
)
def test_other_settings_out_of_range_are_refused(make, settings, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_settings_are_values():
    assert hash(GAugOConfig()) == hash(GAugOConfig())
    assert dataclasses.replace(GAugOConfig(), alpha=0.2) != GAugOConfig()
