"""The arrays of tests/golden that graphs and oracles must reproduce; their README says what they are."""

import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._ctmn import activity_table, component_table, ctmn_activity, lookup_activity
from offprint.federated_mlo._oracle import max_sum, maxmin, prop_fair
from offprint.federated_mlo._payoff import joint_table
from offprint.federated_mlo._radio import Radio, received_dbm
from offprint.federated_mlo._rates import select_mcs
from offprint.federated_mlo._topology import from_graph, from_positions, named_graph, usable
from offprint.federated_mlo._txop import txop_times


@pytest.mark.parametrize("case", range(6))
def test_activities(golden, case):
    data = golden("ctmn")
    adj, mask, theta, cap, y, x = (data[f"c{case}_{name}"] for name in ("adj", "mask", "theta", "cap", "y", "x"))
    found = ctmn_activity(adj, mask, theta)
    np.testing.assert_allclose(found, y, atol=1e-10)
    np.testing.assert_allclose((found * cap).sum(1), x, rtol=1e-10)
    if case in (4, 5):
        np.testing.assert_allclose(lookup_activity(activity_table(adj, theta), mask), y, atol=1e-10)
    if case == 4:
        np.testing.assert_allclose(lookup_activity(component_table(adj, theta), mask), y, atol=1e-10)
        np.testing.assert_allclose(ctmn_activity(adj, mask, theta.astype(np.float32)), y, rtol=2e-5)


@pytest.mark.parametrize("case", range(8))
def test_payoff_tables_and_their_optima(golden, case):
    data = {key[3:]: value for key, value in golden("maxmin_ctmn").items() if key.startswith(f"t{case}_")}
    topology = from_graph(data["adj"], data["theta"], data["cap"])
    table = joint_table(topology)
    np.testing.assert_allclose(table, data["X"], rtol=1e-9)
    best = maxmin(table)
    assert best.value == pytest.approx(float(data["opt_min"]), rel=1e-9)
    np.testing.assert_array_equal(best.indices, data["opt_idx"])
    assert table[-1].min() == pytest.approx(float(data["all_links_min"]), rel=1e-9)
    assert table.min(1).mean() == pytest.approx(float(data["mean_min"]), rel=1e-9)
    assert table.sum(1).max() == pytest.approx(float(data["max_sum"]), rel=1e-9)
    logs = np.log(np.maximum(table, 1e-9)).sum(1)
    assert logs.max() == pytest.approx(float(data["pf_max"]), rel=1e-9)
    if case in (0, 6):
        assert max_sum(table).value == pytest.approx(float(data["max_sum"]), rel=1e-9)
        fair = prop_fair(table)
        assert fair.value == pytest.approx(float(data["pf_max"]), rel=1e-9)
        assert int(data["pf_idx"]) in fair.indices


@pytest.mark.parametrize("case", range(6))
def test_payoffs_in_one_collision_domain(golden, case):
    data = {key[3:]: value for key, value in golden("maxmin_clique_bianchi").items() if key.startswith(f"q{case}_")}
    num_bss, (mcs, bw, nss) = int(data["B"]), data["links"].T
    times = txop_times(mcs, bw, nss, access="rts" if data["rts"] else "basic")
    graph = named_graph("clique", num_bss, len(mcs))
    topology = from_graph(graph, times.t_s / 67.5, times.bits / times.t_s, t_s=times.t_s, t_c=times.t_c)
    table = joint_table(topology, "bianchi")
    np.testing.assert_allclose(table, data["X"], rtol=1e-9)
    best = maxmin(table)
    assert best.value == pytest.approx(float(data["opt_min"]), rel=1e-9)
    np.testing.assert_array_equal(best.indices, data["opt_idx"])
    assert table[-1].min() == pytest.approx(float(data["all_links_min"]), rel=1e-9)


def test_random_deployments_and_their_optima(golden):
    data = golden("random5_l3_deployments")
    for case in range(12):
        topology = from_graph(data["adj"][case], data["theta"][case], data["cap"][case])
        table = joint_table(topology)
        assert table.min(1).max() == pytest.approx(data["opt_min"][case], rel=1e-9)
        assert table[-1].min() == pytest.approx(data["all_links_min"][case], rel=1e-9)
        assert table.min(1).mean() == pytest.approx(data["mean_min"][case], rel=1e-9)
        assert table.sum(1).max() == pytest.approx(data["max_sum"][case], rel=1e-9)


def test_random_deployments_from_their_positions(golden):
    """The deployments were drawn by NumPy; from the same places come the same graphs, ratios and capacities."""
    data = golden("random5_l3_deployments")
    for case, seed in enumerate(data["seeds"]):
        rng = np.random.default_rng(seed)
        ap = rng.uniform(0, 60, (5, 2))
        angle, radius = rng.uniform(0, 2 * np.pi, 5), rng.uniform(1, 8, 5)
        topology = from_positions(ap, ap + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))
        np.testing.assert_array_equal(topology.adj, data["adj"][case])
        np.testing.assert_allclose(topology.theta, data["theta"][case], rtol=1e-12)
        np.testing.assert_allclose(topology.cap, data["cap"][case], rtol=1e-12)


def test_link_budget(golden):
    data = golden("link_budget")
    topology = from_positions(data["ap"], data["sta"])
    np.testing.assert_array_equal(topology.adj, data["adj"])
    np.testing.assert_array_equal(usable(topology), data["mcs"] >= 0)
    rssi = received_dbm(jnp.asarray(data["d_sta"]), None, Radio())
    np.testing.assert_allclose(rssi, data["rssi"], atol=1e-8)
    np.testing.assert_array_equal(select_mcs(rssi, data["bw_mhz"]), data["mcs"])
    times = txop_times(np.asarray(data["mcs"]), data["bw_mhz"], 2, access="rts")
    np.testing.assert_allclose(topology.cap, times.bits / times.t_s, rtol=1e-12)
