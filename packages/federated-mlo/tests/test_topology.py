"""Topologies from graphs, positions and measurements."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._path_loss import shadowing
from offprint.federated_mlo._radio import RANDOM5_BANDS, Band, Radio, mean_backoff_us, received_dbm
from offprint.federated_mlo._rates import select_mcs
from offprint.federated_mlo._topology import from_graph, from_positions, from_rssi, named_graph, usable
from offprint.federated_mlo._txop import txop_times

ONE_BAND = Radio(bands=(Band(5.25, 80),))


@pytest.mark.parametrize(
    ("name", "edges"),
    [
        ("chain", {(0, 1), (1, 2), (2, 3), (3, 4)}),
        ("ring", {(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)}),
        ("star", {(0, 1), (0, 2), (0, 3), (0, 4)}),
        ("clique", {(i, j) for i in range(5) for j in range(i + 1, 5)}),
        ("grid2d", {(0, 1), (1, 2), (3, 4), (0, 3), (1, 4)}),
    ],
)
def test_named_graphs(name, edges):
    graph = np.asarray(named_graph(name, 5, 2))
    assert {tuple(edge) for edge in np.argwhere(np.triu(graph[0]))} == edges
    np.testing.assert_array_equal(graph, graph.swapaxes(1, 2))
    np.testing.assert_array_equal(graph[0], graph[1])
    assert not np.asarray(named_graph(name, 1)).any()


def test_from_graph_fills_in_what_is_not_said():
    topology = from_graph(named_graph("chain", 3, 2), cap=np.array([[100.0, 0.0], [1, 1], [1, 1]]))
    assert topology.theta[1, 1] == 5566 / 67.5
    assert topology.theta[0, 1] == 0
    np.testing.assert_allclose(topology.t_s, 5566)
    np.testing.assert_array_equal(topology.t_c, topology.t_s)
    np.testing.assert_array_equal(topology.intf, topology.adj)
    np.testing.assert_array_equal(usable(topology), [[True, False], [True, True], [True, True]])


def test_symmetrize_joins_where_either_senses():
    one_way = np.zeros((1, 3, 3), int)
    one_way[0, 0, 1] = 1
    topology = from_graph(one_way, symmetrize=True)
    assert topology.adj[0, 1, 0]
    with pytest.raises(ValueError, match=r"adj\[0, 0, 1\] = 1 .*symmetrize=True"):
        from_graph(one_way)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"theta": -1.0}, "theta has the negative entry -1"),
        ({"theta": np.ones((2, 3))}, r"theta has shape \(2, 3\) where \[bss, links\] = \(3, 2\)"),
        ({"cap": np.nan}, "cap has 1 entries that are NaN"),
        ({"cap": np.array([[1.0, 1], [0, 0], [1, 1]])}, r"BSSs \[1\] have no usable link"),
        ({"t_s": 0.0055}, "seconds and microseconds mixed"),
        ({"intf": np.zeros((1, 3, 3), bool)}, r"intf has shape \(1, 3, 3\) where adj has \(2, 3, 3\)"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_from_graph_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        from_graph(named_graph("chain", 3, 2), **options)


@pytest.fixture(scope="module")
def site():
    """Three APs 25 m apart in a row, stations close by."""
    ap = np.array([[0.0, 0.0], [25.0, 0.0], [50.0, 0.0]])
    return ap, ap + np.array([0.0, 4.0])


def test_positions_to_values(site):
    topology = from_positions(*site)
    np.testing.assert_array_equal(topology.adj[0], named_graph("chain", 3)[0])
    for link, band in enumerate(RANDOM5_BANDS):
        power = received_dbm(jnp.asarray(4.0), None, Radio())[link]
        times = txop_times(int(select_mcs(power, band.bw_mhz)), band.bw_mhz, 2, access="rts")
        np.testing.assert_allclose(topology.cap[:, link], times.bits / times.t_s, rtol=1e-12)
        np.testing.assert_allclose(topology.theta[:, link], times.t_s / mean_backoff_us(), rtol=1e-12)
        np.testing.assert_allclose(topology.t_c[:, link], times.t_c)


def test_what_moves_the_sensing_graph(site):
    ap, sta = site
    assert not from_positions(ap, sta, Radio(bands=ONE_BAND.bands, cca_dbm=-62.0)).adj.any()
    assert from_positions(ap, sta, Radio(bands=ONE_BAND.bands, wall_spacing_m=None, tx_power_dbm=30.0)).adj.sum() == 6
    walls = np.full((3, 3), 20)
    assert not from_positions(ap, sta, ONE_BAND, walls_ap=walls).adj.any()
    one_channel = from_positions(ap, sta, ONE_BAND, channels=np.array([[36], [36], [52]]))
    np.testing.assert_array_equal(np.argwhere(np.triu(one_channel.adj[0])), [[0, 1]])


@pytest.mark.usefixtures("unchecked_types")
def test_shadowing_reaches_both_aps_and_stations(site):
    ap, sta = site
    none = from_positions(ap, sta, ONE_BAND, shadowing_db=np.zeros((1, 6, 6)))
    np.testing.assert_array_equal(none.cap, from_positions(ap, sta, ONE_BAND).cap)
    loss = np.zeros((1, 6, 6))
    loss[0, 0, 1] = loss[0, 1, 0] = 60  # between two APs
    loss[0, 2, 5] = loss[0, 5, 2] = 20  # AP 2 and its station
    topology = from_positions(ap, sta, ONE_BAND, shadowing_db=loss)
    assert not topology.adj[0, 0, 1]
    assert topology.adj[0, 1, 2]
    assert topology.cap[2, 0] < topology.cap[1, 0] == none.cap[1, 0]
    drawn = shadowing(jax.random.key(0), 4.0, 6)
    assert from_positions(ap, sta, ONE_BAND, shadowing_db=drawn).cap.shape == (3, 1)
    with pytest.raises(ValueError, match=r"shadowing_db has shape \(1, 3, 3\)"):
        from_positions(ap, sta, ONE_BAND, shadowing_db=loss[:, :3, :3])


def test_stations_are_served_in_turn(site):
    ap, sta = site
    far = ap + np.array([0.0, 20.0])
    near_values, far_values = from_positions(ap, sta, ONE_BAND), from_positions(ap, far, ONE_BAND)
    both = from_positions(ap, np.stack([sta, far], axis=1), ONE_BAND)
    bits = near_values.cap * near_values.t_s + far_values.cap * far_values.t_s
    np.testing.assert_allclose(both.cap, bits / (near_values.t_s + far_values.t_s), rtol=1e-12)
    gone = ap + np.array([0.0, 400.0])
    np.testing.assert_allclose(from_positions(ap, np.stack([sta, gone], axis=1), ONE_BAND).cap, near_values.cap)


def test_out_of_range(site):
    ap, sta = site
    sta = sta.copy()
    sta[1, 1] += 30.0
    some = from_positions(ap, sta)
    assert usable(some)[1].tolist() == [True, False, False]
    assert some.theta[1, 2] == 0
    assert np.isfinite(some.t_s).all()
    sta[1, 1] += 300.0
    with pytest.raises(ValueError, match=r"BSSs \[1\] have no usable link"):
        from_positions(ap, sta)


def test_wrong_units_are_noticed(site):
    ap, sta = site
    with pytest.warns(UserWarning, match=r"median .* are the coordinates in km"):
        from_positions(ap / 1000, sta / 1000)
    with pytest.warns(UserWarning, match="in cm or mm"), pytest.raises(ValueError, match="no usable link"):
        from_positions(ap * 1000, sta * 1000)
    with pytest.raises(ValueError, match="ap has 1 entries that are NaN"):
        from_positions(np.where(ap == 50, np.nan, ap), sta)
    with pytest.raises(ValueError, match="320 MHz"):
        Radio(bands=(Band(5.25, 320),))


@pytest.mark.usefixtures("unchecked_types")
def test_measured_powers():
    nan = np.nan
    rssi = np.array([[[nan, -70, nan], [-84, nan, -90], [nan, nan, nan]]])
    topology = from_rssi(rssi, np.array([[-50.0], [-60.0], [-70.0]]), ONE_BAND)
    np.testing.assert_array_equal(np.argwhere(np.triu(topology.adj[0])), [[0, 1]])
    assert topology.cap[0, 0] > topology.cap[1, 0] > topology.cap[2, 0] > 0
    with pytest.raises(ValueError, match=r"BSSs \[2\] have no usable link"):
        from_rssi(rssi, np.array([[-50.0], [-60.0], [nan]]), ONE_BAND)
    with pytest.raises(ValueError, match="no received power in dBm"):
        from_rssi(-rssi, np.full((3, 1), -50.0), ONE_BAND)
    with pytest.raises(ValueError, match="the radio has 3 bands"):
        from_rssi(rssi, np.full((3, 1), -50.0))


def test_deployments_can_be_mapped(site):
    ap, sta = site
    shifts = np.array([0.0, 3.0])
    many = jax.jit(jax.vmap(lambda shift: from_positions(ap, sta + shift)))(shifts)
    for row, shift in enumerate(shifts):
        one = from_positions(ap, sta + shift)
        jax.tree.map(lambda a, b, row=row: np.testing.assert_allclose(a[row], b, rtol=1e-12), many, one)
