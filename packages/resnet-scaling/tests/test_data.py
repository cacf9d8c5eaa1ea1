"""Data sets, depth grids, and the orders of minibatches."""

import gzip
import io
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.core.data import DataError, all_datasets
from offprint.resnet_scaling import data
from offprint.resnet_scaling._depth_run import _permutations


def test_synthetic_rows_have_norm_one_and_belong_together():
    made = data.synthetic_ode(jax.random.key(0), 30, 10, 4, dtype=np.float64)
    assert [array.shape for array in made] == [(30, 4), (30, 4), (10, 4), (10, 4)]
    for array in made:
        np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1, rtol=1e-12)
    x = np.array([[0.3, -0.5]])
    z = x
    for t in range(100):
        u = 5 * np.pi * t / 100
        z = z + 0.1 * np.tanh(np.sin(u) * z + np.cos(u))
    np.testing.assert_allclose(data.simulate_process(jnp.asarray(x)), z, rtol=1e-12)


def test_noise_is_added_to_the_targets_alone():
    quiet, noisy = (data.synthetic_ode(jax.random.key(0), 500, 1, 3, noise=noise) for noise in (0, 10))
    np.testing.assert_array_equal(quiet.x_train, noisy.x_train)
    assert abs(np.mean(np.sum(quiet.y_train * noisy.y_train, axis=1))) < 0.3  # mostly noise


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((3, 10, 1.26), (3, 4, 5, 6, 8, 10)),
        ((8, 64, 2 ** (1 / 3)), (8, 10, 12, 16, 20, 25, 32, 40, 50, 64)),
        ((1, 8, 2), (1, 2, 4, 8)),
        ((1, 3, 1.2), (1, 2, 3)),
        ((7, 7, 3), ()),
    ],
)
def test_depth_grids(bounds, expected):
    assert data.depth_grid(*bounds) == expected


def test_depth_grids_of_the_paper():
    assert data.depth_grid(3, 10321, 1.25992105)[-1] == data.depth_grid(3, 11000)[-1] == 10321
    grid = data.depth_grid(3, 9100, 1.2)
    assert grid[-1] == 9100
    assert 6319 in grid


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 50), st.integers(0, 3000), st.floats(1.05, 4))
def test_depth_grid_is_increasing_and_within_bounds(least, more, base):
    grid = data.depth_grid(least, least + more, base)
    assert list(grid) == sorted(set(grid))
    assert all(least <= depth <= least + more for depth in grid)
    for depth in grid:  # a power that is a whole number but for its rounding counts as that number
        assert any(depth * (1 - 1e-9) <= base**n < depth + 1 for n in range(200))


class TestOfficialShuffle:
    def test_distinct_batches_decrease_to_one(self):
        rng, order, counts = np.random.RandomState(0), np.arange(20), [20]
        while counts[-1] > 1:
            order = data.official_shuffle(order, rng)
            counts.append(len(set(order.tolist())))
            assert len(counts) < 100
        assert counts == sorted(counts, reverse=True)
        assert counts[1] <= 15
        np.testing.assert_array_equal(data.official_shuffle(order, rng), order)

    def test_it_is_the_shuffle_of_views(self):
        """What the official code leaves of a tensor: item i becomes item j for the swaps that NumPy draws."""
        order = np.arange(12)
        expected, rng = order.copy(), np.random.RandomState(5)
        for i in reversed(range(1, 12)):
            expected[i] = expected[rng.randint(0, i + 1)]
        np.testing.assert_array_equal(data.official_shuffle(order, np.random.RandomState(5)), expected)
        np.testing.assert_array_equal(order, np.arange(12))

    @settings(deadline=None, max_examples=20)
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 99))
    def test_nothing_new_appears_and_the_first_place_is_kept(self, order, seed):
        after = data.official_shuffle(np.array(order), np.random.RandomState(seed))
        assert set(after.tolist()) <= set(order)
        assert after[0] == order[0]


def test_default_order_is_a_permutation_of_all_samples():
    keys = jax.random.split(jax.random.key(0), 2)
    first, second = _permutations(keys, 0, 9), _permutations(keys, 1, 9)
    for rows in (*first, *second):
        assert sorted(rows.tolist()) == list(range(9))
    assert first[0].tolist() != first[1].tolist()
    assert first[0].tolist() != second[0].tolist()


@pytest.fixture(scope="module")
def mnist_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 28, 28), dtype=np.uint8)
    digits = np.arange(12, dtype=np.uint8) % 10
    path = tmp_path_factory.mktemp("mnist") / "mnist.npz"
    np.savez(path, x_train=images, y_train=digits, x_test=images[:5], y_test=digits[:5])
    return path


def test_mnist25(mnist_file):
    made = data.mnist25(jax.random.key(0), 12, 4, path=mnist_file)
    assert [array.shape for array in made] == [(12, 25), (12, 25), (4, 25), (4, 25)]
    np.testing.assert_allclose(np.linalg.norm(made.x_train, axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(made.y_train, np.eye(25)[np.arange(12) % 10])
    np.testing.assert_allclose(made.x_test, made.x_train[:4], rtol=1e-12)


def test_mnist_features_are_two_convolutions():
    image = np.random.default_rng(1).integers(0, 256, (1, 28, 28), dtype=np.uint8)
    black, key = np.zeros_like(image), jax.random.key(3)
    # The features are affine in the image before they are normalised; the kernels are drawn from the same key.
    keys = jax.random.split(key, 4)
    h = image[0].astype(float)
    for i, size in enumerate((5, 3)):
        kernel = jax.random.uniform(keys[2 * i], (size, size), minval=-1, maxval=1) / size
        bias = jax.random.uniform(keys[2 * i + 1], (), minval=-1, maxval=1) / size
        out = (len(h) - size) // 2 + 1
        h = np.array(
            [
                [np.sum(h[2 * r : 2 * r + size, 2 * c : 2 * c + size] * kernel) + bias for c in range(out)]
                for r in range(out)
            ]
        )
    np.testing.assert_allclose(data.mnist_features(key, image)[0], h.ravel() / np.linalg.norm(h), rtol=1e-9)
    features = data.mnist_features(key, black)
    np.testing.assert_allclose(np.abs(features), 0.2, rtol=1e-12)  # a constant image has 25 equal features


def record(label, image):
    return bytes([label]) + image.transpose(2, 0, 1).tobytes()


def test_cifar10_is_read_from_the_binary_release_and_from_a_subset(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    labels = np.array([3, 1, 4, 1, 5, 9])
    files = {f"data_batch_{k}.bin": (k - 1,) if k < 5 else () for k in range(1, 6)} | {"test_batch.bin": (4, 5)}
    release = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(release, "w:gz") as tar:
        for name, members in files.items():
            content = b"".join(record(int(labels[i]), images[i]) for i in members)
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    subset = tmp_path / "subset.npz"
    np.savez(subset, train_images=images[:4], train_labels=labels[:4], test_images=images[4:], test_labels=labels[4:])
    for path in (release, subset):
        made = data.cifar10(path)
        np.testing.assert_array_equal(made.x_train, images[:4])
        np.testing.assert_array_equal(made.y_train, labels[:4])
        np.testing.assert_array_equal(made.x_test, images[4:])
        np.testing.assert_array_equal(made.y_test, labels[4:])
    with gzip.open(tmp_path / "other.tar.gz", "wb") as file:
        file.write(b"no tar")
    with pytest.raises(DataError, match="cannot be read as a gzipped tar"):
        data.cifar10(tmp_path / "other.tar.gz")


def test_augmentation_is_a_crop_and_a_flip():
    images = jnp.asarray(np.random.default_rng(0).integers(1, 256, (20, 32, 32, 3), dtype=np.uint8))
    changed = jax.jit(data.augment)(jax.random.key(0), images)
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    flips = 0
    for before, after in zip(padded, np.asarray(changed)):
        crops = [before[r : r + 32, c : c + 32] for r in range(9) for c in range(9)]
        plain, mirrored = (any(np.array_equal(crop, image) for crop in crops) for image in (after, after[:, ::-1]))
        assert plain or mirrored
        flips += mirrored
    assert 0 < flips < 20


def test_images_are_normalised_for_each_colour():
    image = np.broadcast_to(np.array([0, 255, 128], np.uint8), (1, 32, 32, 3))
    normal = data.normalise_images(image)
    expected = (np.array([0, 1, 128 / 255]) - data.CIFAR_MEAN) / np.array(data.CIFAR_SD)
    np.testing.assert_allclose(normal[0, 5, 6], expected, rtol=1e-12)


def test_data_sets_are_advertised():
    assert [dataset.name for dataset in all_datasets()["resnet-scaling"]] == ["mnist", "cifar10"]
