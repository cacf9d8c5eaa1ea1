"""W3: all scaling statistics of one stack of layers; W4: paths of the SDE limit. Both against plain NumPy.

W3's peer is the direct reading of the definitions, with an average over a window at every layer: O(L²) work.
W4's peer steps all paths at once, one Euler-Maruyama step after the other. `--quick` makes both smaller.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.benchmark import measure, report, row
from offprint.resnet_scaling import limits, scaling_statistics, weights

SCALE_A, SCALE_B = 0.4, 0.3


def plain_statistics(A):
    """The statistics of (L, d, d) weights, term by term."""
    L = len(A)
    norms = np.linalg.norm(A, axis=(1, 2))
    steps = np.linalg.norm(A[1:] - A[:-1], axis=(1, 2))
    W = np.concatenate([np.zeros((1, *A.shape[1:]), A.dtype), np.cumsum(A, axis=0)])
    w, largest = max(3, L // 10), 0.0
    for k in range(1, L):
        if k < w:
            window = W[: 2 * k]
        elif k < L - w:
            window = W[k - w : k + w]
        else:
            window = W[2 * k - L : L]
        largest = max(largest, np.linalg.norm(W[k] - window.mean(axis=0)))
    return {
        "max_norm": norms.max(),
        "scaled_increment": steps.max(),
        "root_sum_squares": np.sqrt(np.sum(norms**2)),
        "cumsum_norm": np.linalg.norm(W[-1]),
        "sum_sq_increments": np.sum(steps**2),
        "sqrt_sobolev": np.sqrt(L * np.sum(steps**2)),
        "detrended_cumsum": largest,
    }


def statistics_rows(quick):
    """W3 at two depths."""
    rows, worst = [], 0.0
    for depth in (1000,) if quick else (1000, 10_000):
        A = weights.brownian(jax.random.key(0), depth, (25, 25), dtype=np.float32)
        plain = np.asarray(A)
        times = measure({"ours": lambda A=A: scaling_statistics(A)}, repeats=20)
        kept = {}
        times |= measure({"plain": lambda plain=plain, kept=kept: kept.update(plain_statistics(plain))}, repeats=1)
        ours = scaling_statistics(A)
        worst = max(worst, *(abs(float(ours[name]) / value - 1) for name, value in kept.items()))
        rows.append(row(f"L = {depth}, 25 x 25", ours=times["ours"], peer=times["plain"], peer_name="NumPy, O(L²)"))
    return rows, f"float32; largest relative difference {worst:.1e}"


def trend_A(t):
    return jnp.array([[-0.5, -jnp.cos(2 * t)], [jnp.cos(2 * t), -0.5 * jnp.sin(3 * t)]])


def trend_b(t):
    return jnp.array([jnp.sin(2 * t), 0.5])


def plain_paths(trends, paths, seed):
    """Itô Euler steps of dH = (HĀ + b̄)dt + H dW^A + dW^b: the limit for tanh, whose second derivative at 0 is 0."""
    rng = np.random.default_rng(seed)
    h = np.tile(np.array([1.0, 0.5], np.float32), (paths, 1))
    dt = np.float32(1 / len(trends[0]))
    for A, b in zip(*trends):
        dW_A = SCALE_A * dt**0.5 * rng.standard_normal((paths, 2, 2), np.float32)
        dW_b = SCALE_B * dt**0.5 * rng.standard_normal((paths, 2), np.float32)
        h = h + dt * (h @ A + b) + np.einsum("pi,pij->pj", h, dW_A) + dW_b
    return h


def paths_rows(quick):
    """W4: paths times steps."""
    paths, steps = (1000, 2**10) if quick else (10_000, 2**13)
    x0 = jnp.broadcast_to(jnp.array([1.0, 0.5]), (paths, 2))
    trends = [np.asarray(jax.vmap(trend)(jnp.arange(steps) / steps)) for trend in (trend_A, trend_b)]
    ends = {}

    def ours():
        ends["ours"] = limits.sde(
            trend_A, trend_b, x0, scale_A=SCALE_A, scale_b=SCALE_B, key=jax.random.key(0), n_steps=steps
        )
        return ends["ours"]

    times = measure({"ours": ours, "plain": lambda: ends.update(plain=plain_paths(trends, paths, 0))}, repeats=1)
    means = {name: np.asarray(end).mean(axis=0) for name, end in ends.items()}
    error = np.asarray(ends["plain"]).std(axis=0) / paths**0.5
    apart = np.abs((means["ours"] - means["plain"]) / (2**0.5 * error)).max()
    workload = f"{paths} paths x {steps} steps, d = 2"
    note = f"float32; the mean ends differ by {apart:.1f} standard errors"
    return [row(workload, ours=times["ours"], peer=times["plain"], peer_name="NumPy")], note


def main():
    quick = "--quick" in sys.argv
    for title, (rows, note) in {
        "W3: scaling statistics of Brownian weights": statistics_rows(quick),
        "W4: paths of the SDE limit": paths_rows(quick),
    }.items():
        report(title, rows, note=note)


if __name__ == "__main__":
    main()
