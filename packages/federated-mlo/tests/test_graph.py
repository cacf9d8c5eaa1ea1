"""The graph simulator against a plain event loop that is fed the same random words, and its windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._contention import NEVER
from offprint.federated_mlo._draws import mix, salts, seeds, unit, word
from offprint.federated_mlo._graph import graph_init, graph_window, sim_graph

SIGMA, DIFS = 90, 340  # ticks
MOST_EVENTS = 4000
CHAIN = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)


class Plain:
    """The same process, one node and one event at a time, with sets and dictionaries."""

    def __init__(self, num_nodes):
        self.n = num_nodes
        self.active, self.stage, self.slots = set(), [0] * num_nodes, [0] * num_nodes
        self.resume, self.end, self.hit = {}, {}, set()

    def window(self, key, adj, intf, t_s, t_c, active, length, W, m):
        words = jax.vmap(word, (None, 0))(seeds(key), jnp.arange(-1, MOST_EVENTS))[:, None] ^ salts(self.n)[:, 0]
        uniform = np.asarray(unit(mix(words)))
        hears = [set(np.flatnonzero(row)) for row in adj]
        spoils = [set(np.flatnonzero(row)) for row in intf]
        success, collision, airtime = (np.zeros(self.n, int) for _ in range(3))

        def draws(i, stage):
            return (uniform[i + 1] * (np.asarray(W) << np.asarray(stage)).astype(np.float32)).astype(int)

        def begin(node, now):
            if node in self.active and node not in self.end and not hears[node] & set(self.end):
                self.resume.setdefault(node, now + DIFS)

        fresh = draws(-1, [0] * self.n)
        for node in set(active) - self.active - set(self.end):
            self.slots[node], self.stage[node] = int(fresh[node]), 0
        self.active = set(active)
        self.resume = {node: at for node, at in self.resume.items() if node in self.active}
        for node in range(self.n):
            begin(node, 0)
        began, i = dict.fromkeys(self.end, 0), 0
        while True:
            due = {node: at + SIGMA * self.slots[node] for node, at in self.resume.items()}
            now = min([*due.values(), *self.end.values()], default=length)
            if now >= length:
                break
            ended = [node for node, at in self.end.items() if at == now]
            for node in ended:
                lost = node in self.hit
                self.stage[node] = min(self.stage[node] + 1, m) if lost else 0
                (collision if lost else success)[node] += 1
                airtime[node] += now - began.pop(node)
                self.hit.discard(node)
                del self.end[node]
            fresh = draws(i, self.stage) if ended else None
            for node in ended:
                self.slots[node] = int(fresh[node])
            for node in {other for e in ended for other in hears[e] | {e}}:
                begin(node, now)
            started = [node for node, at in due.items() if at == now]
            for node in started:
                del self.resume[node]
                self.end[node] = NEVER
                began[node] = now
            for node in started:
                rivals = spoils[node] & set(self.end)
                self.hit |= rivals | ({node} if rivals else set())
                self.end[node] = now + (t_c if rivals else t_s) - DIFS
            for node in {other for s in started for other in hears[s]} & set(self.resume):
                at = self.resume.pop(node)
                self.slots[node] -= max(0, (now - at) // SIGMA)
            i += 1
        for node in self.end:
            airtime[node] += length - began[node]
        self.end = {node: at - length for node, at in self.end.items()}
        self.resume = {node: at - length for node, at in self.resume.items()}
        return success, collision, airtime


def random_graph(rng, n, density):
    upper = np.triu(rng.random((n, n)) < density, 1)
    return upper | upper.T


@pytest.mark.parametrize(("n", "windows"), [(5, 6), (40, 2)])
def test_equal_to_a_plain_event_loop(n, windows):
    """Hidden nodes, short collisions, BSSs that come and go, and more nodes than a word has bits."""
    rng = np.random.default_rng(n)
    adj = random_graph(rng, n, 0.5 if n == 5 else 0.1)
    intf = adj ^ random_graph(rng, n, 0.3 if n == 5 else 0.05)
    plain, state = Plain(n), graph_init(n)
    step = jax.jit(lambda key, state, active: graph_window(key, state, adj, intf, 800.0, 105.3, active, 77_777, 4, 3))
    seen = np.zeros(3, int)
    for i in range(windows):
        key, active = jax.random.key(i), rng.random(n) < 0.8
        state, counts = step(key, state, active)
        expected = plain.window(key, adj, intf, 8000, 1053, np.flatnonzero(active).tolist(), 77_777, [4] * n, 3)
        np.testing.assert_array_equal(counts.success, expected[0])
        np.testing.assert_array_equal(counts.collision, expected[1])
        np.testing.assert_allclose(counts.airtime * 10, expected[2], rtol=1e-12)
        assert set(np.flatnonzero(state.on_air)) == set(plain.end)
        seen += [expected[0].sum(), expected[1].sum(), len(plain.end)]
    assert (seen > 0).all()


@pytest.fixture(scope="module")
def chain():
    """One second of a chain of three; two window lengths share this program."""
    return jax.jit(
        lambda key, state, active, ticks, W: graph_window(key, state, CHAIN, None, 5566.0, 5566.0, active, ticks, W, 0)
    )


def test_many_windows_are_one_window(chain):
    """With W = 1 there is nothing random, so that the cuts cannot show."""
    active = np.array([True, True, False])
    _, whole = chain(jax.random.key(0), graph_init(3), active, 350_000, 1)
    state, parts = graph_init(3), []
    for ticks in (1, 400, 55_260, 55_660, 100_000, 138_679):
        state, counts = chain(jax.random.key(ticks), state, active, ticks, 1)
        parts.append(counts)
    success, collision, airtime = (sum(x) for x in zip(*parts))
    np.testing.assert_array_equal(success, whole.success)
    np.testing.assert_array_equal(collision, whole.collision)
    np.testing.assert_allclose(airtime, whole.airtime, rtol=1e-12)
    np.testing.assert_array_equal(whole.collision, [6, 6, 0])  # both always start together; 35 ms / 5.566 ms


def test_who_is_switched_off_leaves_after_its_txop(chain):
    only_first, nobody = np.array([True, False, False]), np.zeros(3, bool)
    state, before = chain(jax.random.key(0), graph_init(3), only_first, 10_000, 1)
    assert bool(state.on_air[0])
    assert int(before.success[0]) == 0
    state, after = chain(jax.random.key(1), state, nobody, 10_000_000, 1)
    assert after.success.tolist() == [1, 0, 0]
    assert not state.on_air.any()
    np.testing.assert_allclose(float(before.airtime[0] + after.airtime[0]), 5566 - 34)
    state, quiet = chain(jax.random.key(2), state, nobody, 10_000_000, 1)
    assert not quiet.success.any()
    assert not quiet.airtime.any()
    _, again = chain(jax.random.key(3), state, only_first, 10_000_000, 1)
    assert int(again.success[0]) == 10_000_000 // 55_660


def test_airtime_is_that_of_the_txops_sent(chain):
    state, counts = chain(jax.random.key(4), graph_init(3), np.ones(3, bool), 10_000_000, 16)
    sent = np.asarray(counts.success + counts.collision) * (5566 - 34)
    under_way = np.where(state.on_air, 5566 - 34 - np.asarray(state.due) / 10, 0)
    np.testing.assert_allclose(counts.airtime, sent + under_way, rtol=1e-12)


def test_mapped_nested_and_alone_agree():
    keys = jax.random.split(jax.random.key(5), (2, 3))
    graphs = jnp.stack([CHAIN, ~np.eye(3, dtype=bool)])

    def run(key, adj):
        return sim_graph(key, adj, None, 1000.0, 300.0, 30_000)

    mapped = jax.jit(jax.vmap(jax.vmap(run, (0, None))))(keys, graphs)
    alone = jax.jit(run)
    for i in range(2):
        for j in range(3):
            for a, b in zip(mapped, alone(keys[i, j], graphs[i])):
                np.testing.assert_array_equal(a[i, j], b)


def test_long_horizons_are_cut_into_windows():
    """A lone BSS with W = 1 sends without a pause; 250 s are more ticks than 32 bits hold."""
    counts = sim_graph(jax.random.key(0), np.zeros((1, 1), bool), None, 50_000.0, 50_000.0, 250_000_010, 1, 0)
    assert int(counts.success[0]) == 250_000_000 // 50_000
    assert int(counts.collision[0]) == 0
    np.testing.assert_allclose(counts.airtime, 250e6 * (50_000 - 34) / 50_000, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adj": np.triu(CHAIN)}, r"adj\[0, 0, 1\]"),
        ({"adj": np.ones((3, 3), bool)}, "diagonal"),
        ({"intf": np.triu(CHAIN)}, r"intf\[0, 0, 1\]"),
        ({"t_s": 5566e-6}, "seconds and microseconds mixed"),
        ({"t_c": 30.0}, "include DIFS = 34.0 us, but the shortest of them is 30 us"),
        ({"horizon_us": 0}, "a positive number of microseconds"),
        ({"W": 0}, "at least 1 is needed"),
        ({"m": 15}, "take a smaller m"),
    ],
)
def test_bad_input(change, message):
    arguments = {"adj": CHAIN, "intf": None, "t_s": 5566.0, "t_c": 200.0, "horizon_us": 1e6}
    with pytest.raises(ValueError, match=message):
        sim_graph(jax.random.key(0), **(arguments | change))


@pytest.mark.parametrize("ticks", [0, 2 * 10**9])
def test_bad_windows(ticks):
    with pytest.raises(ValueError, match="window_ticks"):
        graph_window(jax.random.key(0), graph_init(3), CHAIN, None, 5566.0, 200.0, np.ones(3, bool), ticks)
