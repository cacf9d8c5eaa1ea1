"""Memory capacity of linear random reservoirs: the exact curve against the estimators that are in use.

Gaussian reservoirs of spectral radius 0.9, whose true total is N. Beside each time stands the error: a wrong number
is no use however fast it comes. All in float64, all in this run.
"""

import time
import warnings

import jax
import numpy as np

from offprint.core.benchmark import Timing, measure, report
from offprint.memory_capacity import mask, memory_curve, reservoir

jax.config.update("jax_enable_x64", True)

RHO = 0.9
MASKS = 1000  # of OSM+, as in the paper
MASKS_TIMED = 3
RIDGE = 1e-8
LARGEST_SVD = 1000  # of the Krylov matrix (N, 5N): at 2000 it takes minutes
LARGEST_RESERVOIRPY = 300  # steps through 20 N samples in Python and fits 2 N readouts


def network(neurons, seed=0):
    """A and C as NumPy arrays."""
    for_matrix, for_mask = jax.random.split(jax.random.key(seed))
    return np.array(reservoir.normal(for_matrix, neurons, rho=RHO)), np.array(mask.normal(for_mask, neurons))


def krylov(A, C):
    columns, x = np.empty((A.shape[0], 5 * A.shape[0])), C
    for j in range(columns.shape[1]):
        columns[:, j] = x
        x = A @ x
    return columns


def naive(A, C):
    """diag(X' pinv(X')), with MATLAB's tolerance."""
    X = krylov(A, C)
    _, singular, rows = np.linalg.svd(X, full_matrices=False)
    kept = singular > max(X.shape) * np.spacing(singular[0])
    return np.sum(rows[kept] ** 2, axis=0)


def osm(A, C):
    """Squared row norms of V in X = U D V'."""
    return np.sum(np.linalg.svd(krylov(A, C), full_matrices=False)[2] ** 2, axis=0)


def osm_plus(A, masks):
    """OSM averaged over fresh Gaussian masks."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(masks, A.shape[0]))
    return np.mean([osm(A, C / np.linalg.norm(C)) for C in draws], axis=0)


def monte_carlo(A, C, n_lags, n_samples):
    """The naive sample estimator, with a solve of its own for each lag."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n_samples + 100)
    states, x = np.empty((z.size, A.shape[0])), np.zeros(A.shape[0])
    for t, u in enumerate(z):
        x = A @ x + C * u
        states[t] = x
    X, z = states[100:], z[100:]
    G, power, curve = X.T @ X, z @ z, np.empty(n_lags)
    for lag in range(n_lags):
        v = X[lag:].T @ z[: z.size - lag]
        curve[lag] = v @ np.linalg.solve(G, v) / power
    return curve


def reservoirpy_curve(A, C):
    """reservoirpy's memory_capacity of the linear network, lags from 1; None where it is not installed."""
    try:
        from reservoirpy.nodes import Reservoir, Ridge
        from reservoirpy.observables import memory_capacity
    except ImportError:
        return None
    neurons = A.shape[0]
    nodes = Reservoir(W=A, Win=C[:, None], bias=np.zeros(neurons), activation="identity", lr=1.0) >> Ridge(ridge=RIDGE)
    return lambda: memory_capacity(nodes, k_max=2 * neurons, as_list=True, seed=1)


def once(workload):
    """One call, timed: for what takes longer than repeats are worth."""
    began = time.perf_counter()
    result = jax.block_until_ready(workload())
    seconds = time.perf_counter() - began
    return Timing(seconds, seconds, seconds), result


def timed(workload, repeats):
    """Median over repeats, and what was computed."""
    if repeats == 0:
        return once(workload)
    kept = []

    def keeping():
        kept[:] = [workload()]
        return kept[0]

    return measure({"it": keeping}, repeats=repeats)["it"], kept[0]


def table(neurons, repeats):
    """One reservoir, all methods."""
    A, C = network(neurons)
    on_device = jax.device_put((A, C))
    n_lags = 5 * neurons
    methods = {
        "ours, exact": lambda: memory_curve(*on_device).values,
        "ours, exact, rank='generic'": lambda: memory_curve(*on_device, rank="generic").values,
        "eigenvalues alone (NumPy)": lambda: np.linalg.eigvals(A),
    }
    if neurons == 100:
        methods["ours, determinant"] = lambda: memory_curve(*on_device, method="determinant", rank="generic").values
    if neurons <= LARGEST_SVD:
        methods["naive algebraic (NumPy)"] = lambda: naive(A, C)
    if neurons <= 300:
        methods["OSM (NumPy)"] = lambda: osm(A, C)
    if neurons <= 300:
        methods[f"OSM+, {MASKS} masks (NumPy)"] = lambda: osm_plus(A, MASKS_TIMED)
        methods["Monte Carlo, T = 20 N (NumPy)"] = lambda: monte_carlo(A, C, 2 * neurons, 20 * neurons)
    peer = reservoirpy_curve(A, C) if neurons <= LARGEST_RESERVOIRPY else None
    if peer is not None:
        methods[f"reservoirpy, ridge {RIDGE:g}"] = peer

    rows, exact = [], None
    for name, workload in methods.items():
        # NumPy has no first call that differs, and the long ones are called once.
        quick = name.startswith(("ours", "eigenvalues")) or neurons == 100
        timing, values = timed(workload, repeats if quick else 0)
        values = np.asarray(values)
        masks = MASKS / MASKS_TIMED if name.startswith("OSM+") else 1
        entry = {"method": name, "ms": 1e3 * timing.median * masks, "first call [s]": timing.first * masks}
        if not name.startswith("eigenvalues"):
            exact = values if exact is None else exact
            first = 1 if name.startswith("reservoirpy") else 0
            known = exact[first : first + values.size]
            # Nothing is left beyond 5 N lags; from lag 1 on the truth is the rest of the exact curve.
            truth = exact[first:].sum() if first else neurons
            entry |= {
                "total": float(values.sum()),
                "error of the total": float(values.sum() - truth),
                "largest error of a lag": float(np.abs(values - known).max()) if name != "ours, exact" else None,
            }
        rows.append(entry)
    reference = rows[0]["ms"]
    for entry in rows:
        entry["time / ours"] = entry["ms"] / reference
    notes = [f"true total: {neurons}; {n_lags} lags (Monte Carlo and reservoirpy 2 N, the latter from lag 1)"]
    if neurons <= 300:
        notes.append(f"OSM+: {MASKS_TIMED} masks, whose time is scaled to {MASKS}")
    else:
        notes.append("one call, compilation included; the peers that would take minutes are left out")
    if neurons <= LARGEST_RESERVOIRPY and peer is None:
        notes.append("reservoirpy is not installed")
    title = f"B1: memory curve of a Gaussian reservoir, N = {neurons}, spectral radius {RHO}"
    report(title, rows, note="\n".join(notes))


def batch(count=100, neurons=100):
    """Many reservoirs at once."""
    keys = jax.random.split(jax.random.key(1), count)
    matrices = jax.vmap(lambda key: reservoir.normal(key, neurons, rho=RHO))(keys)
    n_lags = 2 * neurons

    def curve(A, method="exact"):
        return memory_curve(A, n_lags=n_lags, rank="generic", method=method).values

    at_once = jax.jit(jax.vmap(curve))
    one = jax.jit(curve)
    hosted = [np.asarray(A) for A in matrices]
    workloads = {
        "ours, vmap": lambda: at_once(matrices),
        "ours, a jitted call each": lambda: [one(A) for A in matrices],
        "ours, memory_curve each": lambda: [curve(A) for A in matrices],
        "eigenvalues alone, a NumPy call each": lambda: [np.linalg.eigvals(A) for A in hosted],
    }
    times = measure(workloads, repeats=3)
    C = network(neurons)[1]
    times["OSM (NumPy), a call each"], _ = once(lambda: [osm(A, C) for A in hosted])
    reference = times["ours, vmap"].median
    rows = [
        {
            "method": name,
            "ms per reservoir": 1e3 * timing.median / count,
            "first call [s]": timing.first,
            "time / vmap": timing.median / reference,
        }
        for name, timing in times.items()
    ]
    error = np.abs(np.asarray(at_once(matrices)) - np.stack([curve(A) for A in matrices])).max()
    note = f"lags 0..{n_lags - 1} (OSM: {5 * neurons} columns); vmap and single calls differ by {error:.1e}"
    report(f"B2: {count} Gaussian reservoirs, N = {neurons}", rows, note=note)


def main():
    warnings.simplefilter("ignore")  # the baselines say that they are not meaningful here, which is the point
    for neurons, repeats in ((100, 5), (300, 3), (1000, 0), (2000, 0)):
        table(neurons, repeats)
    batch()


if __name__ == "__main__":
    main()
