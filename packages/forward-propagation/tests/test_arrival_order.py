"""Arrival times in order, each with its place before, and equal ones in the order they came in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.forward_propagation._arrival_order import sort_with_source
from offprint.forward_propagation._batch_wide import largest

close = st.sampled_from([0.5, -0.0, 0.0, -1.0, np.inf, 1e-300, 0.5 + 1e-16, 1.0, 1 + 2**-52, 1 - 2**-53, 1 + 2**-50])


@settings(max_examples=40, deadline=None)
@given(times=st.lists(close | st.floats(-4, 4).filter(lambda x: abs(x) > 1e-30), min_size=12, max_size=12))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_order_is_that_of_a_stable_sort(times, dtype):
    times = np.array(times, dtype)
    ordered, place = jax.jit(sort_with_source)(times)
    want = np.argsort(times, kind="stable")
    np.testing.assert_array_equal(place, want)
    np.testing.assert_array_equal(ordered, times[want])


@pytest.mark.parametrize(("dtype", "spread"), [(np.float32, 1e-4), (np.float32, 0.0), (np.float64, 1e-13)])
def test_times_that_differ_in_their_last_bits_come_in_order_in_a_batch_too(dtype, spread):
    times = (1 + spread * np.random.default_rng(0).random((3, 300))).astype(dtype)
    _, place = jax.vmap(sort_with_source)(times)
    np.testing.assert_array_equal(place, np.argsort(times, axis=1, kind="stable"))


def test_as_many_events_as_leave_no_bits_are_sorted_in_pairs():
    times = np.random.default_rng(0).random(3000).astype(np.float32)
    ordered, place = sort_with_source(jnp.asarray(times))
    np.testing.assert_array_equal(place, np.argsort(times, kind="stable"))
    np.testing.assert_array_equal(ordered, np.sort(times))


def test_a_batch_agrees_on_its_largest_number():
    np.testing.assert_array_equal(jax.vmap(lambda x: largest(x) + 0 * x)(jnp.array([1, 4, 2])), [4, 4, 4])
