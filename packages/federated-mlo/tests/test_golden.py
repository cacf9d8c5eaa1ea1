"""The arithmetic of PHY and MAC against golden arrays; golden/README.md says what they are and how exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._airtime import airtime_flow
from offprint.federated_mlo._bianchi import bianchi, bianchi_throughput, clique_share
from offprint.federated_mlo._path_loss import path_loss
from offprint.federated_mlo._rates import eht_rate, ndbps, noise_dbm, select_mcs
from offprint.federated_mlo._txop import txop_times


def test_rates(golden):
    g = golden("eht_rates")
    rates = eht_rate(np.arange(14), g["bw_mhz"][:, None], g["nss"][:, None, None, None], g["gi_us"][:, None, None])
    np.testing.assert_allclose(rates, g["rate_mbps"], rtol=1e-12)
    np.testing.assert_allclose(ndbps(np.arange(14), g["bw_mhz"][:, None]), g["ndbps_1ss"], rtol=1e-12)


def test_path_loss(golden):
    g = golden("pathloss_mcs")
    d, f = g["d"][:, None], g["f"]
    cases = [("friis", "friis", 0, 0), ("log_distance", "log_distance", 0, 0), ("tmb", "tmb", 0, 0)]
    for walls in (0, 2, 5):
        cases.append((f"tgax_enterprise_w{walls}", "tgax_enterprise", walls, 0))
        cases += [(f"tgax_residential_w{walls}_f{n}", "tgax_residential", walls, n) for n in (0, 1, 2)]
    assert {name for name, *_ in cases} == {k for k in g if k not in ("d", "f", "rssi_grid") and k[:3] != "mcs"}
    ours = jax.jit(lambda d, f: {name: path_loss(model, d, f, w, n) for name, model, w, n in cases})(d, f)
    for name in ours:
        np.testing.assert_allclose(ours[name], g[name], rtol=0, atol=1e-9, err_msg=name)


def test_mcs_at_the_thresholds(golden):
    g = golden("pathloss_mcs")
    for bw in (20, 40, 80, 160, 320):
        np.testing.assert_array_equal(select_mcs(g["rssi_grid"], bw), g[f"mcs_bw{bw}"])


def test_link_budget(golden):
    g = golden("link_budget")
    f, bw = g["freq_ghz"], g["bw_mhz"]

    @jax.jit
    def budget(f):
        between = path_loss("tgax_residential", g["d_ap"], f[:, None, None], g["walls_ap"])
        to_station = path_loss("tgax_residential", g["d_sta"][:, None], f, g["walls_sta"][:, None])
        mcs = select_mcs(20 - to_station, bw)
        return between, to_station, 20 - to_station, noise_dbm(bw), mcs, eht_rate(mcs, bw, 2)

    between, to_station, rssi, noise, mcs, rate = map(np.asarray, budget(f))
    np.testing.assert_allclose(between, g["pl_ap"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(to_station, g["pl_sta"], rtol=0, atol=1e-8)
    np.testing.assert_array_equal((20 - between >= -82) & ~np.eye(8, dtype=bool), g["adj"] != 0)
    np.testing.assert_allclose(rssi, g["rssi"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(noise, g["noise_dbm"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(rssi - noise, g["snr_db"], rtol=0, atol=1e-8)
    np.testing.assert_array_equal(mcs, g["mcs"])
    assert (g["mcs"] == -1).any()
    np.testing.assert_allclose(rate, g["rate_mbps"], rtol=1e-12)


def test_txop_times(golden):
    g = golden("txop_times")
    for rts in (0, 1):
        for eifs in (0, 1):
            for agg in (0, 1):
                case = (g["rts"] == rts) & (g["eifs"] == eifs) & (g["agg"] == agg)
                times = txop_times(
                    *(g[name][case] for name in ("mcs", "bw", "nss", "gi")),
                    access="rts" if rts else "basic",
                    aggregation=bool(agg),
                    payload_bits=12000,
                    eifs=bool(eifs),
                )
                np.testing.assert_array_equal(times.k, g["K"][case])
                np.testing.assert_array_equal(times.n_sym, g["nsym"][case])
                np.testing.assert_array_equal(times.bits, g["bits"][case])
                for ours, name in zip(times[2:6], ("Td", "ack", "Ts", "Tc")):
                    np.testing.assert_allclose(ours, g[name][case], rtol=0, atol=1e-9)


@pytest.mark.parametrize("R", [-1, 7])
def test_bianchi(golden, R):
    g = golden("bianchi")
    case = {name: value[g["R"] == R] for name, value in g.items()}
    retries = None if R < 0 else R
    W = jnp.asarray(case["W"], float)

    @jax.jit
    def both(W):
        r = bianchi_throughput(case["n"], case["Ts"], case["Tc"], case["sigma"], case["payload"], W, case["m"], retries)
        return r, jax.grad(lambda W: bianchi(case["n"], W, case["m"], retries)[0].sum())(W)

    r, slope = both(W)
    np.testing.assert_allclose(r.tau, case["tau"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(r.p, case["p"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(r.p_tr, case["Ptr"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(r.p_s, case["Ps"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(r.slot, case["Eslot"], rtol=1e-10)
    np.testing.assert_allclose(r.throughput, case["S"], rtol=1e-10)
    np.testing.assert_allclose(slope, case["dtau_dW"], rtol=1e-10)


@pytest.mark.parametrize("flavour", ["eifs", "difs"])
def test_published_table_of_ns3(golden, flavour):
    g = golden("published_bianchi_11ax")
    times = txop_times(g["mcs"], g["bw"], access="basic", eifs=flavour == "eifs", preset="ns3_11ax")
    np.testing.assert_allclose(times.t_s, g[f"Ts_{flavour}"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(times.t_c, g[f"Tc_{flavour}"], rtol=0, atol=1e-9)
    r = bianchi_throughput(g["n"], times.t_s[:, None], times.t_c[:, None], 9, times.bits[:, None], W=16, m=6)
    np.testing.assert_allclose(r.throughput, g[f"S_{flavour}"], rtol=5e-5)


def test_published_sheet_of_komondor(golden):
    g = golden("published_fixed_cw16")
    times = txop_times(9, 20, preset="komondor")
    assert (times.k, times.t_s, times.t_c, times.bits) == (43, g["Ts_us"], g["Tc_us"], g["bits"])
    r = bianchi_throughput(g["n"], times.t_s, times.t_c, 9, times.bits, W=16, m=0)
    np.testing.assert_allclose(r.throughput / g["n"], g["S_bianchi"], rtol=0, atol=6e-4)
    np.testing.assert_allclose(100 * r.p, g["p_bianchi_pct"], rtol=0, atol=6e-4)


def test_shares_of_cliques(golden):
    g = golden("maxmin_clique_bianchi")
    for k in range(g["count"]):
        expected = g[f"q{k}_share"]
        links = np.resize(g[f"q{k}_links"], (3, 3))  # one shape for all cases: compiled once
        share = np.asarray(clique_share(links, 5, "rts" if g[f"q{k}_rts"] else "basic"))
        np.testing.assert_allclose(share[: len(expected), : g[f"q{k}_B"] + 1], expected, rtol=1e-9)


def test_airtime_flow(golden):
    g = golden("airtime_flow")
    for split in ("equal", g["split"]):
        flow = airtime_flow(g["adj"], g["mask"], g["demand_mbps"], g["mcs"], g["bw"], split)
        for name in flow._fields:
            np.testing.assert_allclose(getattr(flow, name), g[name], rtol=1e-10, err_msg=name)
