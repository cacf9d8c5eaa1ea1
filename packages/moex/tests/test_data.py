"""Loaders on files made here, the generated clouds, the checked data sets."""

import jax
import numpy as np
import pytest

from offprint.core.data import DataError
from offprint.moex import data


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


def test_own_images(tmp_path):
    images = data.load_images(archive(tmp_path / "mine.npz"))
    assert (images.name, images.classes, images.test_labels.shape) == ("mine", 4, (4,))
    mean, std = images.channel_statistics()
    np.testing.assert_allclose(mean, images.train_images.mean((0, 1, 2)) / 255, rtol=1e-5)
    np.testing.assert_allclose(std, images.train_images.std((0, 1, 2)) / 255, rtol=1e-5)
    grey = archive(tmp_path / "grey.npz", train_images=np.zeros((12, 8, 8)), test_images=np.zeros((4, 8, 8)))
    assert data.load_images(grey).train_images.shape == (12, 8, 8, 1)
    few = images.first(6, 2)
    assert (len(few.train_labels), len(few.test_labels)) == (6, 2)
    with pytest.raises(ValueError, match="13 training images of mine; there are 12"):
        images.first(13)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": np.arange(3)}, r"images \(N, H, W, C\) or \(N, H, W\) and labels \(N,\) are needed"),
        ({"train_labels": np.zeros(12)}, "labels must be integers, got float64"),
        ({"train_labels": np.full(12, -1)}, "labels from 0 to"),
        ({"test_images": np.zeros((4, 9, 8, 3))}, "differ"),
    ],
)
def test_wrong_images(changes, message, tmp_path):
    with pytest.raises(DataError, match=message):
        data.load_images(archive(tmp_path / "bad.npz", **changes))


def test_arrays_that_are_missing(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(DataError, match=r"has x; train_images, train_labels, test_images, test_labels are needed"):
        data.load_images(tmp_path / "other.npz")
    with pytest.raises(DataError, match="has no array train_images"):
        data.cifar10_subset(tmp_path / "other.npz")


def test_digits():
    images = data.digits()
    assert (images.train_images.shape, images.test_images.shape) == ((1000, 8, 8, 1), (797, 8, 8, 1))
    assert images.train_images.max() == 255
    assert np.bincount(images.train_labels).min() > 80


def test_solids():
    clouds = data.solids(jax.random.key(0), 60, 12, 128, noise=0.0, stretch=0.0)
    assert clouds.train_points.shape == (60, 128, 3)
    assert np.bincount(clouds.train_labels).tolist() == [10] * 6
    radius = np.linalg.norm(clouds.train_points, axis=-1)
    np.testing.assert_allclose(radius.max(axis=1), 1, rtol=1e-5)
    sphere = clouds.train_labels == data.SOLIDS.index("sphere")
    assert radius[sphere].min() > 0.7  # centred at the mean of 128 points, not at the sphere's own centre
    assert radius[clouds.train_labels == data.SOLIDS.index("torus")].min() > 0.25
    same = data.solids(jax.random.key(0), 60, 12, 128, noise=0.0, stretch=0.0)
    np.testing.assert_array_equal(same.test_points, clouds.test_points)


CUBE = """OFF 8 6 0
0 0 0
1 0 0
1 1 0
0 1 0
0 0 1
1 0 1
1 1 1
0 1 1
4 0 3 2 1
4 4 5 6 7
4 0 1 5 4
4 1 2 6 5
4 2 3 7 6
4 3 0 4 7
"""


@pytest.fixture
def meshes(tmp_path):
    for name in ("box", "brick"):
        for part in ("train", "test"):
            (tmp_path / "ModelNet2" / name / part).mkdir(parents=True)
            (tmp_path / "ModelNet2" / name / part / f"{name}_1.off").write_text(CUBE.replace("OFF 8", "OFF\n8"))
    return tmp_path / "ModelNet2"


def test_modelnet_folder(meshes):
    clouds = data.modelnet(meshes, 50)
    assert clouds.classes == ("box", "brick")
    assert clouds.train_points.shape == clouds.test_points.shape == (2, 50, 3)
    assert clouds.train_labels.tolist() == [0, 1]
    np.testing.assert_allclose(np.linalg.norm(clouds.train_points, axis=-1).max(1), 1, rtol=1e-5)


def test_modelnet_archive(tmp_path):
    points = np.random.default_rng(0).normal(size=(3, 20, 3))
    np.savez(tmp_path / "m.npz", train_points=points, train_labels=[0, 1, 2], test_points=points, test_labels=[0, 1, 2])
    clouds = data.modelnet(tmp_path / "m.npz")
    assert clouds.classes == ("0", "1", "2")
    np.testing.assert_allclose(clouds.test_points.mean(1), 0, atol=1e-6)


def test_points_lie_on_the_surface(tmp_path):
    path = tmp_path / "cube.off"
    path.write_text(CUBE.replace("OFF 8", "OFF8"))  # as in some files of ModelNet
    vertices, triangles = data.read_off(path)
    assert triangles.shape == (12, 3)
    points = data.sample_surface(vertices, triangles, 3000, np.random.default_rng(0))
    assert np.abs(np.minimum(points, 1 - points).min(axis=1)).max() < 1e-12
    faces = np.concatenate([(points < 1e-12).mean(0), (points > 1 - 1e-12).mean(0)])
    np.testing.assert_allclose(faces, 1 / 6, atol=0.03)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PLY\n", "does not begin with OFF"),
        ("OFF\n3 1 0\n0 0 0\n", "is no complete OFF mesh"),
        ("OFF\n1 1 0\n0 0 0\n3 0 1 2\n", "names a vertex that is not there"),
    ],
)
def test_wrong_meshes(text, message, tmp_path):
    (tmp_path / "bad.off").write_text(text)
    with pytest.raises(DataError, match=message):
        data.read_off(tmp_path / "bad.off")


def test_wrong_folders(tmp_path):
    with pytest.raises(DataError, match="has no folders CLASS/train"):
        data.modelnet(tmp_path)
    with pytest.raises(FileNotFoundError):
        data.modelnet(tmp_path / "nowhere.npz")


def test_data_sets_are_described():
    assert [one.name for one in data.DATASETS] == ["cifar10", "cifar100", "mnist"]
    assert all(one.licence and one.citation for one in data.DATASETS)
