"""What is drawn has the properties that it is drawn for; files are read or refused; rotations; clients."""

import jax
import numpy as np
import pytest

from offprint.network_partitioning import data


def test_toy():
    x, y = data.toy(jax.random.key(0), 4000)
    assert (x.shape, y.shape, y.dtype) == ((4000, 30), (4000,), np.int32)
    assert abs(float(y.mean()) - 0.5) < 0.04
    gap = np.asarray(x[y == 1].mean(0) - x[y == 0].mean(0))
    np.testing.assert_allclose(gap, np.repeat([1.0, 0.0], 15), atol=0.12)
    assert abs(float((x - (np.arange(30) < 15) * y[:, None]).std()) - 1) < 0.01
    few, _ = data.toy(jax.random.key(0), 50, informative=2, features=4, noise=0.1)
    assert few.shape == (50, 4)
    assert float(np.abs(few[:, 2:]).max()) < 0.5


def test_rings():
    x, y = map(np.asarray, data.rings(jax.random.key(1), 6000, noise=0.0))
    radius = np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(radius[y == 0], 0.5, atol=1e-6)
    ones = np.rint(radius[y == 1])
    np.testing.assert_allclose(radius[y == 1], ones, atol=1e-6)
    assert abs(ones.mean() - 2 / 3) < 0.03
    assert np.abs(x.mean(0)).max() < 0.03
    noisy, _ = data.rings(jax.random.key(1), 6000)
    assert abs(float((noisy - x).std()) - 0.12) < 0.003


def test_quadrants():
    x, y = map(np.asarray, data.quadrants(jax.random.key(2), 3000, noise=0.0))
    radius = np.linalg.norm(x, axis=1)
    assert 0.3 <= radius.min() < 0.31
    assert 0.99 < radius.max() <= 1
    np.testing.assert_array_equal(y, x[:, 0] * x[:, 1] < 0)
    turned = x @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(turned[:, 0] * turned[:, 1] < 0, y == 0)


def test_generators_under_vmap():
    keys = jax.random.split(jax.random.key(3), 2)
    for draw in (data.toy, data.rings, data.quadrants):
        x, y = jax.vmap(lambda key, draw=draw: draw(key, 7))(keys)
        alone, label = draw(keys[1], 7)
        np.testing.assert_allclose(x[1], alone, rtol=1e-12)
        np.testing.assert_array_equal(y[1], label)
        with pytest.raises(ValueError, match="examples must be at least 1, but is 0"):
            draw(keys[0], 0)
    with pytest.raises(ValueError, match="informative=5 must lie between 0 and features=4"):
        data.toy(keys[0], 3, informative=5, features=4)


def images(count=6, size=8):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, size, size, 1), np.uint8)


def test_a_quarter_turn_is_exact(monkeypatch):
    from offprint.network_partitioning.data import _rotated

    monkeypatch.setattr(_rotated.jax.random, "uniform", lambda key, shape, *rest: np.full(shape, 0.5, np.float32))
    turned = data.rotated(images(), jax.random.key(0))
    quarter = np.rot90(images(), 1, (1, 2))
    other = np.rot90(images(), -1, (1, 2))
    error = min(np.abs(turned - quarter).max(), np.abs(turned - other).max())
    assert error < 0.05  # of 255 grey levels, in float32


def test_rotated():
    pixels = images(7)
    turned = data.rotated(pixels, jax.random.key(0))
    assert (turned.shape, turned.dtype) == (pixels.shape, np.float32)
    assert pixels.min() <= turned.min() <= turned.max() <= pixels.max()
    np.testing.assert_array_equal(turned, data.rotated(pixels, jax.random.key(0)))
    assert np.abs(turned - data.rotated(pixels, jax.random.key(1))).max() > 1
    np.testing.assert_allclose(data.rotated(pixels, jax.random.key(0), max_angle=0), pixels, atol=0.02)
    same = data.rotated(np.repeat(pixels[:1], 4, 0), jax.random.key(0), groups=np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(same[0], same[1], atol=1e-4)
    assert np.abs(same[1] - same[2]).max() > 1
    with pytest.raises(ValueError, match=r"groups must have one number for each of 7 images, but has shape \(3,\)"):
        data.rotated(pixels, jax.random.key(0), groups=np.zeros(3, int))


def test_many_images_are_rotated_in_parts(monkeypatch):
    from offprint.network_partitioning.data import _rotated

    whole = data.rotated(images(7), jax.random.key(0))
    monkeypatch.setattr(_rotated, "_AT_ONCE", 3)
    np.testing.assert_allclose(data.rotated(images(7), jax.random.key(0)), whole, atol=1e-4)


@pytest.fixture
def archive(tmp_path):
    labels = np.arange(6, dtype=np.uint8)
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=images()[..., 0], y_train=labels, x_test=images(4)[..., 0], y_test=labels[:4])
    return path


def test_mnist_and_its_variants(archive):
    whole = data.mnist(archive)
    assert (whole.name, whole.classes, whole.train_images.shape, whole.test_images.shape) == (
        "mnist",
        10,
        (6, 8, 8, 1),
        (4, 8, 8, 1),
    )
    assert whole.train_labels.dtype == np.int32
    few = whole.first(3, 2)
    assert (len(few.train_labels), len(few.test_images)) == (3, 2)
    with pytest.raises(ValueError, match="7 training images of mnist; there are 6"):
        whole.first(7)
    half = whole.halved()
    assert half.train_images.shape == (6, 4, 4, 1)
    assert half.test_images[0, 0, 0, 0] == whole.test_images[0, :2, :2].mean()
    turned = data.rotated_set(half, jax.random.key(0))
    assert turned.name == "rot-mnist"
    # The first four test images are the first four training images, but turned by other angles.
    assert np.abs(turned.train_images[:4] - turned.test_images).max() > 1


def test_clients_share_out_everything():
    labels = np.arange(600) % 5
    rows = data.dirichlet_clients(labels, 30, key=jax.random.key(0))
    assert rows.shape == (30, 20)
    assert sorted(rows.ravel().tolist()) == list(range(600))
    counts = np.stack([np.bincount(labels[row], minlength=5) for row in rows])
    even = np.stack(
        [
            np.bincount(labels[row], minlength=5)
            for row in data.dirichlet_clients(labels, 30, key=jax.random.key(0), alpha=1e4)
        ]
    )
    assert counts.std(1).mean() > 1.5 * even.std(1).mean()
    np.testing.assert_array_equal(rows, data.dirichlet_clients(labels, 30, key=jax.random.key(0)))


def test_clients_that_cannot_be_made():
    with pytest.raises(ValueError, match="3 examples cannot be dealt to 4 clients"):
        data.dirichlet_clients(np.arange(3), 4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="alpha must be positive, but is 0"):
        data.dirichlet_clients(np.arange(3), 1, key=jax.random.key(0), alpha=0)


def test_data_sets_are_described():
    assert [one.name for one in data.DATASETS] == ["cifar10", "mnist"]
    assert all(one.licence and one.citation for one in data.DATASETS)
