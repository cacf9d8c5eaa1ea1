"""Information processing capacity of a tanh network, by degree."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, at_least, at_most, between, equals, experiment
from offprint.memory_capacity import data, information_processing_capacity, mask, plots, reservoir, simulate


@dataclass(frozen=True)
class IPCConfig:
    """Settings of the experiment on information processing capacity."""

    neurons: int = 8
    """Number of neurons N."""
    rho: float = 0.8
    """Spectral radius of the Gaussian reservoir."""
    samples: int = 6000
    """Sample size T after the washout."""
    washout: int = 200
    """First states dropped, which are history for the targets."""
    degrees_delays: tuple[tuple[int, int], ...] = ((1, 40), (2, 12), (3, 7), (4, 4))
    """Pairs (degree, largest delay): all targets of that degree with delays up to there."""
    gains: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0, 3.0)
    """Input gains ι, from weak to strong."""
    bias: float = 0.5
    """Bias of the network whose second-order map is drawn: without one, even degrees vanish."""
    seed: int = 0
    """Of the reservoir, the mask and the input."""


@experiment(
    "ipc",
    reproduces="Information processing capacity (Dambre et al. 2012)",
    paper=IPCConfig(
        neurons=50,
        samples=1_000_000,
        washout=10_000,
        degrees_delays=((1, 2000), (2, 300), (3, 50), (4, 30), (5, 15)),
        gains=(0.01, 1.0),
    ),
    x64=True,
)
def ipc(config: IPCConfig, run: Run) -> Iterator[Claim]:
    """Capacities of all products of Legendre polynomials add up to the rank; an odd network has no even ones."""
    N = config.neurons
    to_A, to_C, to_z = jax.random.split(jax.random.key(config.seed), 3)
    A = reservoir.normal(to_A, N, rho=config.rho)
    C = mask.uniform(to_C, N, normalise=False)
    z = data.uniform(to_z, config.samples + config.washout)

    def measure(gain: float, bias: float = 0.0):
        states = simulate(A, gain * C, z, bias=bias, washout=0)
        return information_processing_capacity(states, z, config.degrees_delays, washout=config.washout)

    stacks = {gain: measure(gain) for gain in config.gains}
    for gain, found in stacks.items():
        run.log(gain=gain, by_degree=found.by_degree, total=found.total, rank=int(found.rank))
    run.figure(
        "stacks",
        plots.capacity_stacks([f"{gain:g}" for gain in stacks], [found.by_degree for found in stacks.values()], N),
        f"Significant information processing capacity of a tanh network without bias (N = {N}, ρ = {config.rho}, "
        f"T = {config.samples}) by degree, against the input gain.",
    )
    biased = measure(1.0, config.bias)
    run.log(bias=config.bias, by_degree=biased.by_degree, total=biased.total, rank=int(biased.rank))
    run.figure(
        "second-order",
        plots.second_order_map(biased.second_order),
        f"Second-order memory of the network with bias {config.bias:g} at gain 1: capacity of the product of two "
        "delayed inputs; on the diagonal, of the second Legendre polynomial at one.",
    )
    even = [degree for degree, _ in config.degrees_delays if degree % 2 == 0]
    yield Claim(
        "capacity of even degrees, over all gains (tanh is odd)",
        paper=0,
        here=max(float(np.asarray(found.by_degree)[degree - 1]) for found in stacks.values() for degree in even),
        rule=at_most(0.05),
    )
    yield Claim(
        "rank of the states, at every gain", N, sorted({int(found.rank) for found in stacks.values()}), equals([N])
    )
    if 1.0 in stacks:
        yield Claim(
            "total at gain 1 over the rank",
            paper="0.955 for another network with these targets (4.93 + 2.71 of 8)",
            here=float(stacks[1.0].total) / int(stacks[1.0].rank),
            rule=between(0.9, 1.01),
        )
    yield Claim(
        "largest total over the rank", "at most 1", max(float(f.total) / int(f.rank) for f in stacks.values()),
        at_most(1.01),
    )  # fmt: skip
    yield Claim(
        "share of degree 1 at the weakest gain",
        paper="1: a weak input sees a linear network",
        here=float(stacks[min(stacks)].by_degree[0]) / float(stacks[min(stacks)].total),
        rule=at_least(0.95),
    )
    yield Claim(
        "capacity of degree 2 with a bias",
        "above 0: a bias breaks the symmetry",
        float(biased.by_degree[1]),
        at_least(0.5),
    )
