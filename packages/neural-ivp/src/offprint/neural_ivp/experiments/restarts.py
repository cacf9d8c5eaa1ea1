"""Conditioning and error over time, with restarts and without."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from offprint.core.experiments import Claim, Run, at_least, at_most, equals, experiment, ordered
from offprint.neural_ivp import Restart, Solution, ics, interior_grid, linear_maps, plots, problems, spectrum
from offprint.neural_ivp.experiments._solving import SolveConfig, errors, solve


@dataclass(frozen=True)
class RestartsConfig(SolveConfig):
    """Settings of the experiment on restarts: the 2-D wave equation."""

    restarts: tuple[float, ...] = (1.0,)
    """Times of the restarts."""
    spectrum_points: int = 2000
    """Points over which M is averaged for its eigenvalues."""
    modes: int = 0
    """Eigenvalues from a sketch, for large networks; 0: all of them."""


@experiment(
    "restarts",
    reproduces="Conditioning and residual over time; restarts",
    quick=RestartsConfig(10, 3, 0.2, (0.0, 0.5, 1.0, 1.5, 2.0), points=1200, fit_steps=100),
    paper=RestartsConfig(100, 5, 0.1, (0.0, 0.5, 1.0, 1.5, 2.0), 1e-8, 10_000, 1e-3, 200, 400, modes=2000),
    x64=True,
    long=True,
)
def restarts(config: RestartsConfig, run: Run) -> Iterator[Claim]:
    """The residual grows in time; a refit from random weights brings it back and makes the rest of the way better."""
    problem = problems.wave(dim=2, ic=ics.gaussian(config.sigma, amp=1.0))
    X = interior_grid(problem.domain, 60 if config.sigma > 0.1 else 200)
    solutions = {
        "no restart": solve(problem, config, run, "no restart"),
        "restarts": solve(problem, config, run, "restarts", restart=Restart.at(config.restarts)),
    }
    without, with_them = solutions.values()
    last = float(config.times[-1])
    reached = [solution.t_last for solution in solutions.values()]
    yield Claim("last time reached, without and with restarts", last, reached, equals([last, last]))
    fresh = without.history["rho_fresh"][without.history["accepted"]]
    yield Claim(
        "largest growth of the relative residual on fresh points without restarts, from its least until then",
        paper="grows",
        here=float((fresh / np.minimum.accumulate(fresh)).max()),
        rule=at_least(5),
    )
    kept = plots.restarts(with_them)
    back = [_at(with_them, "rho_fresh", t) / _at(with_them, "rho_fresh", 0.0) for t in kept]
    yield Claim(
        f"relative residual after each restart (t = {', '.join(f'{t:g}' for t in kept)}) over that of the first fit",
        paper="reset",
        here=back,
        rule=at_most(2),
    )
    found = {name: errors(solution, X) for name, solution in solutions.items()}
    run.log(times=config.times, **{name.replace(" ", "_"): values for name, values in found.items()})
    yield Claim(
        f"relative L2 error at t = {last:g}",
        paper="restarts make it smaller",
        here={"restarts": found["restarts"][-1], "none": found["no restart"][-1]},
        rule=ordered("restarts < none"),
    )
    spectra = {f"t = {t:g}": _eigenvalues(without, i, config) for i, t in enumerate(without.ts)}
    spectra[f"t = {last:g}, restarts"] = _eigenvalues(with_them, -1, config)
    ranks = {name: int((lam > 1e-8 * lam[0]).sum()) for name, lam in spectra.items()}
    largest = {name: float(lam[0]) for name, lam in spectra.items()}
    run.log(ranks=ranks, largest=largest)
    steps = {"none": _at(without, "lam_max", kept[-1]), "restarts": _at(with_them, "lam_max", kept[-1])} if kept else {}
    yield Claim(
        "largest eigenvalue of M after the last restart, and without at that time",
        paper="restarts reset the conditioning",
        here=steps,
        rule=ordered("restarts < none"),
    )
    run.figure("residuals", plots.residuals(solutions), "Dotted: restarts.")
    run.figure("history", plots.evolution(solutions), "Every accepted step; dotted: restarts.")
    curves = {name: (solutions[name].ts, values) for name, values in found.items()}
    run.figure("errors", plots.over_time(curves, "relative L2 error"), "Errors at the output times.")
    run.figure("spectra", plots.eigenvalues(spectra), f"Above 1e-8 of the largest: {ranks}.")


def _at(solution: Solution, name: str, t: float) -> float:
    """A quantity of the history in the first step from t on, or in the last step of all."""
    history = solution.history
    return float(history[name][min(int(np.searchsorted(history["t"], t - 1e-12)), len(history) - 1)])


def _eigenvalues(solution: Solution, i: int, config: RestartsConfig) -> Float[np.ndarray, " n"]:
    """Of M at an output time."""
    X = solution.problem.domain.uniform(jax.random.key(13), config.spectrum_points)
    maps = linear_maps(solution.apply, solution.thetas[i], X, float(solution.ts[i]))
    if config.modes:
        return np.asarray(spectrum(maps, config.modes, jax.random.key(17)))
    return np.asarray(spectrum(maps))
