"""The numbers that come with the package."""

from importlib.metadata import entry_points

import numpy as np

from offprint.federated_mlo import data


def test_nothing_is_downloaded():
    assert data.DATASETS == ()
    (advertised,) = entry_points(group="offprint.data", name="federated-mlo")
    assert advertised.load() is data


def test_published_tables(golden):
    g, ours = golden("published_bianchi_11ax"), data.published_bianchi()
    for name, key in {"throughput_eifs": "S_eifs", "throughput_difs": "S_difs", "bw_mhz": "bw"}.items():
        np.testing.assert_array_equal(getattr(ours, name), g[key])
    assert ours.throughput_eifs.shape == (len(ours.mcs), len(ours.n))
    assert (ours.t_c_eifs > ours.t_c_difs).all()
    assert ours.throughput_difs.max() < 70
    assert ours.bits == 12_000

    g, sheet = golden("published_fixed_cw16"), data.published_cw16()
    np.testing.assert_array_equal(sheet.throughput_bianchi, g["S_bianchi"])
    np.testing.assert_array_equal(sheet.throughput_ns3, g["S_ns3"])
    assert 0 <= sheet.p_bianchi.min() < sheet.p_bianchi.max() < 1
    assert (sheet.t_s, sheet.t_c, sheet.bits) == (5647, 155, 504_304)
    # The simulators agree with the model within 5 % where they were run.
    run = ~np.isnan(sheet.throughput_ns3)
    np.testing.assert_allclose(sheet.throughput_ns3[run], sheet.throughput_bianchi[run], rtol=0.05)


def test_deployments(golden):
    g, ours = golden("random5_l3_deployments"), data.random5_deployments()
    for name, value in ours._asdict().items():
        np.testing.assert_array_equal(value, g[name])
    assert ours.adj.dtype == bool
    assert (ours.adj == ours.adj.swapaxes(-1, -2)).all()
    assert (ours.opt_min >= ours.all_links_min).all()
    assert (ours.opt_min > ours.mean_min).all()
    assert (ours.cap > 0).all()
