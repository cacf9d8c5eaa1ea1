"""The phase diagram of initialisations (Marion et al. 2025)."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.experiments import Claim, Run, equals, experiment, holds_when
from offprint.resnet_scaling import log_ratios, phase_diagram, plots

_IID = {
    "β=1, L=100": 0.065,
    "β=1, L=1000": 0.023,
    "β=0.5, L=100": 0.85,
    "β=0.5, L=1000": 0.77,
    "β=0.25, L=100": 11.0,
    "β=0.25, L=1000": 2.5e3,
}
_MARGIN = 0.15


@dataclass(frozen=True)
class PhaseConfig:
    """Settings of the phase diagram."""

    hursts: tuple[float, ...] = (0.2, 0.5, 0.8)
    """Hurst exponents of the weights along the layers."""
    betas: tuple[float, ...] = tuple(np.linspace(0.0, 1.3, 27).round(3).tolist())
    """Scalings L^-β."""
    width: int = 40
    """Width d."""
    repeats: int = 3
    """Networks for each Hurst exponent."""
    iid_repeats: int = 60
    """Networks with independent weights."""
    seed: int = 0
    """Of the weights."""


@experiment(
    "phase",
    reproduces="Phase diagram at initialisation (Marion et al.)",
    paper=PhaseConfig(
        hursts=(*np.linspace(0.05, 0.97, 51).round(4).tolist(), 0.2, 0.5, 0.8),
        betas=tuple(np.linspace(0, 1.3, 70).round(4).tolist()),
        repeats=50,
        iid_repeats=500,
    ),
)
def phase(config: PhaseConfig, run: Run) -> Iterator[Claim]:
    """Random networks tend to the identity for β above max(½, H) and explode below; for iid weights the edge is ½."""
    key = jax.random.key(config.seed)
    iid = _iid_ratios(config)
    hursts = np.array(sorted(set(config.hursts)))
    diagram = phase_diagram(key, hursts, config.betas, depth=1000, width=config.width, repeats=config.repeats)
    run.log(iid=iid, hursts=hursts.tolist(), critical_betas=diagram.critical_betas.tolist())
    run.figure(
        "phase",
        plots.phase_diagram(diagram),
        f"Median of log10 of |h_L - h_0| / |h_0| at initialisation (L = 1000, d = {config.width}, "
        f"{config.repeats} networks), with the β where it is 0 and the line max(½, H).",
    )
    yield Claim(
        "|h_L - h_0| / |h_0| for iid weights, root mean square",
        paper=", ".join(f"{value:g} at {name}" for name, value in _IID.items()),
        here=iid,
        rule=holds_when(
            "within 30 % of each", lambda here: all(abs(here[name] / value - 1) <= 0.3 for name, value in _IID.items())
        ),
    )
    for H in (0.2, 0.5, 0.8):
        row, edge = diagram.median[hursts.tolist().index(H)], max(0.5, H)
        apart = np.abs(diagram.betas - edge) >= _MARGIN - 1e-9
        right = np.sign(row) == np.sign(edge - diagram.betas)
        yield Claim(
            f"share of β with the right sign of the log ratio, |β - max(½, H)| >= {_MARGIN}, H = {H}",
            paper=1,
            here=float(right[apart].mean()),
            rule=equals(1.0),
        )


def _iid_ratios(config: PhaseConfig) -> dict[str, float]:
    """Root mean square over the networks, which is what a mean over inputs would tend to; the median is lower where
    ratios are large, by their skewness (1.7e3 at β = ¼, L = 1000)."""
    found = {}
    for L in (100, 1000):
        logs = log_ratios(
            jax.random.key(config.seed),
            L,
            jnp.array([1.0, 0.5, 0.25]),
            width=config.width,
            repeats=config.iid_repeats,
        )
        for beta, row in zip((1, 0.5, 0.25), np.asarray(logs, float)):
            found[f"β={beta:g}, L={L}"] = float(np.sqrt(np.mean(10 ** (2 * row))))
    return {name: found[name] for name in _IID}
