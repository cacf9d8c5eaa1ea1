"""NSTR and EMLSR devices: what they may do, and closed forms for a device that is alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._graph import graph_window, sim_graph
from offprint.federated_mlo._multilink_sim import multilink_init, multilink_window, sim_multilink

CHAIN = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
ADJ = np.stack([CHAIN, ~np.eye(3, dtype=bool)])
T_S, T_C, SIGMA = 1000.0, 300.0, 9.0


BLOCK = 30  # windows between two changes of the active links


@pytest.fixture(scope="module", params=["nstr", "emlsr"])
def seen(request):
    """3000 short windows with links that come and go: what was active, and at their ends on the air and due."""
    active = np.repeat(np.random.default_rng(0).random((3000 // BLOCK, 3, 2)) < 0.8, BLOCK, axis=0)

    def one(state, x):
        state, counts = multilink_window(x[0], state, ADJ, None, T_S, T_C, x[1], 3_000, request.param)
        return state, (state.on_air, state.due, counts)

    keys = jax.random.split(jax.random.key(0), len(active))
    run = jax.jit(lambda keys, active: jax.lax.scan(one, multilink_init(3, 2), (keys, active))[1])
    return request.param, active, *jax.tree.map(np.asarray, run(keys, active))


def test_a_device_sends_on_one_link_at_a_time(seen):
    """EMLSR never on two; NSTR on two only where both started in the same tick."""
    mld, _, on_air, due, counts = seen
    both = on_air.all(1)  # [windows, bss]
    assert on_air.any(1).mean() > 0.3
    if mld == "emlsr":
        assert not both.any()
        assert (counts.airtime.sum((0, 2)) <= 3000 * 300).all()
    else:
        apart = np.abs(due[:, 0] - due[:, 1])[both]
        assert both.any()
        assert set(apart) <= {0, 7000}  # equal lengths, or one of them a collision


def test_links_that_are_off_stay_silent(seen):
    """At most a TXOP of 1 ms is left of them, which ends in the fourth window."""
    _, active, _, _, counts = seen
    later = np.arange(len(active)) % BLOCK >= 4
    assert (counts.airtime[later][~active[later]] == 0).all()
    assert (counts.airtime[later].sum(0) > 0).all()


def alone(mld):
    keys = jax.random.split(jax.random.key(1), 32)
    adj = np.zeros((2, 1, 1), bool)
    counts = jax.jit(jax.vmap(lambda key: sim_multilink(key, adj, None, T_S, T_C, 2_000_000, mld)))(keys)
    assert not counts.collision.any()
    return np.asarray(counts.success[:, 0]) / 2_000_000  # [runs, links], per us


def test_an_nstr_device_alone():
    """While one link sends the other's backoff ends; then it starts, alone unless the first drew 0 of W values.

    So a round sends 1 + 1/W TXOPs, and only after two at once, every W-th time, are there idle slots: the smaller of
    two backoffs.
    """
    W = 16
    smaller = sum(k * k for k in range(1, W)) / W**2
    expected = (1 + 1 / W) / (T_S + smaller * SIGMA / W) / 2
    rate = alone("nstr")
    np.testing.assert_allclose(rate.mean(0), expected, rtol=0.004)


def test_an_emlsr_device_alone():
    """Each link needs (W - 1) / 2 idle slots per TXOP, which both count together; nothing collides."""
    expected = 1 / (7.5 * SIGMA + 2 * T_S)
    rate = alone("emlsr")
    np.testing.assert_allclose(rate.sum(1).mean(), 2 * expected, rtol=0.004)
    np.testing.assert_allclose(rate.mean(0), expected, rtol=0.02)


def test_str_links_are_channels_of_their_own():
    key, active = jax.random.key(2), np.array([[True, True], [True, False], [True, True]])
    state, counts = multilink_window(key, multilink_init(3, 2), ADJ, None, T_S, T_C, active, 100_000)
    for link, of_link in enumerate(jax.random.split(key, 2)):
        init = jax.tree.map(lambda x, link=link: x[link], multilink_init(3, 2))
        alone, expected = graph_window(of_link, init, ADJ[link], None, T_S, T_C, active[:, link], 100_000)
        for a, b in zip(counts, expected):
            np.testing.assert_array_equal(a[:, link], b)
        np.testing.assert_array_equal(state.due[link], alone.due)


def test_one_link_is_a_graph():
    """Devices with a single link have nothing to bind."""
    args = (None, T_S, T_C, 100_000)
    counts = sim_multilink(jax.random.key(3), CHAIN[None], *args, "emlsr")
    for a, b in zip(counts, sim_graph(jax.random.key(3), CHAIN, *args)):
        np.testing.assert_array_equal(a[:, 0], b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mld": "both"}, "mld='both' is unknown"),
        ({"adj": CHAIN}, "shape"),
        ({"adj": np.stack([CHAIN, np.triu(CHAIN)])}, r"adj\[1, 0, 1\]"),
        ({"t_s": jnp.full((3, 2), 5e-3)}, "seconds and microseconds mixed"),
        ({"horizon_us": -1.0}, "a positive number of microseconds"),
    ],
)
def test_bad_input(change, message, unchecked_types):
    arguments = {"adj": ADJ, "intf": None, "t_s": T_S, "t_c": T_C, "horizon_us": 1e6}
    with pytest.raises(ValueError, match=message):
        sim_multilink(jax.random.key(0), **(arguments | change))
