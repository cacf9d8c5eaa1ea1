"""The Markov network: closed forms, balance, derivatives, tables and components."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.federated_mlo._ctmn import (
    activity_table,
    component_table,
    connected_components,
    ctmn_activity,
    lookup_activity,
    set_activity,
)
from offprint.federated_mlo._topology import named_graph


def stationary(graph, theta):
    """States of one link and their probabilities, from the balance equations of the chain."""
    n = len(theta)
    states = [s for s in itertools.product((0, 1), repeat=n) if not (np.outer(s, s) * graph).any()]
    number = {s: i for i, s in enumerate(states)}
    rates = np.zeros((len(states), len(states)))
    for s, b in itertools.product(states, range(n)):
        other = (*s[:b], 1 - s[b], *s[b + 1 :])
        if other in number:
            rates[number[s], number[other]] = 1.0 if s[b] else theta[b]  # ends at rate 1, starts at rate theta
    generator = rates - np.diag(rates.sum(1))
    equations = np.vstack([generator.T, np.ones(len(states))])
    pi = np.linalg.lstsq(equations, np.eye(len(states) + 1)[-1], rcond=None)[0]
    return np.array(states), pi


def random_graph(rng, n, links=1, density=0.4):
    graph = np.triu(rng.random((links, n, n)) < density, 1)
    return graph | graph.swapaxes(1, 2)


@pytest.fixture(scope="module")
def case():
    """Six BSSs on two links with graphs, activity ratios, and one BSS that one link does without."""
    rng = np.random.default_rng(0)
    mask = np.ones((6, 2), np.int8)
    mask[4, 1] = 0
    return random_graph(rng, 6, 2), mask, rng.uniform(0.5, 30, (6, 2))


def test_clique_and_chain_in_closed_form():
    theta = 82.4
    clique = ctmn_activity(named_graph("clique", 4), np.ones((4, 1)), np.full((4, 1), theta))
    np.testing.assert_allclose(clique, theta / (1 + 4 * theta), rtol=1e-13)
    chain = ctmn_activity(named_graph("chain", 3), np.ones((3, 1)), np.full((3, 1), theta))[:, 0]
    total = 1 + 3 * theta + theta**2
    np.testing.assert_allclose(chain, np.array([theta + theta**2, theta, theta + theta**2]) / total, rtol=1e-13)


def test_activities_balance_the_chain(case):
    adj, mask, theta = case
    y = ctmn_activity(adj, mask, theta)
    for link in range(2):
        states, pi = stationary(adj[link], theta[:, link] * mask[:, link])
        np.testing.assert_allclose(y[:, link], states.T @ pi, atol=1e-8)


def test_derivative_is_the_covariance_of_the_states(case):
    adj, mask, theta = case
    jacobian = jax.jit(jax.jacobian(lambda log: ctmn_activity(adj, mask, jnp.exp(log))))(jnp.log(theta))
    for link in range(2):
        states, pi = stationary(adj[link], theta[:, link] * mask[:, link])
        mean = states.T @ pi
        covariance = (states - mean).T @ np.diag(pi) @ (states - mean)
        np.testing.assert_allclose(jacobian[:, link, :, link], covariance, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(jacobian[:, 0, :, 1], 0)


def test_derivative_is_finite_where_theta_is_zero():
    chain = named_graph("chain", 3)[0]
    slope = jax.jit(jax.grad(lambda t: set_activity(chain, t)[1]))(jnp.array([2.0, 3.0, 0.0]))
    assert np.isfinite(slope).all()


def test_an_edge_more_conditions_on_not_both(case):
    """With P the old law, y_k becomes (P(k) - P(k, i, j)) / (1 - P(i, j))."""
    adj, mask, theta = case
    i, j = np.argwhere(~adj[0] & ~np.eye(6, dtype=bool))[0]
    states, pi = stationary(adj[0], theta[:, 0] * mask[:, 0])
    both = states[:, i] * states[:, j]
    expected = ((states * (1 - both)[:, None]).T @ pi) / (1 - both @ pi)
    more = adj.copy()
    more[0, [i, j], [j, i]] = True
    y, before = ctmn_activity(more, mask, theta)[:, 0], ctmn_activity(adj, mask, theta)[:, 0]
    np.testing.assert_allclose(y, expected, atol=1e-8)
    assert y[i] < before[i]
    assert y[j] < before[j]


def test_order_of_bss_and_links_does_not_matter(case):
    adj, mask, theta = case
    order = np.array([3, 0, 5, 1, 4, 2])
    y = ctmn_activity(adj, mask, theta)
    swapped = ctmn_activity(adj[::-1][:, order][:, :, order], mask[order][:, ::-1], theta[order][:, ::-1])
    np.testing.assert_allclose(swapped, y[order][:, ::-1], rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_neighbours_share_the_channel(seed):
    """Of any clique the activities sum to less than 1; an active BSS of positive theta is never shut out."""
    rng = np.random.default_rng(seed)
    adj, theta = random_graph(rng, 6, 2), rng.uniform(0.1, 100, (6, 2))
    mask = rng.random((6, 2)) < 0.7
    y = np.asarray(ctmn_activity(adj, mask, theta))
    assert ((y > 0) == mask).all()
    for link, i, j in np.argwhere(adj):
        assert y[i, link] + y[j, link] < 1


def test_tables_hold_every_pattern(case):
    adj, mask, theta = case
    table, parts = activity_table(adj, theta), component_table(adj, theta)
    assert table.shape == (2, 64, 6)
    np.testing.assert_array_equal(table[:, 0], 0)
    for pattern in (1, 17, 42, 63):
        on = np.stack([pattern >> np.arange(6) & 1, mask[:, 1]], axis=1)
        expected = ctmn_activity(adj, on, theta)
        np.testing.assert_allclose(lookup_activity(table, on), expected, atol=1e-13)
        np.testing.assert_allclose(lookup_activity(parts, on), expected, atol=1e-13)


def test_components_of_a_large_network():
    """Six chains of three on one link and a ring of six among singles on the other."""
    adj = np.zeros((2, 18, 18), bool)
    for first in range(0, 18, 3):
        adj[0, first : first + 3, first : first + 3] = named_graph("chain", 3)[0]
    adj[1, :6, :6] = named_graph("ring", 6)[0]
    theta, mask = np.full((18, 2), 7.0), np.ones((18, 2), bool)
    mask[10, 1] = False
    y = np.asarray(ctmn_activity(adj, mask, theta))
    chain = ctmn_activity(named_graph("chain", 3), np.ones((3, 1)), np.full((3, 1), 7.0))[:, 0]
    ring = ctmn_activity(named_graph("ring", 6), np.ones((6, 1)), np.full((6, 1), 7.0))[:, 0]
    np.testing.assert_allclose(y[:, 0], np.tile(chain, 6), rtol=1e-12)
    np.testing.assert_allclose(y[:6, 1], ring, rtol=1e-12)
    np.testing.assert_allclose(y[6:, 1], np.where(mask[6:, 1], 7 / 8, 0), rtol=1e-12)
    np.testing.assert_allclose(lookup_activity(component_table(adj, theta), mask), y, atol=1e-13)
    assert [part.tolist() for part in connected_components(adj[1])[:2]] == [[0, 1, 2, 3, 4, 5], [6]]


def test_traced_mapped_and_in_float32(case):
    adj, mask, theta = case
    y = ctmn_activity(adj, mask, theta)
    stacked = jax.jit(jax.vmap(ctmn_activity))(np.stack([adj, adj[::-1]]), np.stack([mask] * 2), np.stack([theta] * 2))
    np.testing.assert_allclose(stacked[0], y, rtol=1e-12)
    single = ctmn_activity(adj, mask, theta.astype(np.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, y, rtol=2e-5)


def test_no_overflow_at_large_ratios():
    y = ctmn_activity(np.zeros((1, 12, 12), bool), np.ones((12, 1)), np.full((12, 1), 1e5, np.float32))
    np.testing.assert_allclose(y, 1e5 / (1e5 + 1), rtol=1e-4)


def test_refuses_what_is_too_large():
    clique, theta, mask = named_graph("clique", 17), np.ones((17, 1)), np.ones((17, 1))
    with pytest.raises(
        ValueError, match=r'17 BSSs in one connected component have up to 2\*\*17 = 131072 states.*"bethe"'
    ):
        ctmn_activity(clique, mask, theta)
    with pytest.raises(ValueError, match="its components are unknown while adj is traced"):
        jax.jit(ctmn_activity)(clique, mask, theta)
    with pytest.raises(ValueError, match=r"2\*\*17 = 131072 patterns per link.*component_table"):
        activity_table(clique, theta)
    with pytest.raises(ValueError, match="adj is traced"):
        jax.jit(component_table)(clique[:, :2, :2], theta[:2])
