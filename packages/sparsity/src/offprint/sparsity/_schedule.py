"""Sparsity, drop fractions and densities over the steps or rounds of a training.

A schedule is a function of the step: NumPy in, NumPy (float64) out; JAX arrays work as well, also under `jit`.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.sparsity._counts import check_sparsity

Step = int | float | Array | np.ndarray
Schedule = Callable[[Step], Any]


def polynomial_schedule(
    final: float | int, begin: int, end: int, initial: float | int = 0.0, power: float | int = 3.0
) -> Schedule:
    """s(t) = final + (initial - final) (1 - (t - begin) / (end - begin))^power between begin and end, constant beyond.

    jaxpruner evaluates the polynomial a step later, at t + 1, and never reaches the target if its updates miss `end`.

    Raises ValueError for a sparsity outside [0, 1) or end <= begin.
    """
    start, target = check_sparsity(initial), check_sparsity(final)
    _check_range(begin, end)
    return lambda step: target + (start - target) * (1.0 - _progress(step, begin, end)) ** power


def cubic_schedule(final: float | int, begin: int, end: int, initial: float | int = 0.0) -> Schedule:
    """The schedule of gradual magnitude pruning: `polynomial_schedule` of power 3 (Zhu & Gupta 2018, `zhu2018gmp`)."""
    return polynomial_schedule(final, begin, end, initial, 3.0)


def linear_schedule(final: float | int, begin: int, end: int, initial: float | int = 0.0) -> Schedule:
    """`polynomial_schedule` of power 1."""
    return polynomial_schedule(final, begin, end, initial, 1.0)


def exponential_schedule(final: float | int, begin: int, end: int, initial: float | int = 0.0) -> Schedule:
    """The density falls by the same factor in every step: from 1 - initial to 1 - final between begin and end."""
    start, target = 1.0 - check_sparsity(initial), 1.0 - check_sparsity(final)
    _check_range(begin, end)
    return lambda step: 1.0 - start * (target / start) ** _progress(step, begin, end)


def constant_schedule(sparsity: float | int) -> Schedule:
    """The same sparsity always."""
    share = check_sparsity(sparsity)
    return lambda step: _array(step) * 0.0 + share


def one_shot_schedule(sparsity: float | int, at: int) -> Schedule:
    """0 before step `at`, the sparsity from then on."""
    share = check_sparsity(sparsity)
    return lambda step: share * (_array(step) >= at)


def cyclic_schedule(
    final: float | int,
    begin: int,
    end: int,
    cycles: int,
    initial: float | int = 0.0,
    density: Literal["exponential", "linear"] = "exponential",
) -> Schedule:
    """Prune and train in turn: at begin, and at the start of each of `cycles` equal parts up to end, a step further.

    The density after cycle k of K is that of `round_densities`; the last cycle trains at the final sparsity. Let the
    learning rate restart with `restarted`.
    """
    if cycles < 1:
        raise ValueError(f"cycles must be at least 1; got {cycles}")
    _check_range(begin, end)
    kept = 1.0 - np.concatenate([[check_sparsity(initial)], 1.0 - round_densities(final, cycles, initial, density)])
    table = 1.0 - kept

    def sparsity(step: Step) -> Any:
        xp, t = _namespace(step), _array(step)
        done = xp.clip(xp.floor((t - begin) * cycles / (end - begin)) + 1, 0, cycles).astype(int)
        return xp.asarray(table)[done]

    return sparsity


def restarted(schedule: Schedule, begin: int, every: int) -> Schedule:
    """A learning rate that starts anew at begin and every so many steps after: schedule((t - begin) mod every)."""
    if every < 1:
        raise ValueError(f"every must be at least 1; got {every}")
    return lambda step: schedule(
        _namespace(step).where(_array(step) < begin, _array(step), (_array(step) - begin) % every)
    )


def update_steps(begin: int, end: int, every: int, total: int | None = None) -> np.ndarray:
    """The steps at which masks are made: begin, begin + every, ..., and `end` itself, so that the target is reached.

    Args:
        begin: the first.
        end: the last.
        every: steps between them.
        total: length of the training, to be warned when it is over before `end`.

    Raises:
        ValueError: end < begin or every < 1.
    """
    _check_range(begin, end, least=0)
    if every < 1:
        raise ValueError(f"every must be at least 1; got {every}")
    if total is not None and end >= total:
        warnings.warn(f"the target sparsity is never reached: the schedule ends at step {end} of {total}", stacklevel=2)
    return np.append(np.arange(begin, end, every), end)


def held(schedule: Schedule, begin: int, end: int, every: int) -> Schedule:
    """The sparsity in force: that of the last update step, and before the first that of the schedule."""
    _check_range(begin, end, least=0)

    def sparsity(step: Step) -> Any:
        xp, t = _namespace(step), _array(step)
        last = xp.where(t >= end, end, begin + (t - begin) // every * every)
        return schedule(xp.where(t < begin, t, last))

    return sparsity


def cosine_drop(end: int, initial: float | int = 0.3) -> Schedule:
    """Fraction f(t) = initial / 2 (1 + cos(π t / end)) of a layer that is dropped and regrown (`evci2020rigl`)."""
    _check_drop(end, initial)
    return lambda step: initial / 2 * (1.0 + _namespace(step).cos(np.pi * _progress(step, 0, end)))


def inverse_power_drop(end: int, initial: float | int = 0.3, power: float | int = 3.0) -> Schedule:
    """Fraction initial (1 - t / end)^power, RigL's 'inverse power'."""
    _check_drop(end, initial)
    return lambda step: initial * (1.0 - _progress(step, 0, end)) ** power


def linear_drop(end: int, initial: float | int = 0.3) -> Schedule:
    """Fraction initial (1 - t / end)."""
    return inverse_power_drop(end, initial, 1.0)


def round_densities(
    final: float | int,
    rounds: int,
    initial: float | int = 0.0,
    kind: Literal["exponential", "linear"] = "exponential",
) -> np.ndarray:
    """Densities after each of several prunings that end at the sparsity `final`.

    'exponential': every round keeps the same share of what is left, d_0 (d_K / d_0)^{k/K} (SynFlow, FORCE);
    'linear': every round removes as much.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1; got {rounds}")
    start, target = 1.0 - check_sparsity(initial), 1.0 - check_sparsity(final)
    part = np.arange(1, rounds + 1) / rounds
    if kind == "exponential":
        return start * (target / start) ** part
    if kind == "linear":
        return start + (target - start) * part
    raise ValueError(f"kind must be 'exponential' or 'linear'; got {kind!r}")


def ticket_densities(rounds: int, rate: float | int = 0.2) -> np.ndarray:
    """Densities (1 - rate)^k of rounds 0 to `rounds` of lottery tickets (Frankle & Carbin 2019, `frankle2019lth`).

    Layers that are pruned at another rate, such as the output layer at half of it, have their own.
    """
    if rounds < 0 or not 0 < rate < 1:
        raise ValueError(f"tickets need rounds >= 0 and a rate in (0, 1); got {rounds} and {rate}")
    return (1.0 - rate) ** np.arange(rounds + 1)


def _namespace(step: Step) -> Any:
    return jnp if isinstance(step, jax.Array) else np


def _array(step: Step) -> Any:
    return step if isinstance(step, jax.Array) else np.asarray(step)


def _progress(step: Step, begin: int, end: int) -> Any:
    """Share of the way from begin to end, in [0, 1]."""
    return _namespace(step).clip((_array(step) - begin) / (end - begin), 0.0, 1.0)


def _check_range(begin: int, end: int, least: int = 1) -> None:
    if begin < 0 or end < begin + least:
        raise ValueError(
            f"a schedule must have 0 <= begin and end {'>' if least else '>='} begin; got {begin} to {end}"
        )


def _check_drop(end: int, initial: float | int) -> None:
    if end < 1 or not 0 <= initial <= 1:
        raise ValueError(f"a drop fraction is in [0, 1] and ends after step 0; got {initial} until step {end}")
