"""Best joint actions, and allocations to compare with."""

import itertools

import jax
import numpy as np
import pytest

from offprint.federated_mlo._make import make_env
from offprint.federated_mlo._multilink import multilink_activity
from offprint.federated_mlo._oracle import (
    best_response,
    greedy_coloring,
    local_search,
    max_sum,
    maxmin,
    prop_fair,
    throughput_of,
)
from offprint.federated_mlo._payoff import joint_table, payoff_of
from offprint.federated_mlo._scenarios import scenario_topology
from offprint.federated_mlo._topology import from_graph, named_graph


@pytest.fixture(scope="module")
def chain():
    return scenario_topology("chain3_l2")


@pytest.fixture(scope="module")
def table(chain):
    return joint_table(chain)


def test_a_table_has_a_row_per_joint_action(chain, table):
    payoff = payoff_of(chain)
    assert table.shape == (27, 3)
    for row, actions in zip(table, itertools.product(range(3), repeat=3)):
        np.testing.assert_allclose(throughput_of(payoff, np.array(actions)), row, rtol=1e-12)
    np.testing.assert_array_equal(joint_table(chain, chunk=4), table)  # the last chunk is not full


def test_the_best_of_the_canonical_chain(chain, table):
    """The ends on one link and the middle on the other, either way round; the sum wants the middle starved."""
    best = maxmin(chain)
    assert best.value == pytest.approx(988.0, abs=0.05)
    assert best.indices.tolist() == [3, 10]
    assert best.actions.tolist() == [0, 1, 0]
    np.testing.assert_allclose(best.throughput, best.value)
    assert max_sum(chain).value == table.sum(1).max()
    assert prop_fair(chain).value == pytest.approx(np.log(table).sum(1).max())


def test_a_table_and_an_environment_are_games_too(chain, table):
    for game in (table, make_env(chain)):
        result = maxmin(game)
        assert result.indices.tolist() == [3, 10]
        assert result.value == pytest.approx(988.0, abs=0.05)


def test_options_reach_the_model(chain):
    """A device with one radio: a TXOP on one link at a time, whatever is switched on."""
    found = joint_table(chain, mld="emlsr")
    y = multilink_activity(chain.adj, np.ones((3, 2)), chain.theta, "emlsr")
    np.testing.assert_allclose(found[-1], (y * chain.cap).sum(1), rtol=1e-12)
    assert found.max() < 1000


def test_local_search_finds_the_optimum_of_small_games(golden):
    data = golden("maxmin_ctmn")
    topology = from_graph(data["t6_adj"], data["t6_theta"], data["t6_cap"])
    found = maxmin(topology, method="local_search")
    assert found.value == pytest.approx(float(data["t6_opt_min"]), rel=1e-9)
    assert prop_fair(topology, method="local_search").value == pytest.approx(float(data["t6_pf_max"]), rel=1e-9)


def test_local_search_on_a_network_that_is_too_large():
    """A chain of 14 BSSs, alternately on two links: every one has a link for itself."""
    topology = from_graph(named_graph("chain", 14, 2), theta=80.0, cap=100.0)
    topology = topology._replace(adj=topology.adj.at[:, 6, 7].set(False).at[:, 7, 6].set(False))
    found = local_search(topology, restarts=2)
    assert found.indices is None
    assert found.value >= 100 * 80 / 81 - 1e-6


@pytest.mark.usefixtures("unchecked_types")
def test_the_number_of_joint_actions_is_in_the_error():
    with pytest.raises(ValueError, match=r'16 BSSs of 2 links have 43046721 .* Use method="local_search"'):
        maxmin(from_graph(named_graph("chain", 16, 2)))
    with pytest.raises(ValueError, match=r"a table of shape \(26, 3\)"):
        maxmin(np.ones((26, 3)))
    with pytest.raises(ValueError, match="method='brute' is unknown"):
        maxmin(np.ones((27, 3)), method="brute")


def test_colouring_gives_neighbours_different_links():
    for name, num_links in (("chain5_l2", 2), ("star4_l2", 2), ("chain4_l3", 3)):
        topology = scenario_topology(name)
        actions = greedy_coloring(topology)
        links = np.log2(actions + 1).astype(int)
        np.testing.assert_array_equal(2**links - 1, actions)
        assert links.max() < num_links
        for i, j in np.argwhere(np.asarray(topology.adj[0])):
            assert links[i] != links[j]


def test_colouring_keeps_to_usable_links():
    cap = np.array([[100.0, 0.0], [0.0, 50.0], [100.0, 300.0]])
    assert greedy_coloring(from_graph(np.zeros((2, 3, 3), bool), cap=cap)).tolist() == [0, 1, 1]


def test_selfish_bss_end_in_an_equilibrium(chain, table):
    actions = best_response(chain)
    assert actions.tolist() == [2, 2, 2]  # all links on, where the middle starves
    rates = table.reshape(3, 3, 3, 3)
    for bss in range(3):
        own = rates[tuple(slice(None) if b == bss else actions[b] for b in range(3))][:, bss]
        assert own[actions[bss]] >= own.max() - 1e-9


def test_selfish_bss_may_go_round_in_circles():
    """Matching pennies: one BSS wants the same link, the other another one."""
    same = np.array([[1, 0, 0.1], [0, 1, 0.1], [0.1, 0.1, 0.1]])
    game = np.stack([same, 1 - same], axis=-1).reshape(9, 2)
    with pytest.warns(UserWarning, match="still change their links after 5 rounds"):
        best_response(game, max_rounds=5)
    with pytest.raises(ValueError, match="start holds the index 3"):
        best_response(game, start=np.array([3, 0]))


def test_starts_are_drawn_from_the_key(chain):
    one, two = (local_search(chain, restarts=3, key=jax.random.key(k)) for k in (1, 2))
    assert one.value == pytest.approx(two.value)
