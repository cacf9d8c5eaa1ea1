"""Information processing capacity: how much a network's state knows of every function of past inputs.

Dambre, Verstraeten, Schrauwen and Massar, "Information processing capacity of dynamical systems",
Scientific Reports 2:514, 2012. For targets that are orthonormal functions of the input history, products
of polynomials p_d(z_{t-k}), the capacities add up to at most the rank of the state covariance, and to the
rank for a network with fading memory when all targets are counted. Degree 1 is linear memory.
"""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._network import MeaningWarning
from offprint.memory_capacity._null import beta_threshold
from offprint.memory_capacity._samples import SOLVERS, Solver, check_full_rank, orthonormal_basis
from offprint.memory_capacity._targets import count_targets, stretches
from offprint.memory_capacity.polynomials import (
    FAMILIES,
    WITHOUT_PARAMETERS,
    Polynomials,
    empirical,
    warn_of_wrong_law,
)

TILES_AT_ONCE = 16
"""Tiles of targets a device call works through; their numbers are made on the host."""


class IPC(NamedTuple):
    """Information processing capacities of M targets.

    Target i is the product over j of p_{powers[i, j]}(z_{t - delays[i, j]}); a power of 0 is no factor.
    """

    values: Float[Array, "targets"]
    """In-sample capacities, no threshold applied."""
    powers: Int[np.ndarray, "targets factors"]
    delays: Int[np.ndarray, "targets factors"]
    degree: Int[np.ndarray, "targets"]
    """Total degree of each target."""
    significant: Bool[Array, "targets"]
    threshold: Float[Array, "degrees"]
    """Of each degree 1, 2, ...: the capacity above which a target is significant."""
    by_degree: Float[Array, "degrees"]
    """Sum of the significant capacities of degree 1, 2, ..."""
    by_delay: Float[Array, "delays"]
    """The same by the largest delay of the target, 0, 1, ..."""
    second_order: Float[Array, "delays delays"]
    """Significant capacity of degree 2 by delays k1 <= k2 (the diagonal holds p_2); zero elsewhere."""
    total: Float[Array, ""]
    """Sum of the significant capacities."""
    floor: Float[Array, ""]
    """Expected capacity of an unrelated target, r/(T-1)."""
    rank: Int[Array, ""]
    n_samples: int


def information_processing_capacity(
    states: ArrayLike,
    inputs: ArrayLike,
    degrees_delays: Sequence[tuple[int, int]],
    *,
    basis: str | Polynomials = "legendre",
    washout: int | None = None,
    null: Literal["beta", "surrogate"] | str | None = "beta",
    p: float = 1e-4,
    solver: Solver = "svd",
    rank_tol: float | None = None,
    batch: int = 256,
    time_chunk: int = 8192,
    n_surrogates: int = 5,
    key: PRNGKeyArray | None = None,
) -> IPC:
    """Capacities of all products of polynomials, of given degrees and delays, of an independent input.

    The capacity of a target y is ‖Qᵀy‖²/‖y‖², with Q an orthonormal basis of the centred states: 1 less the
    mean squared error of the best affine readout over <y²>, the normalisation of Dambre et al. (its mean is
    zero in law, and is not subtracted).

    Arguments:
    - `states`: (T, N), `inputs`: (T,), row t of the states driven by input t. The first `washout` rows
      (default: the largest delay) are history for the targets only.
    - `degrees_delays`: pairs (d, D): all targets of total degree d with delays 0..D, C(D + d, d) of them.
    - `basis`: the polynomials of the input's law: "legendre" (uniform on (-1, 1)), "hermite" (standard
      normal), "laguerre" (exponential), "binary" (-1 or 1: products of distinct delays only), "empirical"
      (made orthonormal on the inputs themselves), or a `Polynomials`, such as `legendre(0, 0.5)`.
    - `null`: "beta": a target counts where it is above the (1 - p) quantile of an unrelated one's law;
      "surrogate": of the capacities that the targets of its degree have for `n_surrogates` shuffles of the
      input (needs `key`), which holds for heavy-tailed targets too; None: all count.
    - `solver`, `rank_tol`: how the states are made orthonormal, as in `empirical_memory_curve`.
    - `batch`, `time_chunk`: a tile of targets by a stretch of time is what is in memory at once; neither
      changes the result beyond rounding.

    Raises `ValueError` for mismatched arrays, a delay above the washout, no more samples than neurons,
    unknown names. Warns when the polynomials are not orthonormal on the inputs, and when the sum of all
    capacities exceeds the rank by more than the floor explains.
    """
    X, z = arguments.samples(states, inputs)
    pairs = _pairs(degrees_delays)
    arguments.one_of("solver", solver, SOLVERS)
    if null is not None:
        arguments.one_of("null", null, ("beta", "surrogate"))
    if null == "surrogate" and key is None:
        raise ValueError("null='surrogate' shuffles at random: pass key=jax.random.key(seed).")
    max_delay = max((D for _, D in pairs), default=0)
    first = max_delay if washout is None else arguments.count("washout", washout, least=0)
    if max_delay > first:
        raise ValueError(
            f"the largest delay is {max_delay} and washout={first}: targets would need inputs from before the "
            "data. washout has to be at least the largest delay."
        )
    if first >= X.shape[0]:
        raise ValueError(f"washout={first} uses up all of the {X.shape[0]} samples.")
    arguments.enough_samples(X.shape[0] - first, X.shape[1], first)
    batch, time_chunk = arguments.count("batch", batch), arguments.count("time_chunk", time_chunk)
    family = _family(basis, z, max(d for d, _ in pairs))
    highest = max(min(d, family.max_degree or d) for d, _ in pairs)
    table = family.table(z, highest)
    if arguments.is_concrete(table):
        warn_of_wrong_law(family, table)

    rows = jax.jit(orthonormal_basis, static_argnums=(1, 2))(X[first:], solver, rank_tol)
    check_full_rank(rows, solver)
    n_samples = X.shape[0] - first
    values, powers, delays = _all_capacities(rows.columns, table, pairs, family, first, batch, time_chunk)
    degree = powers.sum(axis=1)
    degrees = max(d for d, _ in pairs)
    if null == "beta":
        threshold = jnp.full(degrees, beta_threshold(rows.rank, n_samples, p))
    elif null == "surrogate" and key is not None:
        shuffles = [
            _all_capacities(rows.columns, table[:, order], pairs, family, first, batch, time_chunk)[0]
            for order in jax.random.permutation(
                key, jnp.broadcast_to(jnp.arange(z.size), (n_surrogates, z.size)), axis=1, independent=True
            )
        ]
        threshold = _quantiles(jnp.stack(shuffles), degree, degrees, p)
    else:
        threshold = jnp.full(degrees, -jnp.inf)
    significant = values > threshold[degree - 1]
    counted = jnp.where(significant, values, 0)
    result = IPC(
        values=values,
        powers=powers,
        delays=delays,
        degree=degree,
        significant=significant,
        threshold=threshold,
        by_degree=jnp.zeros(degrees, values.dtype).at[degree - 1].add(counted),
        by_delay=jnp.zeros(max_delay + 1, values.dtype).at[delays.max(axis=1)].add(counted),
        second_order=_second_order(counted, powers, delays, pairs),
        total=counted.sum(),
        floor=rows.rank / (n_samples - 1),
        rank=rows.rank,
        n_samples=n_samples,
    )
    if arguments.is_concrete(values):
        _warn_of_excess(result)
    return result


@partial(jax.jit, static_argnames=("first", "time_chunk"))
def _tile_capacities(
    columns: Float[Array, "window N"],
    table: Float[Array, "degrees T"],
    powers: Int[Array, "tiles tile factors"],
    delays: Int[Array, "tiles tile factors"],
    first: int,
    time_chunk: int,
) -> Float[Array, "tiles tile"]:
    """‖Qᵀy‖² / ‖y‖² of tiles of targets, one tile and one chunk of time at a time."""
    window, n_columns = columns.shape
    chunk = min(time_chunk, window)
    n_chunks = -(-window // chunk)
    end = n_chunks * chunk - window
    Q = jnp.pad(columns, ((0, end), (0, 0))).reshape(n_chunks, chunk, n_columns)
    there = jnp.pad(jnp.ones(window, table.dtype), (0, end)).reshape(n_chunks, chunk)
    table = jnp.pad(table, ((0, 0), (0, end)))

    def tile(powers_delays: tuple[Array, Array]) -> Array:
        powers, delays = powers_delays

        def factor(power: Array, delay: Array, start: Array) -> Array:
            return jax.lax.dynamic_slice(table, (power, start - delay), (1, chunk))[0]

        def add_chunk(sums: tuple[Array, Array], part: tuple[Array, Array, Array]) -> tuple:
            number, q, ones = part
            at = partial(factor, start=first + number * chunk)
            y = jnp.prod(jax.vmap(jax.vmap(at), in_axes=1)(powers, delays), axis=0) * ones
            new = jnp.concatenate(
                [jnp.matmul(y, q, precision=jax.lax.Precision.HIGHEST), jnp.sum(y**2, axis=1, keepdims=True)],
                axis=1,
            )
            # Compensated summation over chunks: a million samples cost float32 no more than one chunk does.
            total, lost = sums
            new = new - lost
            following = total + new
            return (following, (following - total) - new), None

        zero = jnp.zeros((powers.shape[0], n_columns + 1), columns.dtype)
        (sums, _), _ = jax.lax.scan(add_chunk, (zero, zero), (jnp.arange(n_chunks, dtype=jnp.int32), Q, there))
        explained, power = jnp.sum(sums[:, :-1] ** 2, axis=1), sums[:, -1]
        return jnp.where(power > 0, explained / jnp.where(power > 0, power, 1), 0)

    return jax.lax.map(tile, (powers, delays))


def _all_capacities(
    columns: Float[Array, "window N"],
    table: Float[Array, "degrees T"],
    pairs: list[tuple[int, int]],
    family: Polynomials,
    first: int,
    batch: int,
    time_chunk: int,
) -> tuple[Float[Array, "targets"], Int[np.ndarray, "targets factors"], Int[np.ndarray, "targets factors"]]:
    """Capacities of all targets, with their powers and delays padded to the highest degree."""
    width = max(d for d, _ in pairs)
    values, all_powers, all_delays = [], [], []
    for d, D in pairs:
        tile = min(batch, count_targets(d, D, family.max_degree))
        n_tiles = min(TILES_AT_ONCE, -(-count_targets(d, D, family.max_degree) // max(tile, 1)))
        for powers, delays in stretches(d, D, max(tile * n_tiles, 1), family.max_degree):
            shape = (n_tiles, tile, d)
            # Targets that fill up the last tile are p_0, and are dropped.
            full = [np.zeros((n_tiles * tile, d), np.int32) for _ in range(2)]
            for padded, given in zip(full, (powers, delays)):
                padded[: given.shape[0]] = given
            tiles = _tile_capacities(
                columns, table, full[0].reshape(shape), full[1].reshape(shape), first=first, time_chunk=time_chunk
            )
            values.append(tiles.reshape(-1)[: powers.shape[0]])
            all_powers.append(np.pad(powers, ((0, 0), (0, width - d))))
            all_delays.append(np.pad(delays, ((0, 0), (0, width - d))))
    return jnp.concatenate(values), np.concatenate(all_powers), np.concatenate(all_delays)


def _pairs(degrees_delays: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    pairs = [(arguments.count("degree", d), arguments.count("max delay", D, least=0)) for d, D in degrees_delays]
    if not pairs:
        raise ValueError("degrees_delays is empty; pairs (degree, max delay) such as [(1, 100), (2, 20)] are needed.")
    if len({d for d, _ in pairs}) < len(pairs):
        raise ValueError(f"degrees_delays={pairs} names a degree twice; its targets would count twice.")
    return pairs


def _family(basis: str | Polynomials, z: Float[Array, "T"], degree: int) -> Polynomials:
    if isinstance(basis, Polynomials):
        return basis
    arguments.one_of("basis", basis, FAMILIES)
    if basis == "empirical":
        return empirical(z, degree)
    if basis not in WITHOUT_PARAMETERS:
        raise ValueError(
            f"basis={basis!r} has parameters: pass the family itself, as in basis={basis}(...), from the functions "
            "of that name."
        )
    return FAMILIES[basis]()


def _quantiles(
    surrogates: Float[Array, "shuffles targets"], degree: Int[np.ndarray, "targets"], degrees: int, p: float
) -> Float[Array, "degrees"]:
    """The (1 - p) quantile of each degree's surrogates; no target of a degree, no threshold."""
    rows = []
    for d in range(1, degrees + 1):
        pooled = surrogates[:, degree == d]
        rows.append(jnp.quantile(pooled, 1 - p, method="higher") if pooled.size else jnp.asarray(jnp.inf))
    return jnp.stack(rows)


def _second_order(
    counted: Float[Array, "targets"],
    powers: Int[np.ndarray, "targets factors"],
    delays: Int[np.ndarray, "targets factors"],
    pairs: list[tuple[int, int]],
) -> Float[Array, "delays delays"]:
    size = dict(pairs).get(2, -1) + 1
    of_two = np.flatnonzero(powers.sum(axis=1) == 2)
    later = delays[of_two].max(axis=1, initial=0)
    # One factor p_2 at delay k, or two factors at k1 < k2.
    single = powers[of_two].max(axis=1, initial=0) == 2
    earlier = np.where(single, later, delays[of_two, 0]) if of_two.size else later
    return jnp.zeros((size, size), counted.dtype).at[earlier, later].add(counted[of_two])


def _warn_of_excess(result: IPC) -> None:
    total, rank = float(result.values.sum()), int(result.rank)
    floor = result.values.size * float(result.floor)
    if total > 1.05 * rank + floor:
        warnings.warn(
            f"the capacities add up to {total:.4g}, more than the rank {rank} of the states and the floor "
            f"{floor:.3g} allow: the targets are not orthogonal, so the input is not independent or not of the "
            "law of the polynomials.",
            MeaningWarning,
            stacklevel=3,
        )
