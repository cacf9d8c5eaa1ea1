"""Payoffs: the throughput of every BSS under a joint action, by any model of the channel, and tables of all of them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from offprint.federated_mlo._actions import actions_from_joint, masks_from_actions, num_joint_actions
from offprint.federated_mlo._ctmn import activity_table, component_table, lookup_activity
from offprint.federated_mlo._topology import Topology

MAX_JOINT = 30_000_000
"""The most joint actions that are all looked at."""
CHUNK = 65_536
"""Joint actions evaluated side by side."""
_TABLE_BSS = 12


class Payoff(NamedTuple):
    """A game: `throughput(arrays, mask)` in Mb/s, [bss], of the links that are on."""

    throughput: Callable[[Any, Bool[Array, "bss links"]], Float[Array, "bss"]]
    arrays: Any
    num_bss: int
    num_links: int


def payoff_of(game: Any, model: str = "ctmn", **options: Any) -> Payoff:
    """The payoff of a topology by a model, or of a table [A^B, bss] of all joint actions.

    Args:
        game: `Topology`, `EdgeTopology` (model "bethe"), a table [joint, bss], or an environment as (env, params),
            whose model and options then hold.
        model: "ctmn", "bianchi", "airtime" or "bethe", see `MLOEnv`.
        **options: other options of `make_env`, such as `mld="emlsr"` or `demand`.

    Raises:
        ValueError: a table whose number of rows is not (2^L - 1)^B for its B columns; what `make_env` refuses.
    """
    if isinstance(game, Payoff):
        return game
    if isinstance(game, Array | np.ndarray):
        return Payoff(_from_table, jnp.asarray(game), game.shape[1], _links_of_table(game.shape))
    if isinstance(game, tuple) and len(game) == 2:
        env, params = game
        if env.model == "dcf":
            raise ValueError('model "dcf" is a simulation and its throughput random; ask for the optimum of "ctmn"')
        return Payoff(functools.partial(_from_env, env), params, env.num_bss, env.num_links)
    num_bss, num_links = game.cap.shape
    if model == "ctmn" and not options and isinstance(game, Topology):
        small = num_bss <= _TABLE_BSS
        table = activity_table(game.adj, game.theta) if small else component_table(game.adj, game.theta)
        return Payoff(_from_activity, (table, game.cap), num_bss, num_links)
    from offprint.federated_mlo._make import make_env

    return payoff_of(make_env(game, model, tables=False, **options))


def _from_table(table: Array, mask: Array) -> Array:
    num_bss, num_links = mask.shape
    weights = jnp.asarray((2**num_links - 1) ** np.arange(num_bss - 1, -1, -1), jnp.int32)
    actions = jnp.sum(mask.astype(jnp.int32) << jnp.arange(num_links), axis=-1) - 1
    return table[jnp.sum(actions * weights)]


def _from_activity(arrays: tuple[Any, Array], mask: Array) -> Array:
    table, cap = arrays
    return jnp.sum(lookup_activity(table, mask) * cap, axis=-1)


def _from_env(env: Any, params: Any, mask: Array) -> Array:
    from offprint.federated_mlo._models import activity_and_throughput

    x = activity_and_throughput(env, params, mask)[0]
    return x if params.demand is None else jnp.minimum(x, params.demand)


def _links_of_table(shape: tuple[int, ...]) -> int:
    for num_links in range(1, 17):
        if (2**num_links - 1) ** shape[1] == shape[0]:
            return num_links
    raise ValueError(f"a table of shape {shape}: [(2**L - 1)**B, B] is needed, one row per joint action of B BSSs")


def joint_table(
    game: Any, model: str = "ctmn", *, chunk: int = CHUNK, **options: Any
) -> Float[Array | np.ndarray, "joint bss"]:
    """Throughput in Mb/s of every BSS under all A^B joint actions, numbered as by `joint_index`.

    Args:
        game, model, **options: see `payoff_of`.
        chunk: joint actions evaluated side by side; more need more memory.

    Returns:
        NumPy on the host, for the table may be large: 4 A^B B bytes in float32.

    Raises:
        ValueError: more than 3e7 joint actions.
    """
    payoff = payoff_of(game, model, **options)
    return np.concatenate([np.asarray(x) for x in chunks(payoff, _itself, chunk)])


def _itself(x: Array) -> Array:
    return x


def chunks(payoff: Payoff, measure: Callable[[Array], Array], chunk: int = CHUNK) -> Any:
    """`measure` of the throughputs of all joint actions, `chunk` of them at a time; measures along the last axis."""
    joint = check_joint(payoff)
    size = min(chunk, joint)
    for begin in range(0, joint, size):
        values = _measure_chunk(
            payoff.throughput, measure, size, payoff.num_bss, payoff.num_links, payoff.arrays, begin
        )
        yield values[: joint - begin]


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _measure_chunk(
    throughput: Callable[..., Array],
    measure: Callable[[Array], Array],
    size: int,
    num_bss: int,
    num_links: int,
    arrays: Any,
    begin: Int[Array, ""] | int,
) -> Array:
    index = jnp.minimum(begin + jnp.arange(size, dtype=jnp.int32), num_joint_actions(num_bss, num_links) - 1)
    masks = masks_from_actions(actions_from_joint(index, num_bss, num_links), num_links)
    return measure(jax.vmap(functools.partial(throughput, arrays))(masks))


def check_joint(payoff: Payoff) -> int:
    """The number of joint actions, unless there are too many to look at all of them."""
    joint = num_joint_actions(payoff.num_bss, payoff.num_links)
    if joint > MAX_JOINT:
        raise ValueError(
            f"{payoff.num_bss} BSSs of {payoff.num_links} links have {joint} ({float(joint):.2g}) joint actions; up to "
            f'{MAX_JOINT} are looked at one by one. Use method="local_search", whose result is the best known'
        )
    return joint
