"""Data sets that are drawn: which inputs matter, and which rotations a label survives, are known of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

Number = float | int
Points = tuple[Float[Array, "examples features"], Int32[Array, " examples"]]


def toy(key: PRNGKeyArray, examples: int, *, informative: int = 15, features: int = 30, noise: Number = 1.0) -> Points:
    """A coin toss y in {0, 1}, of which the first inputs know something and the others nothing.

    `x_j = y + e_j` for the `informative` first inputs and `x_j = e_j` for the others, `e_j ~ N(0, noise²)`.

    Args:
        key: of everything that is drawn; works under `vmap`.
        examples: how many.
        informative: inputs that depend on y.
        features: inputs in all.
        noise: standard deviation of e.

    Returns:
        Inputs x of shape (examples, features) and labels y.

    Raises:
        ValueError: more informative inputs than there are inputs, or no example.
    """
    _check_count(examples)
    if not 0 <= informative <= features:
        raise ValueError(f"informative={informative} must lie between 0 and features={features}")
    key_y, key_x = jax.random.split(key)
    y = jax.random.bernoulli(key_y, 0.5, (examples,)).astype(jnp.int32)
    signal = jnp.where(jnp.arange(features) < informative, y[:, None], 0)
    return signal + noise * jax.random.normal(key_x, (examples, features)), y


def rings(key: PRNGKeyArray, examples: int, *, noise: Number = 0.12) -> Points:
    """Points of the plane whose label survives every rotation.

    Class 0 has radius 0.5; class 1 has radius 0 (a third of it) or 1. The angle is uniform, and both coordinates get
    normal noise.

    Args:
        key: of everything that is drawn; works under `vmap`.
        examples: how many.
        noise: standard deviation of the noise.

    Returns:
        Points of shape (examples, 2) and labels.

    Raises:
        ValueError: no example.
    """
    _check_count(examples)
    key_y, key_outer, key_angle, key_noise = jax.random.split(key, 4)
    y = jax.random.bernoulli(key_y, 0.5, (examples,)).astype(jnp.int32)
    outer = jax.random.bernoulli(key_outer, 2 / 3, (examples,)).astype(float)
    radius = jnp.where(y == 1, outer, 0.5)
    return _at(radius, key_angle) + noise * jax.random.normal(key_noise, (examples, 2)), y


def quadrants(key: PRNGKeyArray, examples: int, *, noise: Number = 0.05) -> Points:
    """Points of the plane whose label a rotation by a right angle turns over.

    The label is the parity of the quadrant (0 where both coordinates have the same sign), the radius is uniform on
    [0.3, 1], the angle is uniform, and both coordinates get normal noise after the label is settled.

    Args:
        key: of everything that is drawn; works under `vmap`.
        examples: how many.
        noise: standard deviation of the noise.

    Returns:
        Points of shape (examples, 2) and labels.

    Raises:
        ValueError: no example.
    """
    _check_count(examples)
    key_radius, key_angle, key_noise = jax.random.split(key, 3)
    clean = _at(jax.random.uniform(key_radius, (examples,), minval=0.3, maxval=1.0), key_angle)
    y = (clean[:, 0] * clean[:, 1] < 0).astype(jnp.int32)
    return clean + noise * jax.random.normal(key_noise, (examples, 2)), y


def _at(radius: Float[Array, " examples"], key: PRNGKeyArray) -> Float[Array, "examples 2"]:
    angle = jax.random.uniform(key, radius.shape, maxval=2 * jnp.pi)
    return radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)


def _check_count(examples: int) -> None:
    if examples < 1:
        raise ValueError(f"examples must be at least 1, but is {examples}")
