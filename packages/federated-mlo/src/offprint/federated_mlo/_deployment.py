"""Deployments: where the access points and their stations stand."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Number = float | int


class Deployment(NamedTuple):
    """Positions in m, for `from_positions(*deployment)`."""

    ap: Float[Array, "bss 2"]
    sta: Float[Array, "bss 2"]


def random_deployment(
    key: PRNGKeyArray, num_bss: int, area_m: Number = 60.0, r_min: Number = 1.0, r_max: Number = 8.0
) -> Deployment:
    """APs uniform in a square of side `area_m`, each station at uniform angle and radius around its AP.

    Args:
        key: all of the randomness; works under `jax.vmap`.
        num_bss: number of BSSs.
        area_m: side of the square in m.
        r_min, r_max: range of the distance between a station and its AP in m. The radius is uniform, so that stations
            are denser close to the AP.

    Raises:
        ValueError: no BSS, an empty square, or not 0 <= r_min <= r_max.
    """
    _check(num_bss, area_m)
    _check_range(r_min, r_max)
    return _random(key, num_bss, area_m, r_min, r_max)


@functools.partial(jax.jit, static_argnames="num_bss")
def _random(key: PRNGKeyArray, num_bss: int, area_m: Any, r_min: Any, r_max: Any) -> Deployment:
    place, around = jax.random.split(key)
    ap = jax.random.uniform(place, (num_bss, 2), maxval=area_m)
    return Deployment(ap, _stations(around, ap, r_min, r_max))


def line(
    key: PRNGKeyArray, num_bss: int, spacing_m: Number = 20.0, r_min: Number = 1.0, r_max: Number = 8.0
) -> Deployment:
    """APs in a row, `spacing_m` apart; stations as in `random_deployment`."""
    _check(num_bss, spacing_m)
    _check_range(r_min, r_max)
    ap = jnp.asarray(np.arange(num_bss)[:, None] * np.array([spacing_m, 0.0]))
    return Deployment(ap, _stations(key, ap, r_min, r_max))


def grid(
    key: PRNGKeyArray, num_bss: int, spacing_m: Number = 20.0, r_min: Number = 1.0, r_max: Number = 8.0
) -> Deployment:
    """APs on a square grid of ceil(sqrt(B)) columns, `spacing_m` apart; stations as in `random_deployment`."""
    _check(num_bss, spacing_m)
    _check_range(r_min, r_max)
    ap = jnp.asarray(_cells(num_bss) * float(spacing_m))
    return Deployment(ap, _stations(key, ap, r_min, r_max))


def apartments(key: PRNGKeyArray, num_bss: int, room_m: Number = 10.0) -> Deployment:
    """One BSS per room of a floor of square rooms, AP and station uniform in it, `room_m` between its walls.

    Rooms fill rows of ceil(sqrt(B)). `Radio` has a wall every 10 m; `apartment_walls` counts those of this floor.

    Raises:
        ValueError: no BSS, or an empty room.
    """
    _check(num_bss, room_m)
    inside = jax.random.uniform(key, (2, num_bss, 2), maxval=room_m)
    ap, sta = jnp.asarray(_cells(num_bss) * float(room_m)) + inside
    return Deployment(ap, sta)


def apartment_walls(
    a: Float[Array | np.ndarray, "... 2"], b: Float[Array | np.ndarray, "... 2"], room_m: Number = 10.0
) -> Float[Array, "..."]:
    """Walls of square rooms between two places: rows plus columns of rooms that they are apart; arguments broadcast.

    `walls_ap=apartment_walls(ap[:, None], ap)` for `from_positions`; a station shares the room of its AP.
    """
    return jnp.sum(abs(jnp.floor(jnp.asarray(a) / room_m) - jnp.floor(jnp.asarray(b) / room_m)), axis=-1)


def _cells(num_bss: int) -> Float[np.ndarray, "bss 2"]:
    columns = int(np.ceil(np.sqrt(num_bss)))
    return np.stack([np.arange(num_bss) % columns, np.arange(num_bss) // columns], axis=-1).astype(float)


@jax.jit
def _stations(key: PRNGKeyArray, ap: Float[Array, "bss 2"], r_min: Any, r_max: Any) -> Float[Array, "bss 2"]:
    turn, reach = jax.random.split(key)
    angle = jax.random.uniform(turn, ap.shape[:1], maxval=2 * np.pi)
    radius = jax.random.uniform(reach, ap.shape[:1], minval=r_min, maxval=r_max)
    return ap + radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def _check_range(r_min: Number, r_max: Number) -> None:
    if not 0 <= r_min <= r_max:
        raise ValueError(f"r_min={r_min} and r_max={r_max}: 0 <= r_min <= r_max, in m, is needed")


def _check(num_bss: int, length_m: Number) -> None:
    if num_bss < 1:
        raise ValueError(f"num_bss={num_bss}; at least one BSS is needed")
    if not length_m > 0:
        raise ValueError(f"a length of {length_m} m; a positive one is needed")
