"""Figure 6: spectra of reservoir matrices in the unit disk."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, at_most, between, experiment, near
from offprint.memory_capacity import plots, reservoir

_CIRCULAR = ("normal", "uniform", "sparse_normal")


@dataclass(frozen=True)
class SpectraConfig:
    """Settings of the experiment on eigenvalues."""

    neurons: int = 100
    """Number of neurons N."""
    seed: int = 0
    """Of the reservoirs."""


@experiment("spectra", reproduces="Figure 6", x64=True)
def spectra(config: SpectraConfig, run: Run) -> Iterator[Claim]:
    """At their natural scale, random reservoirs fill the unit disk and orthogonal ones lie on its circle."""
    laws = (*_CIRCULAR, "sparse_conditioned", "orthogonal", "cyclic")
    found = {}
    for number, law in enumerate(laws):
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        # As drawn where the law has a scale of its own; a unit spectral radius where it has not.
        scale = None if law in _CIRCULAR else 1.0
        found[law] = np.linalg.eigvals(np.asarray(reservoir.LAWS[law](key, config.neurons, rho=scale)))
        moduli = np.abs(found[law])
        run.log(law=law, radius=moduli.max(), inside=np.mean(moduli <= 0.9))
    run.figure(
        "spectra",
        plots.eigenvalue_disks({law.replace("_", " "): values for law, values in found.items()}),
        f"Eigenvalues of reservoir matrices (N = {config.neurons}); normal, uniform and sparse normal as drawn, with "
        "entries of variance 1/N, the others at spectral radius 1.",
    )
    for law in _CIRCULAR:
        moduli = np.abs(found[law])
        yield Claim(f"spectral radius as drawn, {law.replace('_', ' ')}", "near 1", moduli.max(), between(0.85, 1.2))
        yield Claim(
            f"share of eigenvalues within 0.9, {law.replace('_', ' ')}",
            paper="0.81 (uniform in the disk)",
            here=np.mean(moduli <= 0.9),
            rule=near(0.81, 0.1),
        )
    yield Claim(
        "largest distance of an eigenvalue from the unit circle, orthogonal and cyclic",
        paper=0,
        here=[np.abs(np.abs(found[law]) - 1).max() for law in ("orthogonal", "cyclic")],
        rule=at_most(1e-10),
    )
