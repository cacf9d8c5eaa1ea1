"""Figure 2: spectra of controllability Gramians, down to rounding."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, at_least, equals, experiment, near
from offprint.memory_capacity import gramian, krylov_matrix, mask, plots, reservoir

_SINGULAR = ("normal", "sparse_normal", "uniform")
_REGULAR = ("orthogonal", "cyclic")


@dataclass(frozen=True)
class GramianConfig:
    """Settings of the Gramian-spectra experiment."""

    neurons: int = 50
    """Number of neurons N."""
    rho: float = 0.9
    """Spectral radius."""
    seed: int = 0
    """Of the reservoirs and the masks."""


@experiment("gramian-spectra", reproduces="Figure 2", x64=True)
def gramian_spectra(config: GramianConfig, run: Run) -> Iterator[Claim]:
    """The controllability Gramian of a random reservoir is singular to working precision."""
    N, eps = config.neurons, float(np.finfo(float).eps)
    spectra, below = {}, {}
    for number, law in enumerate(_SINGULAR + _REGULAR):
        to_A, to_C = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), number))
        A, C = reservoir.LAWS[law](to_A, N, rho=config.rho), mask.normal(to_C, N)
        moduli = np.sort(np.abs(np.linalg.eigvals(np.asarray(gramian(A, C)))))[::-1]
        spectra[law], below[law] = moduli, int(np.sum(moduli < eps * moduli[0]))
        singular = np.linalg.svd(np.asarray(krylov_matrix(A, C, 5 * N)), compute_uv=False)
        conditions = moduli[0] / moduli[-1], (singular[0] / singular[-1]) ** 2
        run.log(law=law, below_eps=below[law], condition=conditions[0], squared_condition_of_krylov=conditions[1])
        if law == "orthogonal":
            ratio = np.log(conditions[0]) / np.log(conditions[1])
    run.figure(
        "gramian-spectra",
        plots.gramian_spectra({law.replace("_", " "): values for law, values in spectra.items()}, eps),
        f"Moduli of the eigenvalues of the controllability Gramian Γ, largest first, relative to the largest "
        f"(N = {N}, ρ = {config.rho}). What lies below the line of ε is rounding.",
    )
    for law in _SINGULAR:
        yield Claim(
            f"eigenvalues below ε times the largest, {law.replace('_', ' ')} A",
            paper="some: the Gramian is numerically singular",
            here=below[law],
            rule=at_least(1),
        )
    for law in _REGULAR:
        yield Claim(f"eigenvalues below ε times the largest, {law} A", paper="none", here=below[law], rule=equals(0))
    yield Claim("log cond(Γ) over 2 log cond(K), orthogonal A", paper=1, here=ratio, rule=near(1, 0.01))
