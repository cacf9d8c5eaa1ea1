"""Image data sets: read from archives made here, refused with the reason, cut, halved and normalised."""

import io
import tarfile

import numpy as np
import pytest

from offprint.core.data import DataError
from offprint.core.data import images as data


def tar_of(folder, files):
    path = folder / "images.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"some-folder/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def record(labels, red, green, blue):
    return bytes([*labels, *[red] * 1024, *[green] * 1024, *[blue] * 1024])


def test_cifar10_from_the_tar_without_extracting_it(tmp_path):
    files = {f"data_batch_{i}.bin": record([i], 10 * i, 1, 2) + record([0], 3, 4, 5) for i in range(1, 6)}
    path = tar_of(tmp_path, {**files, "test_batch.bin": record([9], 7, 8, 9), "readme.html": b"text"})
    images = data.cifar10(path)
    assert images.train_images.shape == (10, 32, 32, 3)
    assert images.train_labels.tolist() == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    np.testing.assert_array_equal(images.train_images[2], np.full((32, 32, 3), [20, 1, 2]))
    assert images.test_labels.tolist() == [9]
    assert images.classes == 10
    assert sorted(file.name for file in tmp_path.iterdir()) == ["images.tar.gz"]


def test_rows_of_a_plane_are_rows_of_the_image(tmp_path):
    plane = np.arange(1024) % 251
    content = bytes([3, *plane.tolist(), *[0] * 2048])
    files = {f"data_batch_{i}.bin": content for i in range(1, 6)}
    images = data.cifar10(tar_of(tmp_path, {**files, "test_batch.bin": content}))
    np.testing.assert_array_equal(images.test_images[0, :, :, 0], plane.reshape(32, 32))


def test_cifar100_takes_the_fine_label(tmp_path):
    path = tar_of(tmp_path, {"train.bin": record([19, 99], 1, 2, 3), "test.bin": record([0, 42], 1, 2, 3)})
    images = data.cifar100(path)
    assert (images.train_labels.tolist(), images.test_labels.tolist(), images.classes) == ([99], [42], 100)


def test_wrong_tars(tmp_path):
    with pytest.raises(DataError, match=r"holds no test_batch.bin; the binary version of cifar10 is needed"):
        data.cifar10(tar_of(tmp_path, {f"data_batch_{i}.bin": b"" for i in range(1, 6)}))
    with pytest.raises(DataError, match="do not consist of records of 3074 bytes"):
        data.cifar100(tar_of(tmp_path, {"train.bin": b"123", "test.bin": b""}))
    (tmp_path / "no.tar.gz").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="cannot be read as a gzipped tar"):
        data.cifar10(tmp_path / "no.tar.gz")


def archive(path, count=12, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (count, 8, 8, 3), np.uint8),
        "train_labels": np.arange(count, dtype=np.uint8) % 4,
        "test_images": rng.integers(0, 256, (4, 8, 8, 3), np.uint8),
        "test_labels": np.arange(4, dtype=np.uint8)[:, None],
    }
    np.savez(path, **{**arrays, **changes})
    return path


def test_means_of_2x2_squares():
    x = np.arange(2 * 4 * 6 * 1).reshape(2, 4, 6, 1)
    half = data.halve(x)
    assert half.shape == (2, 2, 3, 1)
    assert half[0, 0, 0, 0] == np.mean([0, 1, 6, 7])
    with pytest.raises(ValueError, match=r"images of 3x4 cannot be averaged"):
        data.halve(np.zeros((1, 3, 4, 1)))


def test_subset_where_cifar_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="`offprint data fetch cifar10` downloads it"):
        data.cifar10_subset()
    (tmp_path / "cifar10-subset").mkdir()
    archive(tmp_path / "cifar10-subset" / "cifar10_subset.npz")
    assert data.cifar10_subset().name == "cifar10-subset"


def test_mnist_gets_a_channel_axis_and_what_is_missing_is_named(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(0, 256, (3, 28, 28), np.uint8), "y_train": np.arange(3, dtype=np.uint8)}
    np.savez(tmp_path / "some.npz", **arrays)
    with pytest.raises(DataError, match="has no array x_test, y_test; it has x_train, y_train"):
        data.mnist(tmp_path / "some.npz")
    np.savez(tmp_path / "mnist.npz", **arrays, x_test=arrays["x_train"][:1], y_test=np.array([7]))
    found = data.mnist(tmp_path / "mnist.npz")
    assert (found.train_images.shape, found.test_labels.tolist(), found.classes) == ((3, 28, 28, 1), [7], 10)
    mean, std = found.channel_statistics()
    scaled = found.normalised(255 * float(mean[0]), 255 * float(std[0])).train_images
    assert scaled.dtype == np.float32
    np.testing.assert_allclose([scaled.mean(), scaled.std()], [0, 1], atol=1e-5)


def test_data_sets_are_described():
    assert all(one.licence and one.citation for one in (data.MNIST, data.CIFAR10, data.CIFAR100))
