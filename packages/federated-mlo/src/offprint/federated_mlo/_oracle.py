"""Oracles: the best joint action by each criterion, and allocations to compare a learner with.

By going through all joint actions where they are at most 3e7, which is exact; else by local search, which is not.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from offprint.federated_mlo._actions import actions_from_joint, masks_from_actions, num_actions
from offprint.federated_mlo._checks import check_actions, check_choice
from offprint.federated_mlo._payoff import Payoff, chunks, payoff_of

Method = Literal["exhaustive", "local_search"]
Criterion = Callable[[Float[Array, "*batch bss"]], Float[Array, "*batch"]]

SMALLEST_MBPS = 1e-9
"""Throughput that stands for none in the logarithm of proportional fairness."""


class OracleResult(NamedTuple):
    """A best joint action. With method "local_search" the best known, and `indices` is None."""

    value: float  # of the criterion
    actions: Int[np.ndarray, "bss"]  # the first of the best ones
    throughput: Float[np.ndarray, "bss"]  # Mb/s
    indices: Int[np.ndarray, "best"] | None = None  # all best joint actions, as by joint_index, to rounding


def min_rate(x: Float[Array, "*batch bss"]) -> Float[Array, "*batch"]:
    """The smallest throughput, Mb/s."""
    return jnp.min(x, axis=-1)


def sum_rate(x: Float[Array, "*batch bss"]) -> Float[Array, "*batch"]:
    """The total throughput, Mb/s."""
    return jnp.sum(x, axis=-1)


def log_rate(x: Float[Array, "*batch bss"]) -> Float[Array, "*batch"]:
    """Proportional fairness, sum log max(x, 1e-9) of throughputs in Mb/s."""
    return jnp.sum(jnp.log(jnp.maximum(x, SMALLEST_MBPS)), axis=-1)


def maxmin(game: Any, model: str = "ctmn", *, method: Method = "exhaustive", **options: Any) -> OracleResult:
    """The joint action with the largest minimum throughput; see `optimum`."""
    return optimum(game, min_rate, model, method=method, **options)


def max_sum(game: Any, model: str = "ctmn", *, method: Method = "exhaustive", **options: Any) -> OracleResult:
    """The joint action with the largest total throughput; see `optimum`."""
    return optimum(game, sum_rate, model, method=method, **options)


def prop_fair(game: Any, model: str = "ctmn", *, method: Method = "exhaustive", **options: Any) -> OracleResult:
    """The joint action with the largest sum of log throughputs; see `optimum`."""
    return optimum(game, log_rate, model, method=method, **options)


def optimum(
    game: Any, criterion: Criterion, model: str = "ctmn", *, method: Method = "exhaustive", **options: Any
) -> OracleResult:
    """The joint action that is best by a criterion.

    Args:
        game: `Topology`; a table [A^B, bss] of the throughputs of all joint actions, as from `joint_table`; or an
            environment as (env, params).
        criterion: a function of throughputs along the last axis, such as `min_rate`; hashable.
        model: "ctmn", "bianchi" or "airtime", see `MLOEnv`.
        method: "exhaustive" is exact; "local_search" is for more than 3e7 joint actions, see `local_search`.
        **options: for the model, such as `mld="emlsr"`.

    Raises:
        ValueError: more than 3e7 joint actions with method "exhaustive"; an unknown method.
    """
    check_choice("method", method, get_args(Method))
    payoff = payoff_of(game, model, **options)
    if method == "local_search":
        return local_search(payoff, criterion)
    values = np.concatenate([np.asarray(chunk) for chunk in chunks(payoff, criterion)])
    best = values.max()
    # Joint actions that are images of each other under a symmetry differ by the rounding of their sums alone.
    best_indices = np.flatnonzero(values >= best - 64 * np.finfo(values.dtype).eps * abs(best))
    actions = np.asarray(actions_from_joint(int(best_indices[0]), payoff.num_bss, payoff.num_links))
    return OracleResult(float(best), actions, throughput_of(payoff, actions), best_indices)


def local_search(
    game: Any,
    criterion: Criterion = min_rate,
    model: str = "ctmn",
    *,
    restarts: int = 32,
    max_moves: int = 1000,
    key: PRNGKeyArray | None = None,
    **options: Any,
) -> OracleResult:
    """The best joint action known: steepest ascent, one BSS at a time, from many starts.

    The first start is greedy colouring (of a topology), the second all links on, the others random. Among moves with
    the same criterion the larger sum of logs is taken, and a move that only raises that counts too: the minimum of
    many BSSs is flat.

    Args:
        game, criterion, model, **options: see `optimum`.
        restarts: number of starts.
        max_moves: moves after which a start that still improves is left.
        key: of the random starts; `jax.random.key(0)` if not given.
    """
    payoff = payoff_of(game, model, **options)
    key = jax.random.key(0) if key is None else key
    starts = jax.random.randint(key, (max(restarts, 2), payoff.num_bss), 0, num_actions(payoff.num_links))
    starts = starts.at[1].set(num_actions(payoff.num_links) - 1)
    if hasattr(game, "adj"):
        starts = starts.at[0].set(greedy_coloring(game))
    actions = np.asarray(_climb(payoff, criterion, starts[:restarts], max_moves))
    found = np.stack([throughput_of(payoff, row) for row in actions])
    values = np.asarray(criterion(jnp.asarray(found)))
    best = int(np.argmax(values))
    return OracleResult(float(values[best]), actions[best], found[best])


class _Climb(NamedTuple):
    actions: Int[Array, "bss"]
    value: Float[Array, ""]  # of the criterion
    logs: Float[Array, ""]  # log_rate, which breaks ties
    moves: Int[Array, ""]
    improves: Bool[Array, ""]


def _climb(payoff: Payoff, criterion: Criterion, starts: Int[Array, "starts bss"], max_moves: int) -> Array:
    """The joint actions where the starts end up; one after the other, for they need different numbers of moves."""
    ends = [_ascend(payoff.throughput, criterion, payoff.num_links, payoff.arrays, row, max_moves) for row in starts]
    return jnp.stack(ends)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _ascend(
    throughput: Callable[..., Array],
    criterion: Criterion,
    num_links: int,
    arrays: Any,
    start: Int[Array, "bss"],
    max_moves: Int[Array, ""] | int,
) -> Int[Array, "bss"]:
    num_bss, count = start.size, num_actions(num_links)
    who, what = jnp.repeat(jnp.arange(num_bss), count), jnp.tile(jnp.arange(count, dtype=start.dtype), num_bss)

    def worth(actions: Array) -> tuple[Array, Array]:
        x = throughput(arrays, masks_from_actions(actions, num_links))
        return criterion(x), log_rate(x)

    def move(state: _Climb) -> _Climb:
        rows = jnp.broadcast_to(state.actions, (who.size, num_bss)).at[jnp.arange(who.size), who].set(what)
        one, two = jax.lax.map(worth, rows, batch_size=256)
        rounding = 64 * jnp.finfo(one.dtype).eps
        margin, slack = rounding * jnp.maximum(abs(jnp.max(one)), 1e-30), rounding * (1 + abs(state.logs))
        best = jnp.argmax(jnp.where(one >= jnp.max(one) - margin, two, -jnp.inf))
        more, same = one[best] > state.value + margin, one[best] >= state.value - margin
        better = more | (same & (two[best] > state.logs + slack))
        moved = _Climb(rows[best], one[best], two[best], state.moves + 1, better)
        stays = state._replace(improves=better)
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), moved, stays)

    begin = _Climb(start, *worth(start), jnp.zeros((), jnp.int32), jnp.array(True))
    return jax.lax.while_loop(lambda state: state.improves & (state.moves < max_moves), move, begin).actions


def greedy_coloring(topology: Any) -> Int[np.ndarray, "bss"]:
    """One link per BSS, as a colour. Returns actions.

    BSSs with most neighbours come first. Each takes the usable link on which fewest neighbours are that have theirs
    already; where links tie, the one of the largest capacity.
    """
    adj, cap = np.asarray(topology.adj, bool), np.asarray(topology.cap)
    link = np.full(len(cap), -1)
    for bss in np.argsort(-adj.any(0).sum(0), kind="stable"):
        rivals = (adj[:, bss] & (link[None, :] == np.arange(len(adj))[:, None])).sum(1)
        rivals = np.where(cap[bss] > 0, rivals, len(cap))
        fewest = rivals == rivals.min()
        link[bss] = np.argmax(np.where(fewest, cap[bss], -1.0))
    return (2**link - 1).astype(np.int32)


def best_response(
    game: Any,
    model: str = "ctmn",
    *,
    start: Int[Array | np.ndarray, "bss"] | None = None,
    max_rounds: int = 100,
    **options: Any,
) -> Int[np.ndarray, "bss"]:
    """Where selfish BSSs end up that know what each action would bring: in turn, each takes the one best for itself.

    Args:
        game, model, **options: see `optimum`.
        start: actions to begin with; default: link 0 alone, for all.
        max_rounds: rounds over all BSSs.

    Returns:
        Actions from which no BSS gains by changing its own alone, a Nash equilibrium.

    Warns:
        UserWarning: there was none after `max_rounds`; the last actions are returned.
    """
    payoff = payoff_of(game, model, **options)
    count = num_actions(payoff.num_links)
    actions = np.zeros(payoff.num_bss, np.int32) if start is None else np.array(start, np.int32)
    check_actions(actions, payoff.num_links, "start")

    @jax.jit
    def rates(arrays: Any, actions: Array, bss: Array) -> Array:
        each = jnp.broadcast_to(actions, (count, payoff.num_bss)).at[:, bss].set(jnp.arange(count, dtype=jnp.int32))
        x = jax.vmap(lambda row: payoff.throughput(arrays, masks_from_actions(row, payoff.num_links)))(each)
        return x[:, bss]

    for _ in range(max_rounds):
        before = actions.copy()
        for bss in range(payoff.num_bss):
            own = np.asarray(rates(payoff.arrays, jnp.asarray(actions), jnp.int32(bss)))
            if own.max() > own[actions[bss]] * (1 + 64 * np.finfo(own.dtype).eps):
                actions[bss] = own.argmax()
        if (actions == before).all():
            return actions
    warnings.warn(f"selfish BSSs still change their links after {max_rounds} rounds: no equilibrium", stacklevel=2)
    return actions


def throughput_of(payoff: Payoff, actions: Int[np.ndarray, "bss"]) -> Float[np.ndarray, "bss"]:
    """Mb/s of each BSS under a joint action."""
    mask = masks_from_actions(jnp.asarray(actions), payoff.num_links)
    return np.asarray(payoff.throughput(payoff.arrays, mask))
