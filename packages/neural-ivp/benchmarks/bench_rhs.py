"""One right-hand side dθ/dt against the arithmetic of the authors' code: time, memory, compilation, iterations.

    python bench_rhs.py [--quick] [--large]

The workload is advection in two dimensions: N points, a sketch of r columns, a fixed number of iterations. The
authors' arithmetic is written out here: each product is the gradient of ½ mean|J v|², which evaluates the network
again; all columns of the sketch at once; singular values of the tall p x r matrix; iterations in float64 on products
in float32. Both sides get the same weights, points and test matrix. CPU-seconds stand beside wall time, since they
don't depend on what else the machine does. Memory is the temporary buffers that XLA planned.
"""

import argparse
import math
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from offprint.core.benchmark import report
from offprint.neural_ivp import ics, problems
from offprint.neural_ivp._direct import Auto, Dense, Dual
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._gram import pde_values
from offprint.neural_ivp._linear import NystromPCG
from offprint.neural_ivp._linear_maps import linear_maps
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._nystrom import nystrom, nystrom_apply
from offprint.neural_ivp._pcg import pcg
from offprint.neural_ivp._theta_dot import theta_dot

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured

MU = 1e-6
PROBLEM = problems.advection(dim=2, ic=ics.gaussian(sigma=0.2, amp=1.0))


def network(width, dtype=jnp.float64):
    model = SinusoidalMLP(PROBLEM.domain, width=width, depth=3, n_freq=3, param_dtype=dtype, rngs=nnx.Rngs(0))
    return functional(model)


def ours(apply, iterations, **options):
    """A fixed number of iterations: a tolerance that is never met."""

    def run(theta, X, omega):
        linear = NystromPCG(rank=omega.shape[1], mu=MU, tol=1e-30, maxiter=iterations, **options)
        return theta_dot(PROBLEM, apply, theta, X, 0.0, linear, omega)[0]

    return run


def official(apply, iterations):
    """As the public code computes it, products in float32."""

    def run(theta, X, omega):
        low, points = theta.astype(jnp.float32), X.astype(jnp.float32)

        def U(w):
            return jax.vmap(lambda x: apply(w, x, 0.0))(points).astype(jnp.float32)

        def quadratic(v):
            moved = jax.jvp(U, (low,), (v.astype(jnp.float32),))[1]
            return 0.5 * jnp.mean(jnp.sum(moved**2, axis=1))

        M = jax.grad(quadratic)
        f = pde_values(apply, PROBLEM.pde, theta, X)
        F = jax.vjp(U, low)[1](f.astype(jnp.float32))[0].astype(jnp.float64) / len(X)
        Q = jnp.linalg.qr(omega)[0]
        Y = jax.vmap(M, in_axes=1, out_axes=1)(Q)
        shift = 1e-6 * jnp.linalg.norm(Y)
        Y = Y + shift * Q
        C = jnp.linalg.cholesky(Q.T @ Y)
        B = jax.lax.linalg.triangular_solve(C, Y, left_side=False, lower=True, transpose_a=True)
        vectors, s, _ = jnp.linalg.svd(B, full_matrices=False)
        lam = jnp.maximum(s**2 - shift, 0)
        a = MU * lam[0]
        factor = (lam[-1] + a) / (lam + a) - 1

        def iteration(_, state):
            x, r, direction, rz = state
            Ap = M(direction) + a * direction
            step = rz / (direction @ Ap)
            x, r = x + step * direction, r - step * Ap
            z = r + vectors @ (factor * (vectors.T @ r))
            return x, r, z + (r @ z) / rz * direction, r @ z

        length = jnp.linalg.norm(F)
        r = F / length
        z = r + vectors @ (factor * (vectors.T @ r))
        return length * jax.lax.fori_loop(0, iterations, iteration, (jnp.zeros_like(F), r, z, r @ z))[0]

    return run


def direct(apply, linear):
    return lambda theta, X, omega: theta_dot(PROBLEM, apply, theta, X, 0.0, linear)[0]


class Measured:
    """A compiled right-hand side and what it took."""

    def __init__(self, run, arguments):
        began = time.process_time()
        self.compiled = jax.jit(run).lower(*arguments).compile()
        self.compile = time.process_time() - began
        self.arguments = arguments
        self.walls, self.cpus = [], []
        self.result = self.compiled(*arguments).block_until_ready()

    def once(self):
        wall, cpu = time.perf_counter(), time.process_time()
        self.compiled(*self.arguments).block_until_ready()
        self.walls.append(time.perf_counter() - wall)
        self.cpus.append(time.process_time() - cpu)

    def row(self, workload, contender):
        return {
            "workload": workload,
            "contender": contender,
            "s": statistics.median(self.walls),
            "CPU-s": min(self.cpus),
            "temporary [MB]": self.compiled.memory_analysis().temp_size_in_bytes / 2**20,
            "compile [CPU-s]": self.compile,
        }


def scaling(widths, points, rank, iterations, repeats):
    """Rows for each width, and log-log slopes of the two largest."""
    rows, seen = [], {}
    for width in widths:
        apply, theta = network(width)
        rng = np.random.default_rng(0)
        X = jnp.asarray(rng.uniform(-1, 1, (points, 2)))
        omega = jnp.asarray(rng.normal(size=(theta.size, min(rank, theta.size))))
        contenders = {
            "ours, float32 products": ours(apply, iterations, products="float32"),
            "ours, float64 products": ours(apply, iterations),
            "authors' arithmetic": official(network(width, jnp.float32)[0], iterations),
        }
        if theta.size <= 6000:
            contenders["dense, float64"] = direct(apply, Dense(mu=MU))
        if points <= 4000:
            contenders["dual, float64"] = direct(apply, Dual(mu=MU))
        measured = {name: Measured(run, (theta, X, omega)) for name, run in contenders.items()}
        for _ in range(repeats):
            for one in measured.values():
                one.once()
        workload = f"p = {theta.size}, N = {points}, r = {omega.shape[1]}, {iterations} iterations"
        for name, one in measured.items():
            rows.append(one.row(workload, name))
            seen.setdefault(name, []).append((theta.size, min(one.cpus)))
    slopes = {name: slope(times) for name, times in seen.items() if len(times) > 1}
    return rows, "; ".join(f"{name}: {value:.2f}" for name, value in slopes.items())


def slope(times):
    (p0, t0), (p1, t1) = times[-2:]
    return math.log(t1 / t0) / math.log(p1 / p0)


def iterations_by_rank(width, points, ranks):
    """With the preconditioner and without, on a network that has been fitted to the initial condition."""
    apply, theta = network(width)
    theta, _ = GaussNewtonFit(steps=15, points=points)(apply, theta, PROBLEM.ic, jax.random.key(0))
    X = jax.random.uniform(jax.random.key(1), (points, 2), minval=-1.0)

    @jax.jit
    def plain(theta, a):
        maps = linear_maps(apply, theta, X)
        F = maps.project(pde_values(apply, PROBLEM.pde, theta, X))
        return pcg(lambda v: maps.matvec(v) + a * v, F, None, 1e-6, 5000).iters

    rows = []
    for rank in ranks:

        @jax.jit
        def sketched(theta, rank=rank):
            maps = linear_maps(apply, theta, X)
            nys = nystrom(maps.matmat, theta.size, rank, jax.random.key(2))
            a = MU * nys.lam[0]
            F = maps.project(pde_values(apply, PROBLEM.pde, theta, X))
            solved = pcg(lambda v: maps.matvec(v) + a * v, F, lambda z: nystrom_apply(nys, a, z), 1e-6, 5000)
            return solved.iters, a, jnp.sum(nys.lam / (nys.lam + a))

        iters, a, d_eff = sketched(theta)
        rows.append(
            {
                "workload": f"p = {theta.size}, N = {points}, tol = 1e-6",
                "rank": rank,
                "d_eff seen": float(d_eff),
                "iterations": int(iters),
                "without preconditioner": int(plain(theta, a)),
            }
        )
    return rows


def choices(sizes):
    """What `Auto` takes."""
    return [{"rows N k": n, "weights p": p, "Auto takes": type(Auto(mu=MU).choose(n, p)).__name__} for n, p in sizes]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small networks, few points")
    parser.add_argument("--large", action="store_true", help="up to p = 1e6, with 500 points")
    options = parser.parse_args()
    if options.quick:
        rows, slopes = scaling((25, 50), 500, 50, 20, 2)
    elif options.large:
        rows, slopes = scaling((100, 300, 700), 500, 50, 20, 2)
    else:
        rows, slopes = scaling((25, 50, 100, 200), 2000, 100, 50, 5)
    report("one right-hand side, advection in 2-D", rows, note=f"slope of log CPU-s in log p, two largest: {slopes}")
    width, ranks = (12, (25, 50, 100)) if options.quick else (25, (25, 50, 100, 200, 400))
    report("iterations and rank", iterations_by_rank(width, 500 if options.quick else 2000, ranks))
    report("choice by size", choices([(2000, 800), (10_000, 2000), (10_000, 20_000), (2000, 80_000), (50_000, 60_000)]))


if __name__ == "__main__":
    main()
