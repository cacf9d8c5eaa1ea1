"""Named scenarios."""

import jax
import numpy as np
import pytest

from offprint.federated_mlo._bianchi import bianchi_throughput
from offprint.federated_mlo._radio import Band, Radio
from offprint.federated_mlo._scenarios import SCENARIOS, scenario_topology
from offprint.federated_mlo._topology import usable


def test_the_names():
    assert list(SCENARIOS) == [
        *("chain3_l2", "chain5_l2", "star4_l2", "clique3_l2", "ring5_l2", "chain4_l3"),
        *("random5_l3", "random5_l3_sparse", "clique_basic", "komondor_cw16", "ns3_11ax"),
    ]


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_a_topology(name):
    topology = scenario_topology(name, jax.random.key(0))
    num_bss, num_links = topology.cap.shape
    assert topology.adj.shape == topology.intf.shape == (num_links, num_bss, num_bss)
    np.testing.assert_allclose(topology.theta, topology.t_s / 67.5)
    assert usable(topology).any(1).all()


def test_abstract_scenarios_are_the_golden_topologies(golden):
    data = golden("maxmin_ctmn")
    seen = 0
    for case, name in enumerate(str(name).lower() for name in data["names"]):
        if name in SCENARIOS:
            topology = scenario_topology(name)
            for field in ("adj", "theta", "cap"):
                np.testing.assert_allclose(getattr(topology, field), data[f"t{case}_{field}"], rtol=1e-12)
            seen += 1
    assert seen == 6


def test_random_scenarios_have_the_density_of_their_sensing_ranges():
    """Two uniform points of a unit square are closer than r with probability pi r^2 - 8 r^3 / 3 + r^4 / 2."""
    keys = jax.random.split(jax.random.key(0), 400)
    for name, area in (("random5_l3", 60), ("random5_l3_sparse", 90)):
        topology = jax.jit(jax.vmap(lambda key, name=name: scenario_topology(name, key)))(keys)
        degree = np.asarray(topology.adj.sum(-1).mean((0, 2)))
        r = np.array([40, 30, 30]) / area  # where -82 dBm is passed, for a wall every 10 m
        np.testing.assert_allclose(degree, 4 * (np.pi * r**2 - 8 / 3 * r**3 + r**4 / 2), atol=0.15)  # 4 standard errors


def test_validation_presets_give_published_throughputs(golden):
    sheet = golden("published_fixed_cw16")
    row = int(np.flatnonzero(sheet["n"] == 12)[0])
    topology = scenario_topology("komondor_cw16", num_bss=12)
    t_s, t_c, bits = topology.t_s[0, 0], topology.t_c[0, 0], topology.cap[0, 0] * topology.t_s[0, 0]
    result = bianchi_throughput(12, t_s, t_c, 9.0, bits, 16, 0)
    assert abs(result.throughput / 12 - sheet["S_bianchi"][row]) < 6e-4

    table = golden("published_bianchi_11ax")
    row = int(np.flatnonzero((table["mcs"] == 7) & (table["bw"] == 40))[0])
    for eifs, column in ((True, "eifs"), (False, "difs")):
        topology = scenario_topology("ns3_11ax", bw_mhz=40, eifs=eifs)
        assert topology.t_s[0, 0] == pytest.approx(table[f"Ts_{column}"][row])
        assert topology.t_c[0, 0] == pytest.approx(table[f"Tc_{column}"][row])


def test_options_and_errors():
    assert scenario_topology("chain5_l2", num_bss=7, num_links=3).cap.shape == (7, 3)
    radio = Radio(bands=(Band(6.1, 320),))
    assert scenario_topology("random5_l3", jax.random.key(0), num_bss=3, radio=radio).cap.shape == (3, 1)
    with pytest.raises(ValueError, match="name='chain9' is unknown"):
        scenario_topology("chain9")
    with pytest.raises(ValueError, match="random5_l3 is a random placement; pass a key"):
        scenario_topology("random5_l3")
