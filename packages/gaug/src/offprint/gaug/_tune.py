"""Choosing the settings of GAug-O or GAug-M by the validation score: random search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import PRNGKeyArray

from offprint.gaug._config import GAugMConfig, GAugOConfig
from offprint.gaug._gaug_m import fit_gaug_m
from offprint.gaug._gaug_o import fit_gaug_o
from offprint.gaug._graph import Graph
from offprint.gaug._problem import Split
from offprint.gaug._result import Result

SPACE_O: Mapping[str, Sequence[Any]] = {
    "alpha": tuple(round(0.01 * k, 2) for k in range(101)),
    "beta": tuple(round(0.1 * k, 1) for k in range(41)),
    "temperature": tuple(round(0.1 * k, 1) for k in range(1, 22)),
    "pretrain_edge": tuple(range(5, 301, 5)),
    "pretrain_nodes": tuple(range(5, 301, 5)),
    "warmup": tuple(range(11)),
}
"""The values among which the published settings of GAug-O were chosen."""

SPACE_M: Mapping[str, Sequence[Any]] = {
    "remove": tuple(round(0.01 * k, 2) for k in range(81)),
    "add": tuple(round(0.01 * k, 2) for k in range(81)),
    "draw": tuple(range(1, 6)),
}
"""The same for GAug-M."""


@dataclass(frozen=True)
class Trial:
    """One setting and how it did."""

    cfg: GAugOConfig | GAugMConfig
    val: float
    """Mean best validation micro-F1 over the seeds."""
    test: float
    """Mean test micro-F1 at it; for the report, the choice does not look at it."""


@dataclass(frozen=True)
class TuneResult:
    """The setting with the best validation score, and all trials in the order in which they were made."""

    best: GAugOConfig | GAugMConfig
    trials: tuple[Trial, ...]


def tune(
    make_models: Callable[[nnx.Rngs], tuple[nnx.Module, nnx.Module]],
    g: Graph,
    x: Any,
    y: Any,
    split: Split,
    cfg: GAugOConfig | GAugMConfig,
    *,
    key: PRNGKeyArray,
    trials: int = 20,
    seeds: int = 1,
    space: Mapping[str, Sequence[Any]] | None = None,
    report: Callable[[int, Trial], None] | None = None,
) -> TuneResult:
    """Random search over the settings, judged on the validation nodes alone.

    The published searches looked at the test score; this one does not, so it may come out up to a point lower.

    Args:
        make_models: `make_models(nnx.Rngs(...))` gives a fresh classifier and edge predictor for a run.
        g: the graph.
        x: (N, F) features.
        y: labels, as in `fit_gaug_o`.
        split: indices of the training, validation and test nodes.
        cfg: the first trial; its type says which method, and what `space` leaves out keeps its value.
        key: of the search and all runs.
        trials: settings that are tried.
        seeds: runs of each.
        space: the values of each setting to draw from; by default those of the published searches.
        report: called with the number of each trial and the trial.

    Raises:
        ValueError: no trials, no seeds, or a setting in `space` that the method does not have.
    """
    space = (SPACE_O if isinstance(cfg, GAugOConfig) else SPACE_M) if space is None else space
    names = {field.name for field in fields(cfg)}
    if unknown := sorted(set(space) - names):
        raise ValueError(f"{type(cfg).__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(names))}")
    if empty := sorted(name for name, values in space.items() if not len(values)):
        raise ValueError(f"the space has no values for {', '.join(empty)}")
    if trials < 1 or seeds < 1:
        raise ValueError(f"at least one trial and one seed are needed, but trials={trials} and seeds={seeds}")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
    run_keys = jax.random.split(key, seeds)  # every setting is tried from the same starts
    done: list[Trial] = []
    for number in range(trials):
        chosen = {name: values[int(rng.integers(len(values)))] for name, values in space.items()} if number else {}
        setting = replace(cfg, **chosen)
        results = [_run(make_models, g, x, y, split, setting, run_key) for run_key in run_keys]
        val, test = (float(np.mean([getattr(r, name) for r in results])) for name in ("val", "test_at_best"))
        done.append(Trial(setting, val, test))
        if report is not None:
            report(number, done[-1])
    return TuneResult(max(done, key=lambda trial: trial.val).cfg, tuple(done))


def _run(make_models: Any, g: Graph, x: Any, y: Any, split: Split, cfg: Any, key: PRNGKeyArray) -> Result:
    making, fitting = jax.random.split(key)
    node, edge = make_models(nnx.Rngs(making))
    if isinstance(cfg, GAugOConfig):
        return fit_gaug_o(node, edge, g, x, y, split, cfg, key=fitting)
    return fit_gaug_m(node, edge, g, x, y, split, cfg, key=fitting)
