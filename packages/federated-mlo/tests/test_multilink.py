"""Devices with one radio, or with links that disturb each other."""

import itertools

import numpy as np
import pytest

from offprint.federated_mlo._ctmn import ctmn_activity
from offprint.federated_mlo._multilink import joint_graph, multilink_activity
from offprint.federated_mlo._topology import named_graph


def balance(adj, mask, theta, may_start):
    """Activities from the balance equations over masks [bss, links], with a rule for who may start where."""
    shape = theta.shape
    states = [np.zeros(shape, int)]
    number, moves = {states[0].tobytes(): 0}, []
    for at, state in enumerate(states):  # grows while it is gone through
        for b, link in itertools.product(*map(range, shape)):
            other = state.copy()
            other[b, link] ^= 1
            starts = not state[b, link]
            free = mask[b, link] and not (adj[link, b] & (state[:, link] == 1)).any()
            if starts and not (free and may_start(state, b, link)):
                continue
            if other.tobytes() not in number:
                number[other.tobytes()] = len(states)
                states.append(other)
            moves.append((at, number[other.tobytes()], theta[b, link] if starts else 1.0))
    rates = np.zeros((len(states), len(states)))
    for begin, end, rate in moves:
        rates[begin, end] += rate
    equations = np.vstack([rates.T - np.diag(rates.sum(1)), np.ones(len(states))])
    pi = np.linalg.lstsq(equations, np.eye(len(states) + 1)[-1], rcond=None)[0]
    return np.tensordot(pi, np.array(states), axes=1)


def own_links_silent(state, b, link):
    return state[b].sum() == 0


@pytest.fixture(scope="module")
def chain():
    rng = np.random.default_rng(1)
    adj = np.array(named_graph("chain", 3, 2))
    adj[1, 0, 2] = adj[1, 2, 0] = True
    return adj, np.array([[1, 1], [1, 0], [1, 1]]), rng.uniform(1, 20, (3, 2))


@pytest.mark.parametrize("mld", ["nstr", "emlsr"])
def test_the_law_balances_the_chain_of_its_start_rule(chain, mld):
    expected = balance(*chain, own_links_silent)
    np.testing.assert_allclose(multilink_activity(*chain, mld), expected, atol=1e-9)


def test_str_devices_have_independent_links(chain):
    expected = balance(*chain, lambda *_: True)
    np.testing.assert_allclose(multilink_activity(*chain, "str"), expected, atol=1e-9)
    np.testing.assert_allclose(ctmn_activity(*chain), expected, atol=1e-9)


def test_one_device_alone_shares_itself():
    theta = np.array([[3.0, 5.0]])
    y = multilink_activity(np.zeros((2, 1, 1), bool), np.ones((1, 2)), theta)
    np.testing.assert_allclose(y, theta / 9, rtol=1e-12)


def test_one_link_makes_no_difference():
    arguments = named_graph("ring", 5), np.ones((5, 1)), np.full((5, 1), 4.0)
    np.testing.assert_allclose(multilink_activity(*arguments, "emlsr"), ctmn_activity(*arguments), rtol=1e-12)


def test_a_device_never_holds_more_than_one_txop(chain):
    assert (np.asarray(multilink_activity(*chain)).sum(1) < 1).all()


def test_far_apart_devices_are_solved_apart():
    adj = np.zeros((3, 9, 9), bool)
    for first in (0, 3, 6):
        adj[:, first : first + 3, first : first + 3] = named_graph("chain", 3)[0]
    small = multilink_activity(named_graph("chain", 3, 3), np.ones((3, 3)), np.full((3, 3), 6.0))
    np.testing.assert_allclose(
        multilink_activity(adj, np.ones((9, 3)), np.full((9, 3), 6.0)), np.tile(small, (3, 1)), rtol=1e-12
    )


def test_joint_graph_counts_links_within_devices():
    graph = np.asarray(joint_graph(named_graph("chain", 3, 2)))
    assert [tuple(edge) for edge in np.argwhere(np.triu(graph))] == [
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 3),
        (2, 4),
        (3, 5),
        (4, 5),
    ]


def test_refuses():
    with pytest.raises(ValueError, match=r"21 BSSs in one connected component|2\*\*21"):
        multilink_activity(named_graph("chain", 7, 3), np.ones((7, 3)), np.ones((7, 3)))
