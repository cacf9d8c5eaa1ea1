"""Reader of .ts files and .npz archives, and the data sets that come with the package."""

from pathlib import Path

import numpy as np
import pytest

from offprint.mgrn import data

HEADER = """# a comment
@problemName Walks and Runs
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength false

@classLabel true walk run
@data
"""
TRAIN = HEADER + "1,2,3:4,5,6:run\n# another comment\n\n0.5,?:-1e3,2:walk\n"
TEST = HEADER + "7,8,9,10:1,1,1,1:walk\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "Walks_TRAIN.ts").write_text(TRAIN)
    (tmp_path / "Walks_TEST.ts").write_text(TEST)
    return tmp_path


def test_one_file(folder):
    part = data.read_ts(folder / "Walks_TRAIN.ts")
    assert part.name == "Walks and Runs"
    assert part.class_names == ("walk", "run")
    assert part.x.dtype == np.float32
    np.testing.assert_array_equal(part.lengths, [3, 2])
    np.testing.assert_array_equal(part.y, [1, 0])
    np.testing.assert_array_equal(part.x[0], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(part.x[1], [[0.5, -1000], [np.nan, 2], [0, 0]])


def test_both_parts(folder):
    """Named by the folder or by either file; padded to the longest sequence of both."""
    for path in (folder, folder / "Walks_TRAIN.ts", str(folder / "Walks_TEST.ts")):
        made = data.load_uea(path, nan_policy="zero")
        assert made.X_train.shape == (2, 4, 2)
        assert made.X_test.shape == (1, 4, 2)
        assert (made.steps, made.features, made.num_classes, made.equal_length) == (4, 2, 2, False)
        np.testing.assert_array_equal(made.X_train[1], [[0.5, -1000], [0, 2], [0, 0], [0, 0]])
        np.testing.assert_array_equal(made.lengths_test, [4])


def test_missing_values_are_refused_by_default(folder):
    with pytest.raises(ValueError, match=r"X_train has 1 NaN or infinite values, the first at index \(1, 1, 0\)"):
        data.load_uea(folder)


def test_targets_of_a_regression(tmp_path):
    text = "@univariate true\n@equalLength true\n@seriesLength 3\n@targetlabel true\n@data\n1,2,3:0.5\n4,5,6:-2\n"
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Flow_{part}.ts").write_text(text)
    made = data.load_uea(tmp_path)
    assert made.num_classes == 0
    assert made.X_train.shape == (2, 3, 1)
    np.testing.assert_array_equal(made.y_train, [0.5, -2])
    assert made.equal_length


def test_npz(tmp_path, folder):
    made = data.load_uea(folder, nan_policy="zero")
    np.savez(
        tmp_path / "walks.npz",
        X_train=made.X_train, y_train=made.y_train, length_train=made.lengths_train,
        X_test=made.X_test, y_test=made.y_test, length_test=made.lengths_test, class_names=np.array(made.class_names),
    )  # fmt: skip
    again = data.load_uea(tmp_path / "walks.npz")
    for name in ("X_train", "lengths_train", "y_train", "X_test", "lengths_test", "y_test", "class_names"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))


def test_npz_without_lengths_or_with_text_labels(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 5, 2))
    labels = np.array(["b", "a", "c", "a"])
    np.savez(tmp_path / "text.npz", X_train=x, y_train=labels, X_test=x[:2], y_test=labels[:2])
    made = data.load_uea(tmp_path / "text.npz")
    assert made.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(made.y_train, [1, 0, 2, 0])
    np.testing.assert_array_equal(made.y_test, [1, 0])
    np.testing.assert_array_equal(made.lengths_train, 5)
    np.savez(tmp_path / "numbers.npz", X_train=x, y_train=np.arange(4.0), X_test=x, y_test=np.arange(4.0))
    assert data.load_uea(tmp_path / "numbers.npz").num_classes == 0


def test_pendigits():
    made = data.pendigits()
    assert made.X_train.shape == (7494, 8, 2)
    assert made.X_test.shape == (3498, 8, 2)
    assert made.class_names == tuple("0123456789")
    assert made.equal_length
    fitted = data.Standardizer.fit(made.X_train)
    np.testing.assert_allclose(fitted.mean, [49.975113, 51.428795], atol=1e-5)
    np.testing.assert_allclose(fitted.std, [33.88189, 35.169395], atol=1e-5)
    z = made.standardized()
    np.testing.assert_allclose(z.X_train.astype(np.float64).std(axis=(0, 1)), 1, rtol=1e-5)
    assert np.bincount(made.y_train).min() == 719


def test_japanese_vowels():
    made = data.japanese_vowels()
    assert made.X_train.shape == (270, 29, 12)
    assert made.X_test.shape == (370, 29, 12)
    assert made.num_classes == 9
    lengths = np.concatenate([made.lengths_train, made.lengths_test])
    assert (lengths.min(), lengths.max()) == (7, 29)
    z = made.standardized()
    valid = np.arange(29) < made.lengths_train[:, None]
    assert (z.X_train[~valid] == 0).all()
    np.testing.assert_allclose(z.X_train[valid].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z.X_train[valid].std(axis=0), 1, rtol=1e-5)
    assert np.bincount(made.y_train).tolist() == [30] * 9
