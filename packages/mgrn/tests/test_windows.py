"""Windows, the order of columns, and the split of the study."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.mgrn import data


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 30), st.integers(1, 6), st.booleans())
def test_every_window_stands_before_its_target(steps, window, drop):
    series = np.arange(3.0 * steps).reshape(steps, 3)
    target = 1000 + np.arange(float(steps))
    if steps - window - drop < 1:
        with pytest.raises(ValueError, match="need at least"):
            data.windows(series, target, window, drop_last_window=drop)
        return
    made = data.windows(series, target, window, drop_last_window=drop)
    assert made.x.shape == (steps - window - drop, window, 3)
    for i, (x, y) in enumerate(zip(made.x, made.y, strict=True)):
        np.testing.assert_array_equal(x, series[i : i + window])
        assert y == target[i + window]


def test_jax_arrays():
    series, target = np.arange(12.0).reshape(6, 2), np.arange(6.0)
    ours, numpys = data.windows(jnp.asarray(series), jnp.asarray(target), 2), data.windows(series, target, 2)
    assert isinstance(ours.x, jnp.ndarray)
    np.testing.assert_array_equal(ours.x, numpys.x)
    np.testing.assert_array_equal(ours.y, numpys.y)


def test_the_study():
    """99994 windows of 100000 rows; the split takes every one of them, in the order of time."""
    series, target = np.zeros((100_000, 1), np.float32), np.arange(100_000.0)
    made = data.windows(series, target, 5, drop_last_window=True)
    split = data.published_split()
    sizes = [len(made.y[part]) for part in split]
    assert sizes == [70_000, 15_000, 14_994]
    assert sum(sizes) == len(made.y) == 99_994
    assert made.y[split.test][-1] == 99_998
    assert len(data.windows(series, target, 5).y) == 99_995


def test_column_orders():
    """The published order loses y2 and has v1 twice; the corrected one is a permutation with each series together."""
    names = np.array(data.COLUMNS)[None]
    series1 = ["y1", "v1", "alpha1", "beta1", "uM1", "vM1", "gamma1", "u1"]
    series2 = ["alpha2", "beta2", "uM2", "vM2", "gamma2", "u2", "v2"]
    assert [str(name) for name in names[0, list(data.COLUMN_ORDERS["corrected"])]] == [*series1, "y2", *series2]
    assert [str(name) for name in names[0, list(data.COLUMN_ORDERS["published"])]] == [*series1, "v1", *series2]
    row = np.arange(16.0)[None]
    np.testing.assert_array_equal(np.sort(data.order_columns(row)), row)
    published = data.order_columns(row, "published")
    assert 1 not in published
    assert (published == 8).sum() == 2
    np.testing.assert_array_equal(data.order_columns(jnp.asarray(row), "published"), published)


def test_published_order_is_what_an_aliased_swap_makes():
    """Assigning two views of one array to each other overwrites the first before it is read."""
    rows = np.random.default_rng(0).normal(size=(4, 16))
    swapped = rows.copy()
    swapped[:, 1], swapped[:, 8] = swapped[:, 8], swapped[:, 1]
    np.testing.assert_array_equal(data.order_columns(rows, "published"), swapped)


def test_chronological_split():
    split = data.chronological_split(1000)
    assert split == (slice(0, 700), slice(700, 850), slice(850, 1000))
    assert data.chronological_split(10, 0.5, 0.2).validation == slice(5, 7)


def test_missing_values():
    series, target = np.ones((8, 2)), np.ones(8)
    series[3, 1] = np.nan
    made = data.windows(series, target, 3, nan_policy="zero")
    assert made.x[1, 2, 1] == 0
    assert np.isfinite(made.x).all()
