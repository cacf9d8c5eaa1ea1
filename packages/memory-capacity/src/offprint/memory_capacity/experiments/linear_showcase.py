"""The showcase: naive estimate against OSM+, from a random reservoir to a delay line."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, at_least, at_most, equals, experiment
from offprint.memory_capacity import memory_curve, plots, reservoir
from offprint.memory_capacity.experiments._mask_curves import band, draw_masks, mask_curves


@dataclass(frozen=True)
class ShowcaseConfig:
    """Settings of the showcase."""

    neurons: int = 100
    """Number of neurons N."""
    rho: float = 0.9
    """Spectral radius, except of the delay line, where it is zero."""
    masks: int = 20
    """Gaussian masks drawn for each network."""
    seed: int = 0
    """Of the reservoirs and the masks."""


@experiment("showcase", reproduces="Showcase figure", paper=ShowcaseConfig(masks=1000), x64=True)
def showcase(config: ShowcaseConfig, run: Run) -> Iterator[Claim]:
    """From a random reservoir to a delay line: every total is N, and the naive estimate sees it only in some."""
    N = config.neurons
    to_A, to_C = jax.random.split(jax.random.key(config.seed))
    naive: dict[str, float] = {}
    exact: dict[str, np.ndarray] = {}
    panels: dict[str, dict[str, np.ndarray | plots.Band]] = {}
    for number, law in enumerate(("normal", "sparse_normal", "orthogonal", "delay_line")):
        A = reservoir.LAWS[law](jax.random.fold_in(to_A, number), N, rho=config.rho)
        # The shift register takes its input at its first stage.
        masks = draw_masks(to_C, "unit_vector" if law == "delay_line" else "normal", N, config.masks)
        curves = mask_curves(A, masks, 5 * N)
        exact[law] = np.asarray(memory_curve(A, masks[0], 5 * N).values)
        naive[law] = curves.naive.sum(axis=1).mean()
        run.log(law=law, naive=naive[law], osm_plus=curves.osm_plus.sum(), exact=exact[law].sum())
        panels[law.replace("_", " ")] = {"naive": band(curves.naive), "OSM+": band(curves.osm), "exact": exact[law]}
    run.figure(
        "showcase",
        plots.memory_curves(panels, N, max_lag=2 * N, max_cols=2),
        f"Naive estimate and OSM+ beside the exact curve (N = {N}, ρ = {config.rho}, {config.masks} masks, bands from "
        "5 to 95 %). The delay line has spectral radius 0 and takes its input at the first neuron.",
    )
    yield Claim(
        "naive total over N (normal, sparse)",
        paper="below 0.9",
        here={law: naive[law] / N for law in ("normal", "sparse_normal")},
        rule=at_most(0.9),
    )
    yield Claim(
        "naive total over N (orthogonal, delay line)",
        paper=1,
        here={law: naive[law] / N for law in ("orthogonal", "delay_line")},
        rule=at_least(1 - 1e-8),
    )
    line = exact["delay_line"]
    yield Claim(
        "largest error of the exact curve of the delay line", "0: 1 below N, 0 from N on", _off(line, N), at_most(1e-12)
    )
    yield Claim("lags that the delay line holds", N, int(np.sum(line > 0.5)), equals(N))


def _off(curve: np.ndarray, neurons: int) -> float:
    return float(np.abs(curve - (np.arange(curve.size) < neurons)).max())
