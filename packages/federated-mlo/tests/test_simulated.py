"""Payoff tables from the event simulator against those of the stationary model."""

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from offprint.federated_mlo._actions import actions_from_joint, masks_from_actions
from offprint.federated_mlo._ctmn import activity_table
from offprint.federated_mlo._simulated import simulated_activity, simulated_table
from offprint.federated_mlo._topology import from_graph, named_graph

OPTIONS = {"seeds": 4, "warmup_us": 1_000_000}
HORIZON_US = 8_000_000


@pytest.fixture(scope="module")
def chain():
    return from_graph(named_graph("chain", 3, 2), theta=5566 / 67.5, cap=1000)


@pytest.fixture(scope="module")
def activity(chain):
    return np.asarray(simulated_activity(jax.random.key(0), chain, HORIZON_US, **OPTIONS))


def test_activities_are_near_those_of_the_ctmn(chain, activity):
    """Without collisions to speak of the two agree; the middle of the chain starves more in the simulator."""
    expected = np.asarray(activity_table(chain.adj, chain.theta))
    assert activity.shape == expected.shape == (2, 8, 3)
    assert not activity[:, 0].any()
    for pattern in (0b001, 0b010, 0b100, 0b101):
        np.testing.assert_allclose(activity[:, pattern], expected[:, pattern], atol=0.002)
    np.testing.assert_allclose(activity[:, 0b011], expected[:, 0b011], atol=0.06)
    assert (activity[:, 0b111, 1] < 0.03).all()
    assert (activity[:, 0b111, [0, 2]] > 0.95).all()
    assert not activity[:, [0, 2, 4, 6]][..., 0].any()  # BSS 0 is bit 0


def test_joint_table_adds_the_links(chain, activity):
    table = np.asarray(simulated_table(jax.random.key(0), chain, HORIZON_US, **OPTIONS))
    assert table.shape == (27, 3)
    for joint in range(27):
        mask = np.asarray(masks_from_actions(actions_from_joint(joint, 3, 2), 2))
        patterns = (mask << np.arange(3)[:, None]).sum(0)
        expected = sum(activity[link, patterns[link]] * 1000 for link in range(2))
        np.testing.assert_allclose(table[joint], expected, rtol=1e-12)


def test_minimum_rates_fall_into_the_classes_of_the_ctmn(chain, golden):
    """Starved, sharing, or undisturbed: each of the 27 joint actions of the chain of three with two links.

    Ranks within the classes differ by a percent and need minutes of simulated time.
    """
    reference = golden("maxmin_ctmn")
    which = int(np.flatnonzero(reference["names"] == "chain3_L2")[0])
    table = np.asarray(simulated_table(jax.random.key(0), chain, HORIZON_US, **OPTIONS))
    minima, expected = table.min(1), reference[f"t{which}_X"].min(1)
    np.testing.assert_array_equal(np.digitize(minima, [100, 750]), np.digitize(expected, [100, 750]))
    assert spearmanr(minima, expected).statistic > 0.9
    assert int(minima.argmax()) in reference[f"t{which}_opt_idx"]
    np.testing.assert_allclose(minima.max(), expected.max(), rtol=0.002)


def test_a_bss_out_of_range_neither_sends_nor_disturbs(chain):
    deaf = chain._replace(cap=chain.cap.at[1, 0].set(0.0), t_s=chain.t_s.at[1, 0].set(0.0))
    activity = np.asarray(simulated_activity(jax.random.key(0), deaf, HORIZON_US, **OPTIONS))
    np.testing.assert_allclose(activity[0, 0b111], [0.988, 0, 0.988], atol=0.002)


def test_bad_input(chain):
    large = from_graph(named_graph("chain", 13, 2), theta=5566 / 67.5, cap=1000)
    with pytest.raises(ValueError, match="13 BSSs have 8192 patterns"):
        simulated_activity(jax.random.key(0), large)
    with pytest.raises(ValueError, match="seeds = 0"):
        simulated_activity(jax.random.key(0), chain, seeds=0)
    with pytest.raises(ValueError, match="a positive number of microseconds"):
        simulated_activity(jax.random.key(0), chain, 0)
    many = from_graph(named_graph("chain", 10, 3), theta=5566 / 67.5, cap=1000)
    with pytest.raises(ValueError, match="282475249 joint actions"):
        simulated_table(jax.random.key(0), many)
