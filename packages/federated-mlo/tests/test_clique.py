"""The simulator of one collision domain: conservation laws, limits, streams, bad input."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.federated_mlo._clique import Counts, sim_clique, throughput_from_counts
from offprint.federated_mlo._draws import backoff, mix

KEY = jax.random.key(0)


@given(
    W=st.sampled_from([2, 4, 16, 64]),
    m=st.integers(0, 6),
    decrement=st.sampled_from(["freeze", "bianchi"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_every_busy_period_is_a_success_or_a_collision(W, m, decrement, seed):
    counts = sim_clique(jax.random.key(seed), 2, W, m, 300, decrement, replicas=64)
    np.testing.assert_array_equal(counts.collision[:, 0], counts.collision[:, 1])  # it takes both
    np.testing.assert_array_equal(counts.success.sum(1) + counts.collision[:, 0], 300)
    np.testing.assert_array_equal(counts.busy, 300)
    assert (np.asarray(counts.idle) >= 0).all()


@pytest.mark.parametrize("decrement", ["freeze", "bianchi"])
def test_a_window_of_one_value_never_waits(decrement):
    alone = sim_clique(KEY, 1, 1, 0, 100, decrement)
    assert (int(alone.idle), int(alone.success[0]), int(alone.collision[0])) == (0, 100, 0)
    both = sim_clique(KEY, 2, 1, 0, 300, decrement, replicas=64)
    assert int(both.idle.sum()) == int(both.success.sum()) == 0
    np.testing.assert_array_equal(both.collision, 300)


def test_one_station_waits_for_its_own_backoff():
    counts = sim_clique(KEY, 1, 16, 6, 10_000, replicas=64)
    assert int(counts.collision.sum()) == 0
    mean, error = 7.5, np.sqrt((16**2 - 1) / 12 / 10_000 / 64)
    assert abs(float(counts.idle.mean()) / 10_000 - mean) < 4 * error
    throughput = throughput_from_counts(counts, 5566.0, 214.0, 9.0, 12_000)
    np.testing.assert_allclose(throughput.mean(), 12_000 / (mean * 9 + 5566), rtol=1e-4)


def test_the_largest_stage_is_kept_and_lowers_collisions():
    """With two stations and W = 2 the probability of a collision falls with every stage that is allowed."""
    collided = [float(sim_clique(KEY, 2, 2, m, 300, replicas=64).collision.mean()) for m in (0, 1, 2, 4)]
    assert all(a > 1.05 * b for a, b in pairwise(collided))


def test_warmup_cuts_off_the_beginning():
    """Long and short runs see the same stream, and none of the counts depends on how it is cut."""
    long, short = (sim_clique(KEY, 2, events=events, replicas=64) for events in (300, 77))
    rest = sim_clique(KEY, 2, events=300 - 77, replicas=64, warmup=77)
    for whole, first, last in zip(long, short, rest):
        np.testing.assert_array_equal(whole, first + last)


def test_traced_and_mapped_calls_agree_with_plain_ones():
    keys = jax.random.split(KEY, 3)
    mapped = jax.jit(jax.vmap(lambda key, W: sim_clique(key, 2, W, events=200)))(keys, jnp.array([8, 16, 32]))
    for i, W in enumerate((8, 16, 32)):
        for a, b in zip(mapped, sim_clique(keys[i], 2, W, events=200)):
            np.testing.assert_array_equal(a[i], b)
    assert mapped.success.dtype == jnp.int32


def test_each_station_counts_down_its_own_window():
    """Wald: while counters freeze in busy periods, attempts times mean backoff are the idle slots."""
    counts = sim_clique(KEY, 2, np.array([8, 32]), 0, 3000, replicas=64)
    attempts = np.asarray(counts.success + counts.collision).sum(0)
    np.testing.assert_allclose(attempts * np.array([3.5, 15.5]), int(counts.idle.sum()), rtol=0.02)


def test_throughput_is_payload_over_time():
    counts = Counts(jnp.int32(1000), jnp.array([30, 50], jnp.int32), jnp.array([4, 4], jnp.int32), jnp.int32(84))
    time = 1000 * 9 + 30 * 5000 + 50 * 6000 + 4 * 200
    expected = np.array([30 * 1e4, 50 * 2e4]) / time
    got = throughput_from_counts(counts, np.array([5000.0, 6000.0]), 200.0, 9.0, np.array([1e4, 2e4]))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("window", [1, 3, 16, 1000, 2**20])
def test_backoffs_stay_inside_their_window(window):
    extremes = jnp.array([0, 2**32 - 1, 2**31], jnp.uint32)
    drawn = np.asarray(backoff(extremes, jnp.full(3, window, jnp.int32)))
    np.testing.assert_array_equal(drawn, [0, window - 1, window // 2])


def test_the_mixing_function_is_a_permutation_with_avalanche():
    words = jnp.arange(2**16, dtype=jnp.uint32) * jnp.uint32(65537)
    mixed = np.asarray(mix(words))
    assert np.unique(mixed).size == words.size
    for bit in (0, 7, 31):
        flipped = np.asarray(mix(words ^ jnp.uint32(1 << bit))) ^ mixed
        share = np.unpackbits(flipped.view(np.uint8)).mean()
        assert abs(share - 0.5) < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n = 0 stations: at least 1"),
        ({"n": 2, "W": 0}, "at least 1 is needed"),
        ({"n": 2, "m": 16}, "m = 16: a whole number of stages from 0 to 15"),
        ({"n": 2, "m": -1}, "from 0 to 15"),
        ({"n": 2, "W": 1024, "m": 15}, "exceeds 1048576"),
        ({"n": 2, "events": 0}, "at least one busy period"),
        ({"n": 2, "events": 2**28}, "run several replicas"),
        ({"n": 2, "replicas": 0}, "replicas = 0"),
        ({"n": 2, "decrement": "halt"}, "decrement='halt' is unknown"),
    ],
)
def test_bad_input(arguments, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        sim_clique(KEY, **arguments)


def test_bad_input_of_fractional_windows_and_mixed_units():
    with pytest.raises(ValueError, match="a whole number of backoff values"):
        sim_clique(KEY, 2, 15.5)
    with pytest.warns(UserWarning, match="did you mean 16"):
        sim_clique(KEY, 2, 15, events=200)
    counts = Counts(jnp.int32(1), jnp.ones(1, jnp.int32), jnp.zeros(1, jnp.int32), jnp.int32(1))
    with pytest.raises(ValueError, match="seconds and microseconds mixed"):
        throughput_from_counts(counts, 5566e-6, 214e-6, 9.0)
