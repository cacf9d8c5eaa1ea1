"""Path loss (dB), shadowing and fading. Distances are clipped to at least 1 m, where the models begin."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.federated_mlo._checks import check_choice, is_concrete

Numbers = Array | np.ndarray | np.generic | float | int
"""A number or an array of numbers that broadcasts with the other arguments."""


def _tgax(d: Numbers, f_ghz: Numbers, breakpoint_m: float) -> Array:
    distance = jnp.maximum(jnp.asarray(d), 1.0)
    near = 20 * jnp.log10(jnp.asarray(f_ghz) / 2.4) + 20 * jnp.log10(jnp.minimum(distance, breakpoint_m))
    return 40.05 + near + 35 * jnp.log10(jnp.maximum(distance, breakpoint_m) / breakpoint_m)


def tgax_enterprise(d: Numbers, f_ghz: Numbers, walls: Numbers = 0, floors: Numbers = 0) -> Float[Array, "*batch"]:
    """Offices: 20 dB per decade up to 10 m, 35 beyond, 7 dB per wall; floors are not in the model.

    IEEE 802.11-14/0980, TGax simulation scenarios.
    """
    return _tgax(d, f_ghz, 10.0) + 7 * jnp.asarray(walls)


def tgax_residential(d: Numbers, f_ghz: Numbers, walls: Numbers = 0, floors: Numbers = 0) -> Float[Array, "*batch"]:
    """Flats: 20 dB per decade up to 5 m, 35 beyond, 5 dB per wall, 18.3 F^((F+2)/(F+1)-0.46) dB for F floors.

    IEEE 802.11-14/0980, TGax simulation scenarios.
    """
    crossed = jnp.asarray(floors, dtype=jnp.result_type(float))
    some = jnp.where(crossed > 0, crossed, 1.0)  # where on the input: 0 ** x has no gradient
    ceiling = jnp.where(crossed > 0, 18.3 * some ** ((some + 2) / (some + 1) - 0.46), 0.0)
    return _tgax(d, f_ghz, 5.0) + ceiling + 5 * jnp.asarray(walls)


def tmb(d: Numbers, f_ghz: Numbers = 5.25, walls: Numbers = 0, floors: Numbers = 0) -> Float[Array, "*batch"]:
    """Fitted to measurements at 5 GHz in a furnished office, as in Komondor: 0.1467 walls per metre of 5.25 dB each.

    Walls are in the distance term; `f_ghz`, `walls` and `floors` are not used, so it is for 5 GHz only.
    """
    distance = jnp.maximum(jnp.asarray(d), 1.0)
    loss = 54.12 + 20.6067 * jnp.log10(distance) + 5.25 * 0.1467 * distance
    return jnp.broadcast_to(loss, jnp.broadcast_shapes(loss.shape, jnp.shape(f_ghz)))


def friis(d: Numbers, f_ghz: Numbers, walls: Numbers = 0, floors: Numbers = 0) -> Float[Array, "*batch"]:
    """Free space, 20 log10(4 pi d f / c); walls and floors are not in the model."""
    at_one_metre = 20 * jnp.log10(jnp.asarray(f_ghz)) + 20 * math.log10(4e9 * math.pi / 299_792_458)
    return 20 * jnp.log10(jnp.maximum(jnp.asarray(d), 1.0)) + at_one_metre


def log_distance(
    d: Numbers,
    f_ghz: Numbers = 5.15,
    walls: Numbers = 0,
    floors: Numbers = 0,
    *,
    reference_db: Numbers = 46.6777,
    exponent: Numbers = 3.0,
) -> Float[Array, "*batch"]:
    """`reference_db` at 1 m and 10 * `exponent` dB per decade; the defaults are those of ns-3.

    The frequency is in the reference loss alone; `f_ghz`, `walls` and `floors` are not used.
    """
    loss = jnp.asarray(reference_db) + 10 * jnp.asarray(exponent) * jnp.log10(jnp.maximum(jnp.asarray(d), 1.0))
    return jnp.broadcast_to(loss, jnp.broadcast_shapes(loss.shape, jnp.shape(f_ghz)))


PathLoss = Callable[..., Array]
"""`(d, f_ghz, walls, floors) -> dB`, arrays that broadcast."""

PATH_LOSS: dict[str, PathLoss] = {
    "tgax_residential": tgax_residential,
    "tgax_enterprise": tgax_enterprise,
    "tmb": tmb,
    "friis": friis,
    "log_distance": log_distance,
}


def path_loss(
    model: str | PathLoss, d: Numbers, f_ghz: Numbers, walls: Numbers = 0, floors: Numbers = 0
) -> Float[Array, "*batch"]:
    """Path loss by a named model of `PATH_LOSS`, or by a function of your own with the same arguments.

    Args:
        model: name or function.
        d: distance in m, clipped to at least 1 m.
        f_ghz: centre frequency in GHz.
        walls: number of walls between the two ends.
        floors: number of floors between the two ends.

    Returns:
        Loss in dB, in the default floating-point type; the arguments broadcast.

    Raises:
        ValueError: an unknown name, a distance that is negative or NaN, a frequency that is not positive.
    """
    if isinstance(model, str):
        check_choice("model", model, PATH_LOSS)
        model = PATH_LOSS[model]
    if is_concrete(d) and not (np.asarray(d) >= 0).all():
        raise ValueError("d holds a distance that is negative or NaN; metres are needed")
    if is_concrete(f_ghz) and not (np.asarray(f_ghz) > 0).all():
        raise ValueError("f_ghz must be positive, in GHz, such as 5.23")
    return model(d, f_ghz, walls, floors)


def shadowing(
    key: PRNGKeyArray, sigma_db: Numbers, num_nodes: int, num_links: int = 1
) -> Float[Array, "links nodes nodes"]:
    """Log-normal shadowing in dB, one value per pair of nodes and link, the same in both directions, 0 on the diagonal.

    Add it to the path loss. For APs and their stations let the nodes be all 2B of them.

    Args:
        sigma_db: standard deviation in dB.
        num_nodes: number of nodes.
        num_links: number of links, which are shadowed independently.
    """
    upper = jnp.triu(jax.random.normal(key, (num_links, num_nodes, num_nodes)), k=1)
    return jnp.asarray(sigma_db) * (upper + upper.swapaxes(1, 2))


def nakagami_gain(key: PRNGKeyArray, m: Numbers, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Power gain of Nakagami-m fading, Gamma(m, 1/m): mean 1, variance 1/m; m = 1 is Rayleigh.

    Add 10 log10 of it to a received power in dBm.

    Args:
        m: shape parameter, >= 0.5.
        shape: shape of the result, with which `m` broadcasts.

    Raises:
        ValueError: m < 0.5.
    """
    if is_concrete(m) and not (np.asarray(m) >= 0.5).all():
        raise ValueError(f"m = {np.min(m):g}: the Nakagami shape parameter is at least 0.5")
    shapes = jnp.asarray(m, dtype=jnp.result_type(float))
    return jax.random.gamma(key, shapes, shape) / shapes
