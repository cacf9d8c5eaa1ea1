"""The data sets are those published, and bad arrays are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.core.data import DataError
from offprint.forward_propagation.data import classification_data, iris, mnist, split, xor, yin_yang, yin_yang_data


@pytest.mark.parametrize("seed", [0, 7, 123])
def test_yin_yang_is_that_of_its_authors_to_the_last_bit(golden, seed):
    stored = golden("yin_yang_prefix")
    x, y = yin_yang(16, seed)
    assert np.array_equal(x, stored[f"x_seed{seed}"])
    assert np.array_equal(y, stored[f"y_seed{seed}"])


def test_the_published_yin_yang_sets_have_their_class_counts():
    data = yin_yang_data()
    assert np.bincount(data.train_y).tolist() == [1681, 1702, 1617]
    assert np.bincount(data.test_y).tolist() == [350, 316, 334]
    assert data.classes == 3
    assert data.train_x.shape == (5000, 4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), r_big=st.floats(0.3, 1.0))
def test_yin_yang_points_lie_in_the_figure_and_dots_in_a_dot(seed, r_big):
    r_small = 0.2 * r_big
    x, y = yin_yang(20, seed, r_small=r_small, r_big=r_big)
    assert np.all(np.hypot(x[:, 0] - r_big, x[:, 1] - r_big) <= r_big * (1 + 1e-12))
    assert np.array_equal(x[:, 2:], 1 - x[:, :2])
    nearest = np.minimum(*(np.hypot(x[:, 0] - c * r_big, x[:, 1] - r_big) for c in (0.5, 1.5)))
    assert np.array_equal(y == 2, nearest < r_small)


def test_xor_is_the_exclusive_or():
    x, y = xor()
    assert np.array_equal(y, x.sum(1) % 2)


def test_iris_has_fifty_flowers_of_each_species_and_the_known_ranges():
    x, y = iris()
    assert np.bincount(y).tolist() == [50, 50, 50]
    assert x.min(0).tolist() == [4.3, 2.0, 1.0, 0.1]
    assert x.max(0).tolist() == [7.9, 4.4, 6.9, 2.5]


def test_a_split_keeps_every_example_once_and_knows_its_ranges():
    x, y = iris()
    data = split(x, y, 30, seed=3, name="iris")
    assert len(data.train_y) == 120
    assert len(data.test_y) == 30
    assert data.classes == 3
    both = np.concatenate([data.train_x, data.test_x])
    assert np.array_equal(both[np.lexsort(both.T)], x[np.lexsort(x.T)])
    assert np.array_equal(data.low, x.min(0))
    assert np.array_equal(data.high, x.max(0))


def test_mnist_is_read_from_an_archive_as_rows_of_intensities(tmp_path):
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=images, y_train=np.array([3, 9]), x_test=images[:1], y_test=np.array([0]))
    data = mnist(path)
    assert data.train_x.shape == (2, 784)
    assert data.train_x.dtype == np.float32
    assert np.array_equal(data.train_x[0], images[0].ravel() / np.float32(255))
    assert data.classes == 10


def test_an_archive_without_an_array_is_refused(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=np.zeros((1, 28, 28)))
    with pytest.raises(DataError, match="no array y_train, x_test, y_test"):
        mnist(tmp_path / "mnist.npz")


GOOD = (np.zeros((2, 3)), np.array([0, 1]))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((np.zeros((2, 3)), np.array([0, 1, 1])), r"got \(2, 3\) and \(3,\)"),
        ((np.zeros((2, 3)), np.array([0.0, 1.0])), "labels must be integers"),
        ((np.array([[0, 0, 0], [0, np.nan, 0]]), np.array([0, 1])), "row 1 of the training set is not finite"),
        ((np.zeros((2, 2)), np.array([0, 1])), "2 features for training but 3 for the test"),
        ((np.zeros((2, 3)), np.array([0, -1])), "labels from 0 to 1 are needed, got -1"),
    ],
)
def test_arrays_that_are_no_classification_data_are_refused(unchecked_types, train, message):
    with pytest.raises(DataError, match=message):
        classification_data("own", train, GOOD)


def test_impossible_numbers_of_examples_are_refused():
    with pytest.raises(ValueError, match="at least one point"):
        yin_yang(0, 1)
    with pytest.raises(ValueError, match="r_small"):
        yin_yang(1, 1, r_small=0.3)
    with pytest.raises(ValueError, match="150 of 150"):
        split(*iris(), 150, seed=0)
    with pytest.raises(ValueError, match="3 training examples of own; there are 2"):
        classification_data("own", GOOD, GOOD).first(3)
