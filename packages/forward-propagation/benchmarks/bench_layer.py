"""Loss and gradient of feed-forward networks: against jaxsnn, a surrogate gradient, and the authors' algorithm.

Yin-Yang shapes (5-120-3, 5-150-3), batch 150, and MNIST shapes (784-350-10), batch 128, with random latencies and
first-spike cross-entropy. `first call` is with compilation. The plain version follows the public code: one sample at
a time, one event at a time, a bracketing root search for each neuron, the dense triangular system of all spikes.
"""

import functools
import importlib.util
import logging
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.benchmark import Timing, measure, report
from offprint.forward_propagation._feedforward import feedforward
from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._spikes import spike_train

T_MAX, TAU_LOSS = 2.0, 0.2
TAU_MEM, TAU_SYN = 1.0, 0.5
"""jaxsnn has closed forms for τ_mem = τ_syn and τ_mem = 2 τ_syn only."""


def yin_yang(hidden, batch, dtype):
    """Latencies (batch, 5), weights and labels: the official encoding and spread, weights for the shorter τ_syn."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.15, 2.0, (batch, 5))
    x[:, 4] = 0.9
    weights = rng.normal(3.0, 1.6, (5, hidden)), rng.normal(0.5 * 120 / hidden, 0.2, (hidden, 3))
    return x.astype(dtype), tuple(w.astype(dtype) for w in weights), rng.integers(0, 3, batch)


def mnist(batch, dtype):
    """Latencies of 784 pixels, a fifth of which spike, as in MNIST."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 2.0, (batch, 784))
    x[rng.random(x.shape) > 0.19] = np.inf
    weights = rng.normal(0.1, 0.2, (784, 350)), rng.normal(0.05, 0.1, (350, 10))
    return x.astype(dtype), tuple(w.astype(dtype) for w in weights), rng.integers(0, 10, batch)


def cross_entropy(first, label):
    return -jax.nn.log_softmax(-jnp.minimum(first, T_MAX) / TAU_LOSS)[label]


@functools.partial(jax.jit, static_argnames="max_spikes")
def ours(weights, x, labels, max_spikes):
    """Mean loss, its gradient, and the first output spikes."""
    neuron = LIF(TAU_MEM, TAU_SYN)

    def loss(weights):
        def one(times, label):
            layers = [LayerParams(w, neuron) for w in weights]
            trains = feedforward(spike_train(times[:, None]), layers, t_max=T_MAX, max_spikes=max_spikes)
            first = trains[-1].times[:, 0]
            return cross_entropy(first, label), first

        losses, first = jax.vmap(one)(x, labels)
        return losses.mean(), first

    return jax.value_and_grad(loss, has_aux=True)(weights)


def jaxsnn_step(sizes, steps, one_spike):
    """The same in jaxsnn, float32, with so many event steps in each layer; None where it is not installed."""
    logging.disable(logging.WARNING)
    if importlib.util.find_spec("jaxsnn") is None:
        return None
    from jaxsnn.event.loss import first_spike
    from jaxsnn.event.modules import LIF as Layer
    from jaxsnn.event.modules import LIFParameters, Linear, Source
    from jaxsnn.event.topology import Topology
    from jaxsnn.event.types import Spike

    # after a reset far below, a neuron stays silent: their way to one spike for each
    parameters = LIFParameters(v_reset=-1000.0 if one_spike else 0.0, v_th=1.0, tau_syn=TAU_SYN, tau_mem=TAU_MEM)
    builder = Topology(t_max=T_MAX)
    builder.add(
        {
            "inp": Source(sizes[0]),
            "lif1": Layer(sizes[1], steps[0], parameters),
            "lif2": Layer(sizes[2], steps[1], parameters),
            "syn1": Linear(mean=0.0, std=1.0, min_delay=0.0),
            "syn2": Linear(mean=0.0, std=1.0, min_delay=0.0),
        }
    )
    builder.connect([("inp", "syn1"), ("syn1", "lif1"), ("lif1", "syn2"), ("syn2", "lif2")])
    init, apply = builder.done()
    template = init(jax.random.PRNGKey(0))

    @jax.jit
    def step(weights, x, labels):
        def loss(weights):
            # their membrane equation has τ_mem on its left: the same spikes with weights times τ_mem
            leaves, structure = jax.tree.flatten(template)
            given = iter(TAU_MEM * w for w in weights)
            filled = jax.tree.unflatten(structure, [next(given).reshape(leaf.shape) for leaf in leaves])

            order = jnp.argsort(x, axis=1)
            times = jnp.take_along_axis(x, order, axis=1)
            spikes = Spike(
                time=times,
                idx=jnp.where(jnp.isfinite(times), order, -1),
                current=jnp.zeros_like(times),
                layer_idx=jnp.zeros(times.shape, int),
                internal=jnp.ones(times.shape, bool),
            )
            output = apply({"inp": spikes}, filled)["lif2"]  # their functions are batched already
            first = jax.vmap(lambda events: first_spike(events, sizes[2]))(output)
            losses = jax.vmap(cross_entropy)(first, labels)
            return losses.mean(), first

        return jax.value_and_grad(loss, has_aux=True)(weights)

    return step


@jax.jit
def surrogate_step(weights, x, labels):
    """A surrogate gradient on 200 time steps: fast sigmoid of slope 25, cross-entropy of the output counts."""
    steps, dt = 200, T_MAX / 200
    fall_i, fall_v = np.exp(-dt / TAU_SYN), np.exp(-dt / TAU_MEM)

    @jax.custom_jvp
    def fire(v):
        return (v > 0).astype(v.dtype)

    fire.defjvp(lambda p, t: (fire(*p), t[0] / (1 + 25 * jnp.abs(p[0])) ** 2))

    def loss(weights):
        grid = jnp.arange(steps)[:, None]

        def one(times, label):
            spikes = (jnp.floor(times / dt) == grid).astype(times.dtype)

            def step(state, spikes):
                after = []
                for (i, v), w in zip(state, weights):
                    i = fall_i * i + spikes @ w
                    v = fall_v * v + dt * i
                    spikes = fire(v - 1)
                    after.append((i, v - spikes))
                return after, spikes

            start = [(jnp.zeros(w.shape[1], w.dtype),) * 2 for w in weights]
            counts = jax.lax.scan(step, start, spikes)[1].sum(0)
            return -jax.nn.log_softmax(counts)[label]

        return jax.vmap(one)(x, labels).mean()

    return jax.value_and_grad(loss)(weights)


class Plain:
    """The authors' event-driven algorithm in NumPy and SciPy, one sample at a time; matrices by whole arrays."""

    alpha, beta = 1 / TAU_SYN, 1 / TAU_MEM

    def h(self, s):
        s = np.maximum(s, 0)
        return (np.exp(-self.alpha * s) - np.exp(-self.beta * s)) / (self.beta - self.alpha)

    def h_ds(self, s):
        return np.where(s > 0, np.exp(-self.alpha * np.maximum(s, 0)) - self.beta * self.h(s), 0)

    def after(self, v, i, s):
        """State (V, I) after a time s without input, for numbers."""
        fall_i, fall_v = math.exp(-self.alpha * s), math.exp(-self.beta * s)
        return v * fall_v + i * (fall_i - fall_v) / (self.beta - self.alpha), i * fall_i

    def next_spike(self, v, i, gap):
        from scipy.optimize import brentq

        e = self.beta - self.alpha
        if i <= self.beta or -v * e / i <= -1:
            return None
        end = min((math.log1p(e / self.alpha) + math.log1p(-v * e / i)) / e, gap)
        if end <= 0 or self.after(v, i, end)[0] <= 1:
            return None
        return brentq(lambda s: self.after(v, i, s)[0] - 1, 0, end, xtol=1e-12)

    def spikes(self, events, weights):
        """Spikes (time, neuron) of a layer from events (time, source), both in order of time."""
        out = []
        for neuron in range(weights.shape[1]):
            v = i = now = 0.0
            for k, (time, source) in enumerate(events):
                v, i = self.after(v, i, time - now)
                i, now = i + weights[source, neuron], time
                end = events[k + 1][0] if k + 1 < len(events) else T_MAX
                while (s := self.next_spike(v, i, end - now)) is not None:
                    v, i, now = 0.0, i * math.exp(-self.alpha * s), now + s
                    out.append((now, neuron))
        return sorted(out)

    def step(self, weights, times, label):
        """Loss and gradient by the dense system A dt = -B dw over all spikes, layer after layer in one matrix."""
        from scipy.linalg import solve_triangular

        events = sorted((float(t), j) for j, t in enumerate(times) if t < T_MAX)
        diagonal, blocks, by_weight = [], {}, []
        for layer, w in enumerate(weights):
            spikes = self.spikes(events, w)
            (t, i), (f, j) = (map(np.array, zip(*pairs)) for pairs in (spikes, events))
            since = t[:, None] - f
            push = w[j][:, i].T * self.h_ds(since)
            own = (i[:, None] == i) & (t[:, None] > t)
            reset = np.where(own, self.beta * np.exp(-self.beta * np.abs(t[:, None] - t)), 0)
            diagonal.append(push.sum(1) + reset.sum(1))
            blocks[layer, layer] = -reset
            if layer:
                blocks[layer, layer - 1] = -push
            one_hot = np.eye(w.shape[0])[j]
            y = self.h(since) @ one_hot
            by_weight.append((y[:, :, None] * np.eye(w.shape[1])[i][:, None]).reshape(len(t), -1))
            events = spikes
        sizes = [len(d) for d in diagonal]
        a, b = np.diag(np.concatenate(diagonal)), np.zeros((sum(sizes), sum(w.size for w in weights)))
        a[: sizes[0], : sizes[0]] += blocks[0, 0]
        a[sizes[0] :, sizes[0] :] += blocks[1, 1]
        a[sizes[0] :, : sizes[0]] = blocks[1, 0]
        b[: sizes[0], : weights[0].size], b[sizes[0] :, weights[0].size :] = by_weight
        jacobian = -solve_triangular(a, b, lower=True)
        places = [np.flatnonzero(i == neuron)[:1] for neuron in range(weights[1].shape[1])]
        outs = np.array([t[place[0]] if place.size else T_MAX for place in places])
        p = np.exp(-outs / TAU_LOSS) / np.exp(-outs / TAU_LOSS).sum()
        pulls = (np.arange(len(p)) == label) - p
        gradient = sum(
            pull / TAU_LOSS * jacobian[sizes[0] + place[0]] for pull, place in zip(pulls, places) if place.size
        )
        return -np.log(p[label]), np.split(gradient, [weights[0].size])


def line(workload, batch, times):
    """Times of one step by workload, and how many times longer than ours each other takes."""
    mine: Timing = times["ours"]
    row = {"workload": workload, "ours [ms]": 1e3 * mine.median, "per sample [ms]": 1e3 * mine.median / batch}
    row["ours, first call [s]"] = mine.first
    for name, timing in times.items():
        if name != "ours":
            row |= {f"{name} [ms]": 1e3 * timing.median, f"{name} / ours": timing.median / mine.median}
            row[f"{name}, first call [s]"] = timing.first
    return row


def shapes(only):
    """(name, data, hidden and output spikes, event steps of jaxsnn, one spike for each neuron)."""
    every = {
        "5-120-3, S = 1": (yin_yang(120, 150, np.float32), (1, 1), (125, 123), True),
        "5-120-3, S = 4": (yin_yang(120, 150, np.float32), (4, 4), (485, 492), False),
        "5-150-3, S = 2, 1, float64": (yin_yang(150, 150, np.float64), (2, 1), None, False),
        "784-350-10, S = 1": (mnist(128, np.float32), (1, 1), None, True),
    }
    return {name: shape for name, shape in every.items() if not only or any(text in name for text in only)}


def measured_shape(name, data, max_spikes, steps, one_spike):
    """The row of this shape, and in float64 that of the plain version."""
    x, weights, labels = data
    arguments = tuple(map(jnp.asarray, weights)), jnp.asarray(x), jnp.asarray(labels)
    workloads = {"ours": functools.partial(ours, *arguments, max_spikes)}
    sizes = (x.shape[1], weights[0].shape[1], weights[1].shape[1])
    peer = jaxsnn_step(sizes, steps, one_spike) if steps else None
    if peer is not None:
        workloads["jaxsnn"] = functools.partial(peer, *arguments)
    if x.dtype == np.float32:
        workloads["surrogate, 200 steps"] = functools.partial(surrogate_step, *arguments)
    row = line(f"{name}, B = {len(x)}", len(x), measure(workloads, repeats=5))
    if peer is not None:
        report_agreement(name, workloads)
    with_plain = x.dtype == np.float64 and importlib.util.find_spec("scipy") is not None
    return row, [against_plain(name, x, weights, labels, max_spikes)] if with_plain else []


def main(only):
    rows, plain_rows = [], []
    for name, shape in shapes(only).items():
        with jax.enable_x64(shape[0][0].dtype == np.float64):
            measured, plain = measured_shape(name, *shape)
        rows.append(measured)
        plain_rows += plain
    report("loss and gradient of one batch", rows, note="jaxsnn: same spikes and cap of events, float32")
    if plain_rows:
        report("the authors' algorithm in NumPy and SciPy, per sample", plain_rows)


def report_agreement(name, workloads):
    """The peer computes the same spikes: otherwise its time means nothing."""
    mine, theirs = (np.asarray(workloads[who]()[0][1]) for who in ("ours", "jaxsnn"))
    both = np.minimum(mine, T_MAX), np.minimum(theirs, T_MAX)
    sys.stdout.write(f"{name}: first output spikes of jaxsnn differ by {np.median(np.abs(both[0] - both[1])):.1e}\n")


def against_plain(name, x, weights, labels, max_spikes, samples=2):
    plain, arrays = Plain(), [np.asarray(w) for w in weights]

    def run():
        return [plain.step(arrays, x[k], labels[k]) for k in range(samples)]

    device = tuple(map(jnp.asarray, weights))
    _, one = ours(device, jnp.asarray(x[:1]), jnp.asarray(labels[:1]), (16, 1))
    error = max(np.max(np.abs(g.ravel() - want)) for g, want in zip(one, plain.step(arrays, x[0], labels[0])[1]))
    sys.stdout.write(f"{name}: the gradient of the plain version differs by {error:.1e}\n")
    batch = functools.partial(ours, device, jnp.asarray(x), jnp.asarray(labels), max_spikes)
    times = measure({"ours": batch, "NumPy": run}, repeats=3)
    mine, theirs = times["ours"].median / len(x), times["NumPy"].median / samples
    return {"workload": name, "ours [ms]": 1e3 * mine, "NumPy [ms]": 1e3 * theirs, "NumPy / ours": theirs / mine}


if __name__ == "__main__":
    main(sys.argv[1:])
