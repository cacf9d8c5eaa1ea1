"""The flow-level airtime model."""

import jax
import numpy as np
import pytest

from offprint.federated_mlo._airtime import airtime_flow, airtime_saturated, airtime_saturated_edges

CHAIN = np.array([[[0, 1, 0], [1, 0, 1], [0, 1, 0]]] * 2, bool)
ALL_ON = np.ones((3, 2), bool)
MCS = np.full((3, 2), 9)
WIDTH = np.array([40, 80])


def flow(demand, mask=ALL_ON, split="equal", mcs=MCS, **options):
    return airtime_flow(CHAIN, mask, np.asarray(demand, float), mcs, WIDTH, split, **options)


def test_light_traffic_is_carried_and_heavy_traffic_is_cut_by_the_load():
    light = flow([1.0, 2.0, 3.0])
    np.testing.assert_allclose(light.throughput, [1, 2, 3], rtol=1e-14)
    assert (light.satisfaction == 1).all()
    heavy = flow([200.0, 200.0, 200.0])
    np.testing.assert_allclose(heavy.load[1], heavy.rho.sum(0), rtol=1e-14)
    np.testing.assert_allclose(heavy.satisfaction, 1 / heavy.load, rtol=1e-14)
    assert heavy.throughput[1] < heavy.throughput[0] < 200


def test_no_demand_is_satisfied_and_links_off_carry_nothing():
    r = flow([0.0, 400.0, 400.0], mask=np.array([[1, 1], [1, 0], [0, 1]], bool))
    assert (r.satisfaction[0] == 1).all()
    assert r.throughput[0] == 0
    assert r.rho[1, 1] == r.satisfaction[1, 1] == r.rho[2, 0] == 0
    # The neighbours of the middle one that is off on link 1 don't see it there.
    np.testing.assert_allclose(r.load[0, 1], 0)


def test_out_of_range_links_take_no_part_in_the_split():
    mcs = MCS.copy()
    mcs[0, 0] = -1
    r = flow([10.0, 10.0, 10.0], mcs=mcs)
    assert r.rho[0, 0] == r.satisfaction[0, 0] == 0
    np.testing.assert_allclose(r.throughput, 10, rtol=1e-14)


def test_congestion_aware_split_moves_traffic_to_the_free_link():
    mask = np.array([[1, 1], [0, 1], [1, 1]], bool)  # the middle one crowds link 1
    demand = [30.0, 200.0, 30.0]
    equal, aware = flow(demand, mask), flow(demand, mask, "congestion")
    assert (aware.rho[::2, 0] > equal.rho[::2, 0]).all()
    np.testing.assert_allclose(aware.throughput[::2], 30)
    assert (aware.throughput > equal.throughput).all()
    # With nothing free anywhere it is the equal split.
    full = [1e4, 1e4, 1e4]
    np.testing.assert_array_equal(flow(full, split="congestion").rho, flow(full).rho)


def test_lost_frames_take_their_time_again():
    np.testing.assert_allclose(flow([9.0, 9.0, 9.0], per=0.5).rho, 2 * flow([9.0, 9.0, 9.0], per=0).rho)


def test_traced():
    known = flow([150.0, 100.0, 50.0], split="congestion")
    traced = jax.jit(lambda a, m, d, k: airtime_flow(a, m, d, k, WIDTH, "congestion"))(
        CHAIN, ALL_ON, np.array([150.0, 100.0, 50.0]), MCS
    )
    for a, b in zip(known, traced):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_saturated_neighbours_share_alike():
    mask = np.array([[1, 1], [1, 0], [1, 1]], bool)
    y = airtime_saturated(CHAIN, mask)
    np.testing.assert_allclose(y, [[1 / 2, 1], [1 / 3, 0], [1 / 2, 1]])
    assert airtime_saturated(np.ones((1, 4, 4)) - np.eye(4), np.ones((4, 1), int)).sum() == 1


def test_edges_give_the_same_as_the_matrix():
    rng = np.random.default_rng(0)
    graph = np.triu(rng.random((40, 40)) < 0.2, 1)
    graph = graph | graph.T
    on = rng.random(40) < 0.7
    mask = np.stack([on, np.ones(40, bool)], axis=1)
    dense = airtime_saturated(np.stack([graph, graph]), mask)
    np.testing.assert_allclose(airtime_saturated_edges(*np.nonzero(graph), on), dense[:, 0], rtol=1e-14)


def test_bad_input():
    for call, message in [
        (lambda: flow([-1.0, 0.0, 0.0]), "demand = -1 Mb/s"),
        (lambda: flow([1.0, 0.0, 0.0], split="fair"), "split='fair' is unknown; use one of 'equal', 'congestion'"),
        (lambda: flow([1.0, 0.0, 0.0], mask=np.zeros((3, 2), bool)), "BSS 0 has no link on.*at least one link"),
        (lambda: flow([1.0, 0.0, 0.0], per=1.0), "per = 1"),
        (lambda: airtime_saturated(CHAIN | np.eye(3, dtype=bool), ALL_ON), r"adj\[0, 0, 0\] = True .*diagonal"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
