"""The folder of a run: its settings, its solution, its history; and what is measured of a solution."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from offprint.core.program import UsageError
from offprint.neural_ivp._command_plan import Plan, plan_of
from offprint.neural_ivp._command_settings import Settings
from offprint.neural_ivp._conserved import integrate
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._metrics import interior_grid, relative_l2
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._solution import Solution, load

FORMAT = 1
"""Of a run folder."""
IMAGES = (".png", ".pdf", ".svg")
POINTS = 20_000
"""Where errors and integrals are measured."""
LARGEST_GRID_DIM = 3


def start_run(folder: Path, settings: Settings) -> None:
    """A folder for a run, or the one of the same run; that of another run is refused."""
    config = json.loads(json.dumps({"format": FORMAT, "settings": settings}))  # as it will be read again
    before = _read_config(folder)
    if before is None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there and holds no run; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
    elif before != config and any(path.is_file() for path in folder.rglob("*") if path.name != "config.json"):
        old, new = dict(_flat(before["settings"])), dict(_flat(config["settings"]))
        name = next(name for name in {**new, **old} if old.get(name) != new.get(name))
        raise UsageError(
            f"the run in {folder} has {name}={old.get(name)}, not {new.get(name)}; choose another --out for other "
            "settings"
        )
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def open_run(folder: Path) -> tuple[Settings, Plan]:
    """The settings of a run, and everything it needs."""
    config = _read_config(folder)
    if config is None:
        raise UsageError(f"{folder} holds no run; run --out {folder} makes one")
    return config["settings"], plan_of(config["settings"])


def open_solution(folder: Path) -> tuple[Settings, Plan, Solution]:
    """The same, and the solution, which must be there."""
    settings, plan = open_run(folder)
    if not (folder / "solution.npz").is_file():
        raise UsageError(f"the run in {folder} is not finished; resume {folder} goes on with it")
    return settings, plan, load(folder / "solution.npz", plan.problem, plan.model)


def history_rows(solution: Solution) -> list[dict[str, Any]]:
    """The history, a dict for each attempted step."""
    names = solution.history.dtype.names or ()
    return [dict(zip(names, row.tolist())) for row in solution.history]


def error_points(domain: Box) -> Float[np.ndarray, "m d"]:
    """Interior grid points up to three dimensions, uniform random ones above; about 20 000."""
    if domain.dim <= LARGEST_GRID_DIM:
        return interior_grid(domain, round(POINTS ** (1 / domain.dim)))
    return np.asarray(domain.uniform(jax.random.key(0), POINTS))


def measured(solution: Solution) -> list[dict[str, Any]]:
    """For each output: the relative L2 error of the first field against `exact`, and what should be conserved."""
    problem = solution.problem
    X, uniform = error_points(problem.domain), problem.domain.uniform(jax.random.key(1), POINTS)
    rows = []
    for i, t in enumerate(solution.ts.tolist()):
        row: dict[str, Any] = {"t": t}
        if problem.exact is not None:
            row["relative L2"] = float(relative_l2(solution(X, i)[:, 0], exact_values(problem, X, t)[:, 0]))
        for quantity in problem.conserved:
            theta = solution.thetas[i]
            estimate = integrate(quantity, lambda x: solution.apply(theta, x, t), problem.domain, uniform, t)  # noqa: B023
            row[quantity.name] = float(estimate.value)
        rows.append(row)
    return rows


def exact_values(problem: Problem, X: Float[Array | np.ndarray, "m d"], t: float) -> Float[Array, "m k"]:
    """The reference at the points."""
    assert problem.exact is not None
    exact = problem.exact
    return jax.jit(jax.vmap(lambda x: exact(x, t)))(X)


def summary(solution: Solution) -> str:
    """One line on how a run went."""
    history = solution.history
    accepted = int(history["accepted"].sum()) if len(history) else 0
    restarts = sum(record["kept"] for record in solution.restarts[1:])
    fit = solution.restarts[0]["error"]
    parts = [
        f"{solution.status} at t = {solution.t_last:g}",
        f"{solution.thetas.shape[1]} weights",
        "initial condition as given" if fit is None else f"initial condition fitted to {fit:.2g}",
        f"{accepted} of {len(history)} steps accepted",
        f"{solution.num_rhs} right-hand sides",
        f"{restarts} restarts",
    ]
    if len(history):
        parts.append(f"largest residual on fresh points {np.nanmax(history['rho_fresh']):.2g}")
    return ", ".join(parts)


def _read_config(folder: Path) -> dict[str, Any] | None:
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["format"] == FORMAT and isinstance(config["settings"], dict):
            return config
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
        pass
    raise UsageError(f"{path} is not that of a run in format {FORMAT}, which this version reads")


def _flat(settings: Settings) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", v) for inner, v in value.items())
        else:
            yield name, value
