"""Figures 4 and 5: memory curves over many masks, by every estimator."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array

from offprint.core.experiments import Claim, Run, at_most, between, experiment
from offprint.memory_capacity import memory_curve, plots, reservoir
from offprint.memory_capacity.experiments._mask_curves import MaskCurves, band, draw_masks, mask_curves


@dataclass(frozen=True)
class BandsConfig:
    """Settings of the experiment on curves with bands."""

    neurons: int = 100
    """Number of neurons N."""
    rho: float = 0.9
    """Spectral radius."""
    masks: int = 100
    """Masks drawn for each network, B."""
    matrix_laws: tuple[str, ...] = (
        "normal",
        "uniform",
        "sparse_normal",
        "sparse_conditioned",
        "orthogonal",
        "cyclic",
    )
    """Laws of A, with Gaussian masks."""
    mask_laws: tuple[str, ...] = ("uniform", "sparse", "ones", "unit_vector")
    """Laws of C, with a Gaussian A."""
    seed: int = 0
    """Of the reservoirs and the masks."""


@experiment("bands", reproduces="Figures 4-5", paper=BandsConfig(masks=1000), x64=True)
def bands(config: BandsConfig, run: Run) -> Iterator[Claim]:
    """The naive estimate loses the long lags, one OSM draw is noise, OSM+ averages it; the exact curve is sharp."""
    N, root = config.neurons, jax.random.key(config.seed)
    to_A, to_C = jax.random.split(root)
    matrices = {
        law: reservoir.LAWS[law](jax.random.fold_in(to_A, number), N, rho=config.rho)
        for number, law in enumerate(config.matrix_laws)
    }
    by_matrix = {law: _curves(A, "normal", to_C, config) for law, A in matrices.items()}
    normal = matrices.get("normal", reservoir.normal(to_A, N, rho=config.rho))
    by_mask = {law: _curves(normal, law, to_C, config) for law in config.mask_laws}
    exact = {law: np.asarray(memory_curve(A, n_lags=5 * N).values) for law, A in matrices.items()}
    exact_normal = np.asarray(memory_curve(normal, n_lags=5 * N).values)
    for law, curves in by_matrix.items():
        _log(run, f"A {law}, C normal", curves, exact[law])
    for law, curves in by_mask.items():
        _log(run, f"A normal, C {law}", curves, exact_normal)

    setting = f"N = {N}, ρ = {config.rho}, {config.masks} masks, bands from 5 to 95 %"
    panels = {f"{_words(law)} $A$": _panel(curves, exact[law]) for law, curves in by_matrix.items()}
    run.figure("matrices", plots.memory_curves(panels, N, max_lag=2 * N), f"Laws of A with Gaussian masks ({setting}).")
    if by_mask:
        panels = {f"Gaussian $A$, {_words(law)} $C$": _panel(c, exact_normal) for law, c in by_mask.items()}
        run.figure(
            "masks",
            plots.memory_curves(panels, N, max_lag=2 * N, max_cols=2),
            f"Laws of C with one Gaussian A ({setting}; constant masks and e_1 are one mask).",
        )

    every = [*by_matrix.values(), *by_mask.values()]
    yield Claim(
        "largest deviation of an OSM total from N, over all laws and masks",
        paper="0: the total is N, whatever the network",
        here=max(np.abs(curves.osm.sum(axis=1) - N).max() for curves in every),
        rule=at_most(1e-6),
    )
    deficient = [law for law in ("normal", "uniform", "sparse_normal") if law in by_matrix]
    if deficient:
        yield Claim(
            "mean total of the naive estimate (A normal, uniform, sparse)",
            paper=f"below N = {N}",
            here={law: by_matrix[law].naive.sum(axis=1).mean() for law in deficient},
            rule=at_most(N - 1),
        )
    if "normal" in by_matrix:
        errors = np.abs(by_matrix["normal"].osm - exact["normal"]).max(axis=1)
        yield Claim(
            "largest error of one OSM curve, Gaussian A (median over masks)", "0.2 to 0.65", np.median(errors),
            between(0.2, 0.65),
        )  # fmt: skip
        yield Claim(
            "largest error of OSM+, Gaussian A",
            paper="0.18 (another draw: 0.27)",
            here=np.abs(by_matrix["normal"].osm_plus - exact["normal"]).max(),
            rule=between(0.1, 0.4),
        )
    for law in ("orthogonal", "cyclic"):
        if law in by_matrix:
            curves = by_matrix[law]
            yield Claim(
                f"largest error of naive and OSM for any mask, {law} A",
                paper="0: both are right where the Krylov matrix is well conditioned",
                here=max(np.abs(values - exact[law]).max() for values in curves),
                rule=at_most(1e-6),
            )


def _curves(A: Array, law: str, key: Array, config: BandsConfig) -> MaskCurves:
    return mask_curves(A, draw_masks(key, law, config.neurons, config.masks), 5 * config.neurons)


def _panel(curves: MaskCurves, exact: np.ndarray) -> dict[str, np.ndarray | plots.Band]:
    if len(curves.osm) == 1:  # a constant mask: there is nothing to average
        return {"naive": curves.naive[0], "OSM": curves.osm[0], "exact": exact}
    return {"naive": band(curves.naive), "OSM": curves.osm[0], "OSM+": band(curves.osm), "exact": exact}


def _log(run: Run, network: str, curves: MaskCurves, exact: np.ndarray) -> None:
    run.log(
        network=network,
        naive_total=curves.naive.sum(axis=1).mean(),
        osm_plus_total=curves.osm_plus.sum(),
        exact_total=exact.sum(),
        naive_error=np.abs(curves.naive.mean(axis=0) - exact).max(),
        osm_error=np.median(np.abs(curves.osm - exact).max(axis=1)),
        osm_plus_error=np.abs(curves.osm_plus - exact).max(),
    )


def _words(law: str) -> str:
    return {"normal": "Gaussian", "sparse_normal": "sparse (10 %)", "sparse_conditioned": "sparse (rcond 0.7)"}.get(
        law, {"unit_vector": "unit vector", "ones": "constant"}.get(law, law)
    )
