"""Memory measured from samples: information processing capacity, memory curves, and the states themselves.

Each against what a plain NumPy program does, in float64, in this run.
"""

import itertools
import math
import time
import warnings
from pathlib import Path

import jax
import numpy as np

from offprint.core.benchmark import Timing, measure, report
from offprint.memory_capacity import empirical_memory_curve, information_processing_capacity, mask, reservoir, simulate

jax.config.update("jax_enable_x64", True)

KEY = jax.random.key(0)


def network(neurons, rho=0.9):
    for_matrix, for_mask = jax.random.split(KEY)
    return reservoir.orthogonal(for_matrix, neurons, rho=rho), mask.normal(for_mask, neurons)


def once(workload):
    """One call, timed: for what takes longer than repeats are worth."""
    began = time.perf_counter()
    result = jax.block_until_ready(workload())
    seconds = time.perf_counter() - began
    return Timing(seconds, seconds, seconds), result


def peak_memory(workload):
    """What the workload returns, and by how many MB the process grew at its highest; None where it can't be told."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def kilobytes(field):
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(field))

    try:
        clear.write_text("5")  # Linux: the high-water mark starts anew
        before = kilobytes("VmRSS")
    except OSError:
        return workload(), None
    return workload(), (kilobytes("VmHWM") - before) / 1024


def materialised_ipc(X, z, pairs):
    """Capacities by target (its delays, each as often as its power), with every target in memory."""
    first = max(D for _, D in pairs)
    Q = np.linalg.qr(X[first:] - X[first:].mean(axis=0))[0]
    highest = max(d for d, _ in pairs)
    table = np.stack([math.sqrt(2 * d + 1) * np.polynomial.Legendre.basis(d)(z) for d in range(highest + 1)])
    names, targets = [], []
    for d, D in pairs:
        for delays in itertools.combinations_with_replacement(range(D + 1), d):
            y = np.ones(z.size - first)
            for delay in set(delays):
                y *= table[delays.count(delay), first - delay : z.size - delay]
            names.append(delays)
            targets.append(y)
    Y = np.stack(targets)
    return names, np.sum((Y @ Q) ** 2, axis=1) / np.sum(Y**2, axis=1)


def ipc(neurons=50, samples=30_000, pairs=((1, 400), (2, 50), (3, 15))):
    A, C = network(neurons)
    z = jax.random.uniform(KEY, (samples,), minval=-1, maxval=1)
    X = simulate(A, C, z, washout=0)
    hosted = np.asarray(X), np.asarray(z)
    results = {}

    def ours():
        results["result"] = information_processing_capacity(X, z, pairs)
        results["ours"] = results["result"].values
        return results["ours"]

    def peer():
        results["names"], results["peer"] = materialised_ipc(*hosted, pairs)
        return results["peer"]

    first, _ = once(ours)
    _, our_memory = peak_memory(lambda: jax.block_until_ready(ours()))
    _, peer_memory = peak_memory(peer)
    times = measure({"ours": ours, "peer": peer}, repeats=3)
    targets = results["ours"].size
    flop = 2 * (samples - max(D for _, D in pairs)) * (neurons + 1) * targets
    rows = [
        {
            "method": name,
            "seconds": times[key].median,
            "first call [s]": call.first,
            "targets / s": targets / times[key].median,
            "Gflop/s": flop / times[key].median / 1e9,
            "peak memory [MB]": memory,
            "sum of capacities": float(results[key].sum()),
        }
        for name, key, call, memory in (
            ("ours, targets streamed", "ours", first, our_memory),
            ("NumPy, targets materialised", "peer", times["peer"], peer_memory),
        )
    ]
    result = results["result"]
    at = {tuple(sorted(np.repeat(k, d).tolist())): i for i, (k, d) in enumerate(zip(result.delays, result.powers))}
    order = np.array([at[name] for name in results["names"]])
    error = np.abs(np.asarray(results["ours"])[order] - results["peer"]).max()
    note = (
        f"(degree, delay) {', '.join(map(str, pairs))}; Gflop/s counts the products with the states only; "
        f"largest difference {error:.1e}"
    )
    report(f"B4: information processing capacity, N = {neurons}, T = {samples}, {targets} targets", rows, note=note)


def per_lag_solves(X, z, lags, first):
    """In-sample capacities with a solve of its own for each lag."""
    X = X[first:] - X[first:].mean(axis=0)
    G, curve = X.T @ X, []
    for lag in lags:
        y = z[first - lag : z.size - lag]
        y = y - y.mean()
        v = X.T @ y
        curve.append(v @ np.linalg.solve(G, v) / (y @ y))
    return np.array(curve)


def sampled_curve(neurons=500, samples=50_000, n_lags=1000, timed_lags=20):
    A, C = network(neurons, rho=0.995)  # well-conditioned states, so that every way to solve is right
    z = jax.random.normal(KEY, (samples,))
    X = simulate(A, C, z, activation="identity", washout=0, method="chunked")
    hosted, first = (np.asarray(X), np.asarray(z)), n_lags - 1

    def ours(solver):
        return empirical_memory_curve(X, z, n_lags, estimator="insample", solver=solver, null=None, check=False).values

    times = measure({solver: lambda s=solver: ours(s) for solver in ("svd", "cholesky")}, repeats=1)
    start, _ = once(lambda: per_lag_solves(*hosted, range(1), first))
    some, values = once(lambda: per_lag_solves(*hosted, range(timed_lags), first))
    each = (some.median - start.median) / (timed_lags - 1)
    peer = start.median + (n_lags - 1) * each
    rows = [
        {
            "method": f"ours, solver={solver!r}",
            "seconds": timing.median,
            "first call [s]": timing.first,
            "time / ours": timing.median / times["svd"].median,
            "largest difference": float(np.abs(np.asarray(ours(solver))[:timed_lags] - values).max()),
        }
        for solver, timing in times.items()
    ]
    rows.append({"method": "NumPy, a solve for each lag", "seconds": peer, "time / ours": peer / times["svd"].median})
    note = f"NumPy: {timed_lags} lags timed, {1e3 * each:.3g} ms each beyond the first, extrapolated to {n_lags}"
    report(f"B3: memory curve from samples, N = {neurons}, T = {samples}, {n_lags} lags", rows, note=note)


def states(neurons=1000, steps=4000):
    A, C = network(neurons)
    z = jax.random.normal(KEY, (steps,))
    matrix, weights, series = np.asarray(A), np.asarray(C), np.asarray(z)

    def numpy_loop():
        X, x = np.empty((steps, neurons)), np.zeros(neurons)
        for t, u in enumerate(series):
            x = matrix @ x + weights * u
            X[t] = x
        return X

    def ours(method):
        return lambda: simulate(A, C, z, activation="identity", washout=0, method=method)

    times = measure({"scan": ours("scan"), "chunked": ours("chunked"), "NumPy loop": numpy_loop}, repeats=3)
    times["eig"], _ = once(ours("eig"))
    reference = numpy_loop()
    rows = [
        {
            "method": name if name == "NumPy loop" else f"ours, {name}",
            "us per step": 1e6 * timing.median / steps,
            "first call [s]": timing.first,
            "NumPy / it": times["NumPy loop"].median / timing.median,
            "largest difference": None if name == "NumPy loop" else float(np.abs(ours(name)() - reference).max()),
        }
        for name, timing in times.items()
    ]
    report(
        f"B5: states of a linear network, N = {neurons}, {steps} steps",
        rows,
        note="eig: one call, with compilation and the eigen-decomposition",
    )


def main():
    warnings.simplefilter("ignore")  # in-sample estimates say that the floor dominates them
    ipc()
    sampled_curve()
    states()


if __name__ == "__main__":
    main()
