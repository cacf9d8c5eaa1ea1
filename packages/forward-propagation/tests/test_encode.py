"""Latency encoding: the authors' input times, ranges, bias spikes, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from offprint.forward_propagation._encode import encode_latency
from offprint.forward_propagation.data import iris, xor, yin_yang


@pytest.mark.parametrize("name", ["official_yinyang_small", "official_multispike"])
@pytest.mark.parametrize("bias", ["official", "append"])
def test_the_authors_input_times_are_reproduced(golden, name, bias):
    stored = golden(name)
    train = encode_latency(
        stored["x"], float(stored["t_early"]), float(stored["T"]), bias_time=float(stored["t_bias"]), bias=bias
    )
    assert np.array_equal(train.times[..., 0], stored[f"{bias}_input_times"])
    assert train.count.dtype == jnp.int32
    assert np.all(train.count == 1)
    assert not np.any(train.overflow)


@settings(max_examples=25, deadline=None)
@given(
    x=arrays(np.float64, (6, 4), elements=st.floats(0, 1, allow_subnormal=False)),
    at=st.floats(0, 2, allow_subnormal=False),
)
def test_the_official_bias_goes_where_numpy_inserts_it(x, at):
    train = encode_latency(x, 0.0, 2.0, bias_time=at, bias="official")
    times = 2.0 * x
    expected = np.stack([np.insert(row, np.searchsorted(row, at), at) for row in times])
    assert np.array_equal(train.times[..., 0], expected)


def test_the_official_bias_falls_into_each_channel_of_the_yin_yang_set_as_often_as_counted():
    x, _ = yin_yang(5000, 42)
    times = encode_latency(x, 0.15, 2.0, bias_time=0.9, bias="official").times[..., 0]
    share = np.mean(np.asarray(times) == 0.9, axis=0)
    assert np.allclose(share, [0.107, 0.298, 0.170, 0.316, 0.110], atol=6e-4)


def test_xor_bits_become_their_own_times_and_large_iris_features_fire_first():
    x, _ = xor()
    assert np.array_equal(encode_latency(x, 0, 1).times[..., 0], x)
    x, _ = iris()
    times = encode_latency(x, 0, 16, low=x.min(0), high=x.max(0), invert=True).times[..., 0]
    assert np.allclose(times, 16 * (1 - (x - x.min(0)) / (x.max(0) - x.min(0))), atol=1e-14)


def test_mirrored_features_follow_the_features_and_fire_at_the_mirrored_times():
    x = np.array([[0.25, 1.0]])
    train = encode_latency(x, 0, 2, mirror=True, bias_time=0.5)
    assert train.times[0, :, 0].tolist() == [0.5, 2.0, 1.5, 0.0, 0.5]
    inverted = encode_latency(x, 0, 2, mirror=True, invert=True)
    assert inverted.times[0, :, 0].tolist() == [1.5, 0.0, 0.5, 2.0]


def test_features_beyond_the_bounds_fire_at_the_ends_and_dark_ones_not_at_all():
    train = encode_latency(np.array([-1.0, 0.5, 3.0]), 1, 2, silent_below=0.0, mirror=True)
    assert train.times[:, 0].tolist() == [np.inf, 1.5, 2.0, np.inf, 1.5, 1.0]
    assert train.count.tolist() == [0, 1, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("given_dtype", "dtype"), [("float32", "float32"), ("float64", "float64"), ("uint8", "float64")]
)
def test_times_have_the_dtype_of_float_features_else_the_default(given_dtype, dtype):
    assert encode_latency(np.ones((2, 3), given_dtype), 0, 1, bias_time=0.5).times.dtype == dtype


def test_jit_vmap_and_gradient_agree_with_the_plain_function():
    x = np.random.default_rng(0).uniform(0, 1, (5, 3))

    def encode(x):
        return encode_latency(x, 0.2, 2.0, bias_time=0.9, mirror=True, invert=True)

    plain = encode(x).times
    assert np.allclose(jax.jit(encode)(x).times, plain, rtol=0, atol=1e-15)
    assert np.allclose(jax.vmap(encode)(jnp.asarray(x)).times, plain, rtol=0, atol=1e-15)
    slope = jax.jacobian(lambda x: encode(x).times[:, 0])(jnp.asarray(x[0]))
    assert np.allclose(slope[:3], -1.8 * np.eye(3))
    assert np.allclose(slope[3:6], 1.8 * np.eye(3))
    assert not slope[6].any()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": np.array([0.1, np.nan])}, ValueError, r"x\[1\] is nan"),
        ({"x": np.array([0.1, 0.2], np.float16)}, TypeError, "but are float16"),
        ({"x": np.float64(0.5)}, ValueError, "single number"),
        ({"t_min": 2.0}, ValueError, "t_min < t_max"),
        ({"t_max": np.inf}, ValueError, "finite times"),
        ({"low": np.array([0.0, 1.0])}, ValueError, "feature 1 has low=1.0 and high=1.0"),
        ({"bias_time": -0.1}, ValueError, "bias_time=-0.1"),
        ({"bias": "first"}, ValueError, "'first' is unknown"),
    ],
)
def test_what_cannot_be_encoded_is_refused_with_the_reason(unchecked_types, changes, error, message):
    arguments = {"x": np.array([0.1, 0.2]), "t_min": 0.0, "t_max": 1.0, **changes}
    with pytest.raises(error, match=message):
        encode_latency(**arguments)
