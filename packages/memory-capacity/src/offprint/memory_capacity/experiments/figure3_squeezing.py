"""Figure 3: Krylov subspace squeezing."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, at_most, equals, experiment
from offprint.memory_capacity import krylov_distances, mask, plots, reachable_rank, reservoir


@dataclass(frozen=True)
class SqueezingConfig:
    """Settings of the Krylov-squeezing experiment."""

    neurons: int = 100
    """Number of neurons N."""
    rho: float = 0.9
    """Spectral radius."""
    laws: tuple[str, ...] = ("normal", "symmetric", "orthogonal")
    """Laws of A, of which `normal` has to be one."""
    seed: int = 0
    """Of the reservoirs."""


@experiment(
    "squeezing",
    reproduces="Figure 3",
    paper=SqueezingConfig(laws=("normal", "sparse_normal", "uniform", "symmetric", "orthogonal", "cyclic")),
    x64=True,
)
def squeezing(config: SqueezingConfig, run: Run) -> Iterator[Claim]:
    """New Krylov directions shrink like the product of the largest eigenvalues, and vanish long before the N-th."""
    N, eps = config.neurons, np.finfo(float).eps
    distances, ranks = {}, {}
    for number, law in enumerate(config.laws):
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        A = reservoir.LAWS[law](key, N, rho=config.rho)
        # A constant mask reaches one direction of a ring: there the mask has to be drawn.
        C = mask.normal(key, N) if law == "cyclic" else mask.ones(None, N)
        title = law.replace("_", " ")
        distances[title] = krylov_distances(A, C, round(1.5 * N))
        ranks[title] = int(reachable_rank(A, C, "svd"))
        first = np.asarray(distances[title].arnoldi) < eps
        gone = int(np.argmax(first)) if first.any() else None
        exact = reachable_rank(A, C, "exact")
        run.log(law=law, numerical_rank=ranks[title], exact_rank=exact, first_below_eps=gone)
        if law == "normal":
            normal = distances[title], ranks[title], exact, gone
    run.figure(
        "squeezing",
        plots.squeezing(distances, config.rho, ranks),
        f"Distance of A^j C from the span of C, ..., A^(j-1) C, computed with two bases, beside the product of the j "
        f"largest moduli of the eigenvalues of A (N = {N}, ρ = {config.rho}, C = 1/√N). The vertical line is the "
        "numerical rank of [C, AC, ..., A^(N-1) C].",
    )
    found, numerical, exact, gone = normal
    by_arnoldi, by_svd = np.asarray(found.arnoldi), np.asarray(found.svd)
    clear = by_arnoldi > 1e-10
    yield Claim(
        "largest relative difference of the two bases' distances, where above 1e-10 (Gaussian A)",
        paper="the same curve",
        here=np.max(np.abs(by_svd - by_arnoldi)[clear] / by_arnoldi[clear]),
        rule=at_most(1e-6),
    )
    yield Claim(
        "power at which new directions fall below ε (Gaussian A)",
        paper=f"long before N = {N}",
        here=N if gone is None else gone,
        rule=at_most(N - 1),
    )
    yield Claim("numerical rank of the Krylov matrix (Gaussian A)", f"below N = {N}", numerical, at_most(N - 1))
    yield Claim("exact controllability rank of the same matrix", paper=N, here=exact, rule=equals(N))
