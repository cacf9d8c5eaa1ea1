"""From settings to what is solved: problem, network, and the arguments of `solve_ivp`."""

import inspect
import runpy
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from offprint.core.program import UsageError
from offprint.neural_ivp._anchored import Anchored
from offprint.neural_ivp._command_settings import (
    KINDS,
    OWN,
    PRESETS,
    PROBLEMS,
    TIME,
    Settings,
    build,
    check_arguments,
    made,
    settings_of,
)
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._solution import Solution
from offprint.neural_ivp._solve import FIT, LINEAR, ODE, RESTART, SAMPLER, checked_times, solve_ivp

SOLVE = {name: inspect.signature(solve_ivp).parameters[name].default for name in OWN["solve"]}
"""Arguments of `solve_ivp` that are settings, with their defaults."""


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start."""

    problem: Problem
    arguments: dict[str, Any]
    """Of `solve_ivp`, beside the problem and what a call adds."""

    @property
    def model(self) -> nnx.Module:
        """The network with its first weights."""
        return self.arguments["model"]

    def solve(self, **more: Any) -> Solution:
        """The solution."""
        return solve_ivp(self.problem, **{**self.arguments, **more})


def plan_of(settings: Settings) -> Plan:
    """Everything a run needs.

    Raises:
        UsageError, ValueError: settings that do not serve.
    """
    seed = settings["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"seed={seed!r}; a whole number from 0 is needed")
    problem = make_problem(settings)
    ts = _times(settings.get("time", {}))
    arguments = _preset(settings, problem, ts, seed)
    network, fit = dict(settings.get("network", {})), settings.get("fit", {})
    if "preset" not in settings or "kind" in network:
        arguments["model"] = _model(network, problem, seed)
    if network.get("anchored"):
        if fit:
            raise UsageError("[network] anchored=true has the initial condition exactly: leave [fit] out")
        arguments |= {"model": Anchored(arguments["model"], problem.ic), "fit": None}
    for section in ("fit", "linear", "ode", "sampler", "restart"):
        if given := settings.get(section):
            arguments[section] = build(section, given, arguments[section])
    own = settings.get("solve", {})
    check_arguments("[solve]", own, SOLVE)
    return Plan(problem, {**arguments, **own, "ts": ts, "key": jax.random.key(seed)})


def make_problem(settings: Settings) -> Problem:
    """The problem by its name, or from a file of the user's own."""
    given = dict(settings["problem"])
    name = given.pop("name")
    fixed: dict[str, Any] = {}
    if domain := settings.get("domain"):
        check_arguments("[domain]", domain, dict.fromkeys(OWN["domain"]))
        if set(domain) != set(OWN["domain"]):
            raise UsageError("[domain] needs lo and hi, each a list with a number for every coordinate")
        fixed["domain"] = made("domain", Box, domain)
    if ".py" in name:
        return _from_file(name, given, fixed, settings)
    if name not in PROBLEMS:
        raise UsageError(f"the problem {name!r} is neither one of {', '.join(PROBLEMS)} nor a file FILE.py[:NAME]")
    maker = PROBLEMS[name]
    takes = inspect.signature(maker).parameters
    check_arguments(f"[problem] {name}", given, settings_of(maker))
    if "domain" in fixed and "domain" not in takes:
        raise UsageError(f"[domain]: {name} has one of its own")
    if ic := settings.get("ic"):
        # a product bump needs the box, which the problem may choose by itself
        box = {"domain": fixed.get("domain") or made("problem", maker, given).domain}
        kind = KINDS["ic"].get(ic.get("kind", "gaussian"))
        needs = kind is not None and "domain" in inspect.signature(kind).parameters
        fixed["ic"] = build("ic", {"kind": "gaussian", **ic}, **(box if needs else {}))
    return made("problem", maker, {**given, **fixed})


def _from_file(name: str, given: Mapping[str, Any], fixed: Mapping[str, Any], settings: Settings) -> Problem:
    file, _, inside = name.rpartition(":") if name.rpartition(":")[0].endswith(".py") else (name, "", "problem")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"the problem's file {path} is not there")
    found = runpy.run_path(str(path)).get(inside)
    if callable(found) and not isinstance(found, Problem):
        if settings.get("ic"):
            raise UsageError(f"[ic] is for the problems of this package; give {inside} of {path} its own")
        check_arguments(f"[problem] {path}", given, settings_of(found))
        found = made("problem", found, {**given, **fixed})
    elif given or fixed or settings.get("ic"):
        raise UsageError(f"{inside} of {path} is no function, so that it takes no settings")
    if not isinstance(found, Problem):
        raise UsageError(f"{path} needs a Problem, or a function that returns one, named {inside!r}; write {path}:NAME")
    return found


def _times(given: Mapping[str, Any]) -> np.ndarray:
    check_arguments("[time]", given, {"end": 0.5, "outputs": 5, "times": None})
    if "times" in given:
        if set(given) != {"times"} or not isinstance(given["times"], list):
            raise UsageError("[time] has either times, a list that begins with 0, or end and outputs")
        try:
            times = np.asarray(given["times"], float)
        except (TypeError, ValueError):
            raise UsageError(f"[time] times={given['times']!r}; a list of numbers is needed") from None
        return checked_times(times, fitted=True)
    end, outputs = (given.get(name, TIME[name]) for name in ("end", "outputs"))
    if not end > 0 or outputs < 1:
        raise UsageError(f"[time] end={end}, outputs={outputs}; a time above 0 and at least 1 output are needed")
    return np.linspace(0, end, outputs + 1)


def _preset(settings: Settings, problem: Problem, ts: np.ndarray, seed: int) -> dict[str, Any]:
    """The arguments of `solve_ivp` before the sections change them."""
    if "preset" not in settings:
        return {"fit": FIT, "linear": LINEAR, "ode": ODE, "sampler": SAMPLER, "restart": RESTART}
    name, network = settings["preset"], settings.get("network", {})
    if name not in PRESETS:
        raise UsageError(f"the preset {name!r} is unknown; there are {', '.join(PRESETS)}")
    more = {"width": network["width"]} if "width" in network and "kind" not in network else {}
    if "kind" not in network and (others := set(network) - {"width", "anchored"}):
        raise UsageError(f"[network] {min(others)} beside a preset: give a kind too, to replace the preset's network")
    if name == "rsng":
        more["step"] = settings.get("ode", {}).get("step", float(ts[-1]) / 100)
    return PRESETS[name](problem, rngs=nnx.Rngs(seed), **more)


def _model(given: Mapping[str, Any], problem: Problem, seed: int) -> nnx.Module:
    given = {"kind": "sinusoidal", **{name: value for name, value in given.items() if name != "anchored"}}
    fixed = {"domain": problem.domain, "out_features": problem.n_fields, "bc": problem.bc, "rngs": nnx.Rngs(seed)}
    return build("network", given, **fixed)


def with_points(sampler: Any, n: int) -> Any:
    """The sampler with another number of points; those with a fixed rule stay as they are."""
    return replace(sampler, n=n) if "n" in {field.name for field in fields(sampler)} else sampler
