"""What the experiments share: seeds in one program, traces of a run, likelihoods, numbers for claims."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from offprint.core.data import DataError
from offprint.core.experiments import Unavailable
from offprint.core.train import Batches, Step, scan
from offprint.network_partitioning._shards import ShardedBatches, assign_shards
from offprint.network_partitioning.data import ImageData

Data = tuple[Array, Array]


def sharded(
    data: Sequence[Data], proportions: Sequence[float], batch_size: int | None, key: PRNGKeyArray
) -> tuple[ShardedBatches, Int[Array, "seeds n"]]:
    """The sharded batches of every seed, stacked for `vmap`, and the shards of its examples."""
    keys = jax.random.split(key, len(data))
    shards = [assign_shards(len(y), proportions, key=k, stratify=y) for (_, y), k in zip(data, keys)]
    batches = [ShardedBatches(pair, one, batch_size) for pair, one in zip(data, shards)]
    return stacked(batches), jnp.stack(shards)


def stacked(trees: Sequence[Any]) -> Any:
    """Pytrees of one structure as one, with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def trace(
    step: Step[Any],
    state: Any,
    batches: Batches | None,
    num_steps: int,
    key: PRNGKeyArray,
    watch: Callable[[Any], PyTree],
    *,
    points: int = 50,
) -> tuple[Any, PyTree]:
    """`scan` with looks at the state on the way: at the start and after each of `points` equal parts.

    Returns:
        The last state, and what `watch(state)` gave, stacked; `watched_steps` has the steps.
    """
    every = part_length(num_steps, points)
    first = watch(state)

    def part(state: Any, start: Int[Array, ""]) -> tuple[Any, PyTree]:
        state, _ = scan(step, state, batches, every, key, start=start)
        return state, watch(state)

    state, seen = jax.lax.scan(part, state, jnp.arange(0, num_steps, every))
    return state, jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), first, seen)


def part_length(num_steps: int, points: int) -> int:
    """The largest part that divides `num_steps` and makes at least `points` of it, or 1."""
    return max(
        size for size in range(1, num_steps + 1) if num_steps % size == 0 and (size * points <= num_steps or size == 1)
    )


def watched_steps(num_steps: int, points: int = 50) -> np.ndarray:
    """The steps at which `trace` looks."""
    return np.arange(0, num_steps + 1, part_length(num_steps, points))


def available(load: Callable[[], ImageData]) -> ImageData:
    """The images that `load` gives.

    Raises:
        Unavailable: they cannot be had.
    """
    try:
        return load()
    except (DataError, FileNotFoundError) as error:
        raise Unavailable(f"the images cannot be had: {error}") from error


def percent_right(logits: Float[Array, "n classes"], labels: Int[Array, " n"]) -> Float[Array, ""]:
    """Accuracy in percent."""
    return 100 * (logits.argmax(-1) == labels).mean()


def rank_correlation(a: Sequence[float | int] | np.ndarray, b: Sequence[float | int] | np.ndarray) -> float:
    """Spearman's coefficient of two rows of numbers without ties."""
    ranks = np.array([np.argsort(np.argsort(np.asarray(values))) for values in (a, b)], float)
    return float(np.corrcoef(ranks)[0, 1])


def listing(values: Sequence[float | int] | np.ndarray, form: str = ".2f") -> str:
    """Numbers of every seed for the text of a claim."""
    return ", ".join(format(float(value), form) for value in np.ravel(values))
