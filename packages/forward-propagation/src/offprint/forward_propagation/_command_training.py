"""How `offprint-forward-propagation` gets from its flags to recipes, networks and trained seeds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import nnx

from offprint.core.program import UsageError
from offprint.forward_propagation._command_files import Task
from offprint.forward_propagation._hebbian_rule import HebbianObjective
from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._objective import SurrogateObjective
from offprint.forward_propagation._recipe import RECIPES, Recipe, recipe
from offprint.forward_propagation._train import Examples, FittedSeeds, fit_seeds
from offprint.forward_propagation.surrogate import SurrogateNetwork

EXACT = ("exact", "official", "hebbian")
"""Ways of training that simulate exactly; all others are surrogates on a time grid."""


def plan_of(settings: Any, task: Task) -> Recipe:
    """The recipe with the settings that were given, for as many inputs and outputs as the data have."""
    if settings.recipe not in RECIPES:
        raise UsageError(f"--recipe {settings.recipe}: one of {', '.join(RECIPES)} is needed")
    base = recipe(settings.recipe)
    names = ("epochs", "batch_size", "lr", "schedule", "tau_mem", "tau_syn", "threshold", "gamma", "silent")
    given = {name: getattr(settings, name) for name in (*names, "slope_floor", "clip_norm")}
    for name, value in given.items():
        least = 0 if name in ("gamma", "slope_floor") else 1 if name in ("epochs", "batch_size") else 1e-300
        if isinstance(value, int | float) and not value >= least:
            needed = f"at least {least}" if least in (0, 1) else "a positive number"
            raise UsageError(f"--{name.replace('_', '-')} {value}: {needed} is needed")
    changes: dict[str, Any] = {
        {"lr": "learning_rate"}.get(name, name): value for name, value in given.items() if value is not None
    }
    if settings.learn is not None:
        changes["learn"] = tuple(settings.learn.split(","))
    encoding = base.encoding if settings.span is None else replace(base.encoding, span=settings.span)
    _check_span(encoding.span, task)
    changes["batch_size"] = min(changes.get("batch_size", base.batch_size), len(task.data.train_y))
    plan = replace(base, encoding=encoding, **changes)
    plan = plan.for_data(len(task.features), len(task.classes), hidden=_hidden(settings.hidden))
    if settings.max_spikes is not None:
        plan = replace(plan, max_spikes=(*[settings.max_spikes] * (len(plan.sizes) - 2), plan.max_spikes[-1]))
    return plan


def _hidden(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    widths = text.split(",")
    if not all(width.strip().isdigit() and int(width) > 0 for width in widths):
        raise UsageError(f"--hidden {text}: numbers of neurons, separated by commas, are needed")
    return tuple(int(width) for width in widths)


def _check_span(span: str, task: Task) -> None:
    parts = task.data.train_x, task.data.test_x
    low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    if span == "unit" and not (low >= 0 and high <= 1):
        raise UsageError(
            f"the recipe wants features from 0 to 1, but they run from {low:.4g} to {high:.4g}: add --span train, "
            "which takes the range of each feature in the training set"
        )
    flat = np.flatnonzero(np.ptp(task.data.train_x, axis=0) == 0)
    if span == "train" and flat.size:
        raise UsageError(f"the feature {task.features[flat[0]]} is the same in all training samples: leave it out")


def train_by(method: str, sets: tuple[Examples, Examples], settings: Recipe, command: Any) -> FittedSeeds:
    """Runs of one method on all seeds."""
    keys = jax.vmap(jax.random.key)(np.arange(command.data.seed, command.data.seed + command.seeds))
    if method in ("exact", "official"):
        return fit_seeds(*sets, replace(settings, reset_coupling=method == "exact"), keys)
    if method == "hebbian":
        return fit_seeds(*sets, settings, keys, objective=HebbianObjective(settings))
    build, objective = on_grid(settings, command, method), SurrogateObjective(settings, command.decoding)
    return fit_seeds(*sets, settings, keys, build=build, objective=objective)


def on_grid(settings: Recipe, command: Any, surrogate: str) -> Callable[[nnx.Rngs], SurrogateNetwork]:
    """Makes the network of the recipe on a time grid, with the initial weights of exact training."""
    neuron = LIF(settings.tau_mem, settings.tau_syn, settings.threshold)

    def build(rngs: nnx.Rngs) -> SurrogateNetwork:
        return SurrogateNetwork(
            settings.sizes,
            neuron,
            dt=settings.t_max / command.steps,
            steps=command.steps,
            surrogate=surrogate,
            slope=command.slope,
            init=settings.init,
            rngs=rngs,
        )

    return build
