"""Placement of access points and stations."""

import jax
import numpy as np
import pytest

from offprint.federated_mlo._deployment import apartment_walls, apartments, grid, line, random_deployment


@pytest.mark.parametrize("place", [random_deployment, grid, line])
def test_stations_are_within_their_range(place):
    ap, sta = place(jax.random.key(0), 50, 30.0, 2.0, 6.0)
    distance = np.linalg.norm(ap - sta, axis=-1)
    assert distance.min() >= 2
    assert distance.max() <= 6
    assert abs(distance.mean() - 4) < 0.6  # the radius is uniform: standard error 0.16
    angles = np.arctan2(*(sta - ap).T)
    assert angles.min() < -2
    assert angles.max() > 2


def test_random_places_fill_the_square():
    ap, _ = random_deployment(jax.random.key(1), 400, 60.0)
    assert ap.min() >= 0
    assert ap.max() <= 60
    np.testing.assert_allclose(ap.mean(0), 30, atol=4)


def test_rows_and_grids():
    np.testing.assert_allclose(line(jax.random.key(0), 3, 15.0).ap, [[0, 0], [15, 0], [30, 0]])
    np.testing.assert_allclose(grid(jax.random.key(0), 5, 10.0).ap, [[0, 0], [10, 0], [20, 0], [0, 10], [10, 10]])


def test_apartments_hold_their_bss():
    ap, sta = apartments(jax.random.key(0), 6, 10.0)
    rooms = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])
    np.testing.assert_array_equal(np.floor(ap / 10), rooms)
    np.testing.assert_array_equal(np.floor(sta / 10), rooms)
    walls = apartment_walls(ap[:, None], ap)
    assert walls[0, 5] == 3
    assert walls[1, 1] == 0
    np.testing.assert_array_equal(apartment_walls(ap, sta), 0)


def test_same_key_same_places_and_vmap():
    keys = jax.random.split(jax.random.key(2), 3)
    many = jax.vmap(lambda key: random_deployment(key, 4))(keys)
    np.testing.assert_array_equal(many.ap[1], random_deployment(keys[1], 4).ap)
    assert not np.array_equal(many.ap[0], many.ap[1])


def test_refuses():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="num_bss=0"):
        random_deployment(key, 0)
    with pytest.raises(ValueError, match="a length of -1 m"):
        grid(key, 3, -1)
    with pytest.raises(ValueError, match=r"r_min=9 and r_max=8\.0"):
        random_deployment(key, 3, r_min=9)
