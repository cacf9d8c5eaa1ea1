"""Learning rates of the paper's recipes, as functions of the number of steps done: optax schedules."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Schedule = Callable[[int | Int[Array | np.ndarray, "..."]], Float[Array, "..."]]


def cosine90(
    steps_per_epoch: int, *, base: float | int = 0.1, minimum: float | int = 1e-9, epochs: int = 90, warmup: int = 5
) -> Schedule:
    """ImageNet, cosine: a linear warm-up over `warmup` epochs, then half a cosine from `base` to `minimum`.

    Args:
        steps_per_epoch: L.
        base: learning rate after the warm-up; 0.1 for each 256 samples of a batch.
        minimum: at the end; 1e-9 for each 256 samples of a batch.
        epochs: E; 90 or 300 in the paper.
        warmup: epochs of warm-up.

    Returns:
        A function of the count of steps done, 0 for the first, such as optax optimisers take.

    Raises:
        ValueError: no steps, no epochs, or a warm-up of all epochs.

    Source: public code of the paper, ImageNet recipe.
    """
    _check(steps_per_epoch, epochs, warmup)

    def schedule(count: int | Int[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        done = jnp.asarray(count, float)
        before, after = warmup * steps_per_epoch, (epochs - warmup) * steps_per_epoch
        cosine = minimum + (base - minimum) / 2 * (1 + jnp.cos(jnp.pi * (done - before) / after))
        return jnp.where(done < before, base * (done + 1) / max(before, 1), cosine)

    return schedule


def step90(
    steps_per_epoch: int, *, base: float | int = 0.1, factor: float | int = 0.1, epochs: int = 90, warmup: int = 5
) -> Schedule:
    """ImageNet, steps: a linear warm-up, then `base`, times `factor` at 1/3, 2/3 and 8/9 of the epochs.

    The warm-up of this script is one step ahead of that of `cosine90`: it starts at 2 / (warmup L) of `base` and ends
    one step's worth above it. Arguments, errors and source as for `cosine90`.
    """
    _check(steps_per_epoch, epochs, warmup)

    def schedule(count: int | Int[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        done = jnp.asarray(count)
        before = warmup * steps_per_epoch
        rate = _piecewise(done // steps_per_epoch, base, factor, (epochs // 3, 2 * epochs // 3, 8 * epochs // 9))
        return jnp.where(done < before, rate * (done + 2) / max(before, 1), rate)

    return schedule


def cifar300(
    steps_per_epoch: int = 1, *, base: float | int = 0.25, factor: float | int = 0.1, epochs: int = 300
) -> Schedule:
    """CIFAR: `base`, times `factor` at half and at three quarters of the epochs; no warm-up.

    With one step for each epoch it is a function of the epoch. Source: public code of the paper, CIFAR recipe.

    Raises:
        ValueError: no steps or no epochs.
    """
    _check(steps_per_epoch, epochs, 0)

    def schedule(count: int | Int[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        return _piecewise(jnp.asarray(count) // steps_per_epoch, base, factor, (epochs // 2, 3 * epochs // 4))

    return schedule


def _piecewise(
    epoch: Int[Array, "*counts"], base: float | int, factor: float | int, milestones: tuple[int, ...]
) -> Float[Array, "*counts"]:
    passed = sum(jnp.asarray(epoch >= milestone, int) for milestone in milestones)
    return jnp.asarray([base * factor**k for k in range(len(milestones) + 1)], float)[passed]


def _check(steps_per_epoch: int, epochs: int, warmup: int) -> None:
    if steps_per_epoch < 1 or epochs < 1:
        raise ValueError(f"steps_per_epoch={steps_per_epoch} and epochs={epochs}; both must be at least 1")
    if not 0 <= warmup < epochs:
        raise ValueError(f"warmup={warmup} epochs of {epochs}; 0 <= warmup < epochs is needed")
