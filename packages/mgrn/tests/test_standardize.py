"""Standard scores: of rows, of sequences with padding, with constant and with missing values."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offprint.mgrn.data import Standardizer, standardize

RNG = np.random.default_rng(0)


@settings(deadline=None, max_examples=20)
@given(
    hnp.arrays(np.float64, (7, 3), elements=st.floats(-100, 100)),
    st.floats(-10, 10),
    st.floats(0.1, 10),
)
def test_shift_and_scale_change_nothing(x, shift, scale):
    x = x + np.arange(21.0).reshape(7, 3) * 1e3  # no constant column
    np.testing.assert_allclose(standardize(shift + scale * x), standardize(x), atol=1e-9)


def test_by_hand():
    # mean 2, population variance 2/3
    np.testing.assert_allclose(standardize(np.array([[1.0], [2.0], [3.0]])), [[-(1.5**0.5)], [0.0], [1.5**0.5]])


def test_only_the_training_rows_count():
    x = RNG.normal(3, 2, (50, 4))
    z = standardize(x, train=slice(0, 30))
    np.testing.assert_allclose(z[:30].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z[:30].std(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(z[30:], (x[30:] - x[:30].mean(axis=0)) / x[:30].std(axis=0))


def test_padding_does_not_count_and_stays_zero():
    x, lengths = RNG.normal(5, 2, (6, 9, 2)), np.array([9, 3, 1, 5, 8, 2])
    valid = np.arange(9) < lengths[:, None]
    x[~valid] = np.nan
    fitted = Standardizer.fit(x, lengths)
    np.testing.assert_allclose(fitted.mean, x[valid].mean(axis=0))
    np.testing.assert_allclose(fitted.std, x[valid].std(axis=0))
    z = fitted.transform(x, lengths)
    assert (z[~valid] == 0).all()
    np.testing.assert_allclose(fitted.inverse(z)[valid], x[valid])
    np.testing.assert_allclose(standardize(x, lengths=lengths), z)


def test_constant_features_become_zero_with_a_warning():
    x = RNG.normal(size=(20, 3))
    x[:, 1] = 0.1
    with pytest.warns(UserWarning, match=r"^1 constant feature \(column 1\): standardised with a deviation of 1"):
        z = standardize(x)
    assert abs(z[:, 1]).max() < 1e-15
    np.testing.assert_allclose(z[:, [0, 2]].std(axis=0), 1)
    with pytest.warns(UserWarning, match=r"^10 constant features \(column 0, 1, 2, 3, 4, 5, 6, 7, …\)"):
        standardize(np.ones((3, 10)))


def test_missing_values_as_zero():
    x = RNG.normal(size=(10, 2))
    x[3, 1], x[4, 0] = np.nan, np.inf
    filled = np.nan_to_num(x, nan=0.0, posinf=0.0)
    np.testing.assert_allclose(standardize(x, nan_policy="zero"), standardize(filled))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types(dtype):
    x = RNG.normal(size=(10, 2)).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert standardize(x).dtype == dtype
        assert standardize(jnp.asarray(x)).dtype == dtype
        assert standardize((100 * x).astype(np.int16)).dtype == jnp.result_type(float)


def test_large_offsets_are_no_constants():
    """float32 values with a mean far above their spread keep their spread."""
    x = (1e4 + RNG.normal(size=(1000, 1))).astype(np.float32)
    np.testing.assert_allclose(standardize(x).std(), 1, rtol=1e-3)
