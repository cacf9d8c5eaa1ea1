"""Neutrality: the memory of a linear network does not depend on its input mask."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment
from offprint.memory_capacity import memory_curve, plots, reservoir
from offprint.memory_capacity.experiments._mask_curves import draw_masks, mask_curves


@dataclass(frozen=True)
class NeutralityConfig:
    """Settings of the neutrality experiment."""

    neurons: int = 100
    """Number of neurons N."""
    small: int = 10
    """Number of neurons of a network so small that OSM is accurate."""
    rho: float = 0.9
    """Spectral radius of the Gaussian reservoirs."""
    masks: int = 20
    """Gaussian masks drawn."""
    seed: int = 0
    """Of the reservoirs and the masks."""


@experiment("neutrality", reproduces="Theorem on input mask neutrality", paper=NeutralityConfig(masks=1000), x64=True)
def neutrality(config: NeutralityConfig, run: Run) -> Iterator[Claim]:
    """The whole memory curve is the same for every mask, and OSM says otherwise."""
    to_A, to_C, to_small = jax.random.split(jax.random.key(config.seed), 3)
    A = reservoir.normal(to_A, config.neurons, rho=config.rho)
    masks = draw_masks(to_C, "normal", config.neurons, config.masks)
    # The rank is looked for with every mask: a mask that reaches less of the network gives another curve.
    exact = np.stack([np.asarray(memory_curve(A, C, rank="exact").values) for C in masks])
    osm = mask_curves(A, masks, 5 * config.neurons).osm

    small = reservoir.normal(to_small, config.small, rho=config.rho)
    of_small = mask_curves(small, draw_masks(to_C, "normal", config.small, config.masks), 10 * config.small).osm
    exact_of_small = np.asarray(memory_curve(small, n_lags=10 * config.small).values)

    spread = {name: float(np.ptp(values, axis=0).max()) for name, values in (("exact", exact), ("osm", osm))}
    run.log(**spread, small=float(np.ptp(of_small, axis=0).max()))
    shown = min(config.masks, 20)
    panels = {f"OSM, {shown} masks": list(osm[:shown]), f"exact, {shown} masks": list(exact[:shown])}
    run.figure(
        "neutrality",
        plots.memory_curves_of_masks(panels, config.neurons, max_lag=2 * config.neurons),
        f"Memory curves of one Gaussian reservoir (N = {config.neurons}, ρ = {config.rho}) for {shown} masks: by OSM, "
        "which scatters, and exactly, where they coincide.",
    )
    yield Claim(
        f"spread of the exact curve, its rank found anew for each of {config.masks} masks, N = {config.neurons}",
        paper=0,
        here=spread["exact"],
        rule=at_most(1e-12),
    )
    yield Claim(
        f"largest deviation from the exact curve of OSM, which reads the mask, over {config.masks} masks, "
        f"N = {config.small} (accurate there)",
        paper=0,
        here=np.abs(of_small - exact_of_small).max(),
        rule=at_most(1e-6),
    )
    yield Claim(
        f"spread of the OSM curve over {config.masks} masks, N = {config.neurons}",
        paper="above 0.1: an artefact",
        here=spread["osm"],
        rule=at_least(0.1),
    )
