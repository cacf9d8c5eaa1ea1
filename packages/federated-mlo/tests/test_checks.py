"""What the boundary refuses, and what it lets through."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._checks import (
    check_actions,
    check_adjacency,
    check_demand,
    check_finite,
    check_mask,
    check_times,
    check_W,
    is_concrete,
)

RING = np.array([[[0, 1, 1], [1, 0, 1], [1, 1, 0]]] * 2)


def changed(link, i, j, value):
    adj = RING.copy()
    adj[link, i, j] = value
    return adj


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: check_adjacency(RING[0]),
            r"adj has shape \(3, 3\) where \[links, bss, bss\] is needed; .* adj\[None\]",
        ),
        (lambda: check_adjacency(RING[:, :2]), r"adj has shape \(2, 2, 3\)"),
        (lambda: check_adjacency(changed(1, 0, 2, 0)), r"adj\[1, 0, 2\] = 0 .*symmetrize=True"),
        (lambda: check_adjacency(changed(1, 2, 2, 1), "intf"), r"intf\[1, 2, 2\] = 1 .*diagonal must be 0"),
        (lambda: check_adjacency(changed(0, 1, 2, 3)), r"adj\[0, 1, 2\] = 3 .*neither 0 nor 1"),
        (
            lambda: check_mask(np.array([[1, 0], [0, 0]])),
            "BSS 1 has no link on, and each BSS must keep at least one link",
        ),
        (lambda: check_mask(np.array([[1, 2]])), "neither 0 nor 1"),
        (lambda: check_mask(np.array([1, 0])), r"shape \(2,\) where \[bss, links\]"),
        (lambda: check_actions(np.array([0, 7]), 3), "index 7 where 0 to 6 are.*at least one link"),
        (lambda: check_actions(-1, 2), "index -1 where 0 to 2"),
        (lambda: check_times(0.0055, 0.0055, 9.0), "T_s = 0.0055 is shorter than the slot sigma = 9"),
        (lambda: check_times(np.array([5e3, 5e3]), np.array([80.0, np.nan]), 9.0), "T_c = nan"),
        (lambda: check_times(5500.0, 5500.0, 0.0), "sigma = 0 must be positive"),
        (lambda: check_W(0.5), "W = 0.5 backoff values: at least 1"),
        (lambda: check_demand(np.array([0.0, -2.0])), "demand = -2 Mb/s: a demand of 0 or more"),
        (lambda: check_finite(np.array([[1.0, 2.0], [np.nan, np.inf]]), "theta"), r"theta has 2 .* index \(1, 0\)"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_fractional_actions_are_a_type_error():
    with pytest.raises(TypeError, match="float64 where integer"):
        check_actions(np.array([0.0]), 2)


def test_good_input_passes_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_adjacency(RING)
        check_adjacency(RING.astype(bool))
        check_mask(np.array([[True, False]]))
        check_actions(np.arange(7), 3)
        check_times(5566.0, 62.0, 9.0)
        check_times(5.566e-3, 62e-6, 9e-6)
        check_W(np.array([1, 2, 16, 1024]))
        check_W(16.3)  # on purpose: for gradients in W
        check_demand(0)
        check_finite(jnp.ones(3), "x")


def test_warnings_name_the_window_that_was_meant():
    for W, meant in [(15, "did you mean 16"), (31, "did you mean 32"), (20, "CWmin")]:
        with pytest.warns(UserWarning, match=f"W = {W} is not a power of two.*{meant}"):
            check_W(W)


def test_traced_values_are_not_looked_at():
    def traced(adj, mask, actions, number):
        assert not is_concrete((adj, 1.0))
        check_adjacency(adj)
        check_mask(mask)
        check_actions(actions, 2)
        check_times(number, number, 9.0)
        check_W(number)
        check_demand(number)
        check_finite(number, "number")
        return number

    assert jax.jit(traced)(changed(0, 0, 0, 1), np.zeros((2, 2)), np.array([9]), -1.0) == -1
    assert is_concrete(np.zeros(2), jnp.zeros(2), 3)
