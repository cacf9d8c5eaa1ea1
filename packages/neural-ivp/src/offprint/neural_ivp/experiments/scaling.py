"""Cost of one right-hand side over the number of weights, and what the preconditioner saves."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array

from offprint.core.experiments import Claim, Run, at_least, at_most, equals, experiment
from offprint.neural_ivp import (
    Functional,
    GaussNewtonFit,
    NystromPCG,
    Problem,
    SinusoidalMLP,
    functional,
    ics,
    linear_maps,
    pcg,
    pde_values,
    plots,
    problems,
    theta_dot,
)


@dataclass(frozen=True)
class ScalingConfig:
    """Settings of the measurements of cost."""

    widths: tuple[int, ...] = (25, 50, 100)
    """Networks on which the matrix-free right-hand side is timed."""
    points: int = 500
    """Points of these."""
    rank: int = 50
    """Of the sketch."""
    iterations: int = 20
    """Of the conjugate gradients, whatever they reach."""
    dense: tuple[int, ...] = (500, 1000, 2000)
    """Sizes of the systems that are solved densely."""
    repeats: int = 3
    """Measurements, of which the least counts."""
    width: int = 8
    """Of the networks on which iterations are counted, for each field; they are fitted first."""


@experiment(
    "scaling",
    reproduces="Scalability: time and iterations over the number of weights, with and without preconditioner",
    paper=ScalingConfig((50, 100, 200, 400, 800), 2000, 200, 50, (1000, 2000, 4000, 8000, 16_000), 5, 16),
    x64=True,
    long=True,
)
def scaling(config: ScalingConfig, run: Run) -> Iterator[Claim]:
    """The matrix-free solve costs in proportion to the weights, a dense one with their cube."""
    yield from _iterations(config, run)
    problem = problems.advection(ic=ics.gaussian(0.2, amp=1.0))
    linear = NystromPCG(rank=config.rank, mu=1e-6, tol=1e-30, maxiter=config.iterations)
    sizes, seconds, memory = [], [], []
    for width in config.widths:
        right_hand_side, arguments = _compiled(problem, width, config.points, linear)
        sizes.append(len(arguments[0]))
        seconds.append(_cpu_seconds(right_hand_side, arguments, config.repeats))
        memory.append(right_hand_side.memory_analysis().temp_size_in_bytes)
    dense = [_cpu_seconds(*_dense_solve(p), config.repeats) for p in config.dense]
    run.log(p=sizes, seconds=seconds, memory=memory, dense_p=config.dense, dense_seconds=dense)
    fixed = f"{config.points} points, rank {config.rank}, {config.iterations} iterations"
    matrix_free, cubic = plots.slope(sizes, seconds), plots.slope(config.dense, dense)
    yield Claim(
        f"exponent of CPU time in p from {sizes[0]} to {sizes[-1]} weights, {fixed}", 1, matrix_free, at_most(1.15)
    )
    ends = f"{config.dense[0]} to {config.dense[-1]}"
    yield Claim(f"exponent of CPU time in p of a dense solve of (M + aI) v = F, {ends} weights", 3, cubic, at_least(2))
    yield Claim("exponent of the working memory in p", 1, plots.slope(sizes, memory), at_most(1.15))
    yield from _chunks(config, problem, run)
    curves = {"Nyström-PCG, a whole right-hand side": (sizes, seconds), "dense solve alone": (config.dense, dense)}
    run.figure("time", plots.scaling(curves, "CPU-seconds"), fixed + ".")
    kept = {"Nyström-PCG": (sizes, np.asarray(memory) / 2**20)}
    run.figure("memory", plots.scaling(kept, "working memory, MB"), fixed + ".")


def _chunks(config: ScalingConfig, problem: Problem, run: Run) -> Iterator[Claim]:
    """Memory with points in chunks: what grows with their number is a few numbers for each."""
    linear = NystromPCG(rank=config.rank, mu=1e-6, tol=1e-8, maxiter=100, chunk=256)
    counts, memory = (1024, 8192), []
    for points in counts:
        run_once, _ = _compiled(problem, config.widths[0], points, linear)
        memory.append(run_once.memory_analysis().temp_size_in_bytes)
    run.log(points=counts, chunk=256, memory=memory)
    yield Claim(
        f"working memory with {counts[1]} points over that with {counts[0]}, in chunks of 256",
        paper="independent of the number of points",
        here=memory[1] / memory[0],
        rule=at_most(1.2),
    )


def _compiled(problem: Problem, width: int, points: int, linear: NystromPCG) -> tuple[Any, tuple[Array, ...]]:
    """One right-hand side for random weights, and its arguments."""
    apply, theta = functional(SinusoidalMLP(problem.domain, 1, width, n_freq=3, rngs=nnx.Rngs(0)))

    def velocity(theta: Array, X: Array, key: Array) -> Array:
        return theta_dot(problem, apply, theta, X, 0.0, linear, key)[0]

    arguments = theta, problem.domain.uniform(jax.random.key(1), points), jax.random.key(2)
    return jax.jit(velocity).lower(*arguments).compile(), arguments


def _dense_solve(p: int) -> tuple[Callable[..., Array], tuple[Array, ...]]:
    """(M + a I) v = F by Cholesky, for M of the size p."""
    J = jax.random.normal(jax.random.key(p), (p + 50, p))
    arguments = J.T @ J / len(J) + 1e-6 * jnp.eye(p), J[0]
    return jax.jit(lambda M, F: cho_solve(cho_factor(M), F)).lower(*arguments).compile(), arguments


def _cpu_seconds(function: Callable[..., Array], arguments: tuple[Array, ...], repeats: int) -> float:
    """CPU-seconds of a call, which say the same on a busy machine; the least of some, after one that does not count."""
    jax.block_until_ready(function(*arguments))
    found = []
    for _ in range(repeats):
        began = time.process_time()
        jax.block_until_ready(function(*arguments))
        found.append(time.process_time() - began)
    return min(found)


# Problem, frequencies of the embedding, points, rank of the sketch, μ.
KINDS: dict[str, tuple[Callable[[], Problem], int, int, int, float]] = {
    "advection 2-D": (lambda: problems.advection(ic=ics.gaussian(0.2, amp=1.0)), 3, 256, 60, 1e-6),
    "heat 2-D": (lambda: problems.heat(ic=ics.gaussian(0.2, amp=1.0)), 3, 256, 60, 1e-6),
    "wave 2-D": (lambda: problems.wave(dim=2, ic=ics.gaussian(0.2, amp=1.0)), 3, 300, 80, 1e-6),
    "wave 3-D": (lambda: problems.wave(dim=3, ic=ics.gaussian(0.2, amp=1.0)), 2, 300, 80, 1e-7),
    "Vlasov 6-D": (problems.vlasov, 2, 400, 80, 1e-6),
    "Fokker-Planck 5-D": (problems.fokker_planck, 2, 400, 80, 1e-6),
    "wave maps": (problems.wave_maps, 2, 300, 80, 1e-6),
}


def _iterations(config: ScalingConfig, run: Run) -> Iterator[Claim]:
    counts, ratios, converged = {}, {}, []
    for name, (make, n_freq, points, rank, mu) in KINDS.items():
        problem = make()
        width = config.width + 2 if problem.n_fields == 1 else config.width
        apply, theta = functional(
            SinusoidalMLP(problem.domain, problem.n_fields, width, n_freq=n_freq, rngs=nnx.Rngs(0))
        )
        theta, _ = GaussNewtonFit(steps=10, points=1000)(apply, theta, problem.ic, jax.random.key(0))
        linear = NystromPCG(rank=rank, mu=mu, tol=1e-8, maxiter=2000, couple_components=True)

        @jax.jit
        def both(
            theta: Array, X: Array, problem: Problem = problem, apply: Functional = apply, linear: NystromPCG = linear
        ) -> tuple[Array, Array, Array]:
            maps = linear_maps(apply, theta, X)
            f = pde_values(apply, problem.pde, theta, X)
            _, seen = linear.solve(maps, f, jax.random.key(3))
            plain = pcg(lambda v: maps.matvec(v) + seen.adjusted_mu * v, maps.project(f), None, 1e-8, 20_000)
            return seen.iterations, plain.iters, seen.converged & plain.converged

        X = problem.domain.uniform(jax.random.key(1), points)
        sketched, plain, good = both(theta, X)
        counts[name] = {"no preconditioner": int(plain), "Nyström": int(sketched)}
        ratios[name] = int(plain) / int(sketched)
        converged.append(bool(good))
        run.log(problem=name, p=apply.num_params, points=points, rank=rank, mu=mu, **counts[name])
    yield Claim("both solves converge to 1e-8", "", converged, equals([True] * len(KINDS)))
    yield Claim(
        "iterations without the preconditioner over those with it, for the seven kinds of problem",
        paper="many times fewer iterations",
        here=ratios,
        rule=at_least(8),
    )
    run.figure("iterations", plots.iterations(counts), "Conjugate gradients to a relative residual of 1e-8.")
