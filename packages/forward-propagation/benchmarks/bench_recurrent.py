"""A recurrent network of 100 neurons, about 500 spikes and 250 inputs a sample, 64 samples: loss and weight gradient.

Against an event-driven simulation with a dense triangular solve in NumPy, as the authors' code has it for layers, on
one sample; and against a surrogate gradient on a grid of 500 steps, whose spikes and gradient are approximate.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import brentq

from offprint.core.benchmark import measure, report
from offprint.forward_propagation import LIF, recurrent, spike_train

N, N_IN, S_IN, T_MAX, BATCH, MAX_SPIKES, MAX_EVENTS, STEPS = 100, 50, 5, 10.0, 64, 16, 640, 500
TAU_MEM, TAU_SYN, THETA = 1.0, 0.5, 1.0


def network(dtype):
    draw = np.random.default_rng(0)
    w_in = draw.normal(0.25, 0.5, (N_IN, N)) * (draw.random((N_IN, N)) < 0.3)
    w_rec = draw.normal(0, 0.5, (N, N)) / np.sqrt(N)
    inputs = np.sort(draw.uniform(0, 0.8 * T_MAX, (BATCH, N_IN, S_IN)), axis=-1)
    return tuple(jnp.asarray(x, dtype) for x in (w_in, w_rec, inputs))


def spikes(w_in, w_rec, times, delay_rec=0.0):
    neuron = LIF(TAU_MEM, TAU_SYN, THETA)
    limits = {"t_max": T_MAX, "max_spikes": MAX_SPIKES, "max_events": MAX_EVENTS}
    return recurrent(spike_train(times), w_in, w_rec, neuron, delay_rec=delay_rec, **limits)


def loss(w_in, w_rec, inputs, delay_rec):
    times = jax.vmap(lambda x: spikes(w_in, w_rec, x, delay_rec).times)(inputs)
    return jnp.sum(jnp.where(jnp.isfinite(times), times, 0))


def in_numpy(w_in, w_rec, times):
    """Sum of the spike times of one sample and its gradient by the recurrent weights."""
    alpha, beta = 1 / TAU_SYN, 1 / TAU_MEM

    def h(s):
        return (np.exp(-alpha * s) - np.exp(-beta * s)) / (beta - alpha)

    order = np.argsort(times, axis=None)
    arrivals, sources = np.append(times.ravel()[order], T_MAX), order // S_IN
    v, current, now, found, neurons = np.zeros(N), np.zeros(N), 0.0, [], []
    k = 0
    while k < len(arrivals):
        length = arrivals[k] - now
        can = current > beta * THETA
        safe = np.where(can, current, 1.0)
        peak = np.log1p((beta - alpha) * np.where(can, safe - beta * v, 0) / (alpha * safe)) / (beta - alpha)
        end = np.clip(peak, 0, length)
        fires = np.flatnonzero(can & (v * np.exp(-beta * end) + current * h(end) > THETA))
        step, first = length, None
        for i in fires:
            root = brentq(lambda s: v[i] * np.exp(-beta * s) + current[i] * h(s) - THETA, 0, end[i], xtol=1e-13)  # noqa: B023
            if root < step:
                step, first = root, i
        v, current, now = v * np.exp(-beta * step) + current * h(step), current * np.exp(-alpha * step), now + step
        if first is not None:
            found.append(now)
            neurons.append(first)
            v[first] = 0.0
            current = current + w_rec[first]
        else:
            current = current + (w_in[sources[k]] if k < len(sources) else 0)
            k += 1
    t, who = np.array(found), np.array(neurons)
    since = t[:, None] - t
    earlier = since > 0
    s = np.where(earlier, since, 0)
    slope = np.exp(-alpha * s) - beta * h(s)
    own = earlier & (who[:, None] == who)
    weights = w_rec[who[None, :], who[:, None]]
    matrix = -np.where(earlier, weights * slope, 0) - THETA * beta * np.where(own, np.exp(-beta * s), 0)
    from_inputs = t[:, None] - times.ravel()
    s_in = np.where(from_inputs > 0, from_inputs, 0)
    drive = np.where(from_inputs > 0, np.exp(-alpha * s_in) - beta * h(s_in), 0)
    drive = np.sum(drive * w_in[np.repeat(np.arange(N_IN), S_IN)[None, :], who[:, None]], axis=1)
    matrix[np.diag_indices(len(t))] = drive - matrix.sum(axis=1)
    adjoint = solve_triangular(matrix.T, np.ones(len(t)), lower=False)
    to_synapse = np.where(earlier, h(s), 0) @ np.eye(N)[who]
    return t.sum(), -to_synapse.T @ (adjoint[:, None] * np.eye(N)[who])


@jax.custom_jvp
def spike(x):
    return (x > 0).astype(x.dtype)


spike.defjvp(lambda x, dx: (spike(*x), dx[0] / (1 + 25 * jnp.abs(x[0])) ** 2))


def surrogate_loss(w_in, w_rec, inputs):
    """Fast-sigmoid surrogate on a grid, spikes of the whole batch summed."""
    dt = T_MAX / STEPS
    keep_i, keep_v = float(np.exp(-dt / TAU_SYN)), float(np.exp(-dt / TAU_MEM))
    place = jnp.clip((inputs / dt).astype(int), 0, STEPS - 1)
    grid = jnp.zeros((STEPS, BATCH, N_IN), inputs.dtype)
    grid = grid.at[place, jnp.arange(BATCH)[:, None, None], jnp.arange(N_IN)[None, :, None]].add(1)

    def step(state, x):
        v, current, fired = state
        current = keep_i * current + x @ w_in + fired @ w_rec
        v = keep_v * v + dt * current
        fired = spike(v - THETA)
        return (v - THETA * fired, current, fired), jnp.sum(fired)

    zero = jnp.zeros((BATCH, N), inputs.dtype)
    return jnp.sum(jax.lax.scan(step, (zero, zero, zero), grid)[1])


def rows(dtype):
    w_in, w_rec, inputs = network(dtype)
    forward = jax.jit(jax.vmap(spikes, (None, None, 0)))
    count = forward(w_in, w_rec, inputs)
    undelayed = functools.partial(loss, delay_rec=0.0)  # known to be 0, as opposed to an argument of jit
    both, delayed = (jax.jit(jax.value_and_grad(f, argnums=(0, 1))) for f in (undelayed, loss))
    surrogate = jax.jit(jax.value_and_grad(surrogate_loss, argnums=(0, 1)))
    delays = jnp.asarray(np.random.default_rng(1).uniform(0.05, 0.5, (N, N)), dtype)
    sample = tuple(np.asarray(x, np.float64) for x in (w_in, w_rec, inputs[0]))
    times = measure(
        {
            "forward": lambda: forward(w_in, w_rec, inputs),
            "ours": lambda: both(w_in, w_rec, inputs),
            "delays": lambda: delayed(w_in, w_rec, inputs, delays),
            "NumPy": lambda: in_numpy(*sample),
            "surrogate": lambda: surrogate(w_in, w_rec, inputs),
        },
        repeats=5,
    )
    per = 1e3 / BATCH
    ours = times["ours"].median * per
    yield {
        "dtype": dtype,
        "spikes": float(count.count.sum(axis=1).mean()),
        "overflow": float(count.overflow.any(axis=1).mean()),
        "forward [ms]": times["forward"].median * per,
        "both [ms]": ours,
        "with delays [ms]": times["delays"].median * per,
        "first call [s]": times["ours"].first,
        "NumPy / ours": 1e3 * times["NumPy"].median / ours,
        "surrogate / ours": times["surrogate"].median * per / ours,
    }


def main():
    jax.config.update("jax_enable_x64", True)
    lines = [row for dtype in ("float32", "float64") for row in rows(dtype)]
    report(f"recurrent network, {N} neurons, {BATCH} samples", lines, note="times for one sample; compilation apart")


if __name__ == "__main__":
    main()
