"""The memory curve of a linear recurrent network: how much of the input τ steps ago its state still holds."""

import dataclasses
import functools
import warnings
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray

from offprint.memory_capacity._baselines import BASELINES, Baseline, baseline_curve, osm_plus_curve
from offprint.memory_capacity._blaschke import cascade, on_grid
from offprint.memory_capacity._network import (
    MeaningWarning,
    check_count,
    check_mask,
    check_matrix,
    check_radius,
    concrete,
    eigenvalues,
    is_traced,
    warn_if_single,
)
from offprint.memory_capacity._reachable import (
    RankRule,
    fading_steps,
    reachable_block,
    reachable_dimension,
)
from offprint.memory_capacity._smooth import Form, all_pass, grid_points

Method = Literal["exact", "cascade", "fft", "determinant", "naive", "gramian", "arnoldi", "osm", "osm_plus"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("values", "total", "tail", "rank", "poles", "diagnostics"),
    meta_fields=("min_lag",),
)
@dataclasses.dataclass(frozen=True)
class MemoryCurve:
    """A memory curve with what is known about it; a pytree, so it passes through `jit` and `vmap`.

    The total says little (it is the rank, whatever the reservoir): the shape is in the methods below. They
    look at the lags that were computed, so ask for enough of them.
    """

    values: Any
    """(T,) MC_τ for τ = min_lag, ..., min_lag + T - 1, in [0, 1] for the exact methods."""
    total: Any
    """() sum over all lags from min_lag on; of a baseline, over its horizon."""
    tail: Any
    """() total minus the sum of `values`: the memory beyond the lags computed."""
    rank: Any
    """() integer: dimension of the reachable space; of a baseline, the directions that it kept."""
    poles: Any
    """(r,) complex reachable spectrum; (N,) padded with NaN where the rank is traced; () entries where the
    method needs none."""
    diagnostics: dict[str, Any]
    """`horizon_used`; `horizon_error`, a bound-like ρ^horizon on what was cut off; `spectral_radius`."""
    min_lag: int = 0
    """The first lag: 0 in the paper, 1 in Jaeger's definition and in reservoirpy."""

    @property
    def lags(self) -> Array:
        """(T,) the lags of `values`."""
        return self.min_lag + jnp.arange(self.values.shape[-1])

    def half_memory_lag(self) -> Array:
        """The first lag at which less than half of the input is recovered: min{τ: MC_τ < 1/2}.

        One past the last lag computed where there is none.
        """
        return self._first(self.values < 0.5)

    def horizon(self, share: float = 0.99) -> Array:
        """The first lag by which `share` of the total has been collected; one past the last if it hasn't been."""
        return self._first(jnp.cumsum(self.values) >= share * self.total)

    def area_beyond(self, lag: ArrayLike) -> Array:
        """Memory held at lags of `lag` and more, the tail included. For `lag` = N it is what sharper networks lack."""
        return jnp.sum(jnp.where(self.lags >= lag, self.values, 0)) + self.tail

    def slope_at(self, lag: ArrayLike) -> Array:
        """Loss of memory per step around `lag`: (MC_{lag-1} - MC_{lag+1}) / 2.

        At the rank it says how sharp the edge is.
        """
        return (self.at(jnp.asarray(lag) - 1) - self.at(jnp.asarray(lag) + 1)) / 2

    def at(self, lag: ArrayLike) -> Array:
        """MC at `lag`; NaN where that lag was not computed."""
        index = jnp.asarray(lag) - self.min_lag
        length = self.values.shape[-1]
        if length == 0:
            return jnp.full(index.shape, jnp.nan)
        inside = (index >= 0) & (index < length)
        return jnp.where(inside, self.values[jnp.clip(index, 0, length - 1)], jnp.nan)

    def _first(self, found: Array) -> Array:
        length = self.values.shape[-1]
        if length == 0:
            return jnp.asarray(self.min_lag)
        return self.min_lag + jnp.where(jnp.any(found), jnp.argmax(found), length)


def memory_curve(
    A: ArrayLike,
    C: ArrayLike | None = None,
    n_lags: int | None = None,
    *,
    method: Method | str = "exact",
    rank: RankRule | str | int = "auto",
    min_lag: int = 0,
    horizon: int | None = None,
    key: PRNGKeyArray | None = None,
    n_masks: int = 1000,
) -> MemoryCurve:
    """Memory curve of the linear network x_t = A x_{t-1} + C z_t under white input z.

    MC_τ = 1 - min_w E(z_{t-τ} - wᵀx_t)² / Var z is the share of the input τ steps ago that a linear readout
    recovers. It depends on the reachable spectrum alone: the exact methods work on that, with errors of about
    1e-14; the baselines work on the Krylov matrix, as the literature does, and can be off by half.

    Args:
        A: (N, N) real reservoir matrix with spectral radius below 1. Integers become floats.
        C: (N,) input mask. Left out, every direction counts as reachable (true for almost every mask).
        n_lags: number of lags T; default 5N.
        method: exact ones: `"exact"` (the cascade form on the poles), `"cascade"` (the same, by its name),
            `"fft"` (B(z) on a grid), `"determinant"` (no eigenvalues: a batch of LU factorisations, the one for
            accelerators). Baselines: `"naive"`, `"gramian"`, `"arnoldi"`, `"osm"`, `"osm_plus"`.
        rank: dimension r of the reachable space: `"generic"` (N), `"exact"`, `"numerical"` (see
            `reachable_rank`), or an int. `"auto"` is exact for known values and N <= 512, else numerical.
            For batches by `vmap` use `"generic"`. Baselines don't use it.
        min_lag: first lag; 1 gives Jaeger's convention.
        horizon: for baselines, the number H of Krylov columns (default 5N, or the lags asked for if more). For
            the FFT and determinant forms, and for derivatives, the steps after which A^j is negligible: found
            from the spectral radius where that is known; inside `jit`, 1024 or 4N, whichever is more.
        key: a typed key for `osm_plus`.
        n_masks: number of fresh Gaussian masks that `osm_plus` averages over.

    Returns:
        `MemoryCurve`, float64 or float32 as A.

    Raises:
        ValueError: A not square, not real, not finite or with spectral radius of 1 or more; C of another
            length; an unknown method or rank; `osm_plus` without a key. Inside `jit` values can't be looked
            at: a spectral radius of 1 or more then gives NaN.

    Works under `jit` (n_lags and options static), `vmap` and, for the exact methods, `grad` and higher
    derivatives with respect to A, correct at defective matrices too.

    Source: Ballarin, Grigoryeva and Ortega, JMLR 25(243), 2024 (definition, neutrality, total = rank, baselines);
    Jaeger, GMD report 152, 2001 (memory capacity).
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(map(repr, get_args(Method)))}, got {method!r}.")
    matrix = check_matrix(A)
    neurons = matrix.shape[0]
    mask = None if C is None else check_mask(C, neurons, matrix.dtype)
    lags = 5 * neurons if n_lags is None else check_count("n_lags", n_lags)
    first = check_count("min_lag", min_lag)
    if horizon is not None:
        check_count("horizon", horizon, least=1)
    warn_if_single()
    spectrum = None if concrete(matrix) is None else eigenvalues(jax.lax.stop_gradient(matrix))
    radius = None if spectrum is None else float(np.abs(np.asarray(spectrum)).max())
    if radius is not None:
        check_radius(radius)

    if method in BASELINES:
        return _baseline(matrix, mask, lags, first, method, horizon, key, n_masks, radius)
    dimension = reachable_dimension(A, C, rank)
    steps = fading_steps(horizon, dimension or neurons, radius, matrix.dtype)
    plan = _Plan(first, lags, steps, "cascade" if method == "exact" else method)  # type: ignore[arg-type]
    if plan.form != "cascade" and radius is not None and radius**steps > 1e-6:
        warnings.warn(
            f"At spectral radius {radius:.6g} the memory hasn't faded after horizon={steps} steps, so the "
            f"{plan.form} form aliases; use method='exact', or a longer horizon.",
            MeaningWarning,
            stacklevel=2,
        )
    known_radius = np.asarray(np.nan if radius is None else radius, matrix.dtype)
    if dimension == neurons and spectrum is not None and plan.form != "determinant" and not is_traced(matrix):
        # The eigenvalues of the check are all that is needed.
        return _curve_of_poles(spectrum, known_radius, plan)
    if dimension == neurons or mask is None:
        return _trim(_curve_of_matrix(matrix, known_radius, plan))
    size = None if dimension is None else np.asarray(dimension, np.int32)
    return _trim(_curve_of_network(matrix, mask, size, known_radius, plan))


def total_memory(
    A: ArrayLike, C: ArrayLike | None = None, *, rank: RankRule | str | int = "auto", min_lag: int = 0
) -> int | float | Array:
    """Total memory capacity of the linear network over all lags from `min_lag` on.

    From lag 0 it is the rank of the controllability matrix, an int. From lag 1 (Jaeger's convention) it is
    r - 1 + Π|λ_i|², a float. Arguments and errors as for `memory_curve`; arrays inside `jit`.
    """
    curve = memory_curve(A, C, 0, rank=rank, min_lag=min_lag)
    value = curve.rank if min_lag == 0 else curve.total
    if is_traced(value):
        return value
    return int(value) if min_lag == 0 else float(value)


class _Plan(NamedTuple):
    """What is fixed when a curve is compiled."""

    first: int
    lags: int
    horizon: int
    form: Form


@functools.partial(jax.jit, static_argnums=2)
def _curve_of_poles(poles: Array, radius: Array, plan: _Plan) -> MemoryCurve:
    active, count = jnp.ones(poles.shape, bool), plan.first + plan.lags
    if plan.form == "fft":
        response = on_grid(poles, active, count, grid_points(count, plan.horizon))
    else:
        response = cascade(poles, active, count)
    return _assemble(response.energies, active, poles, radius, plan)


@functools.partial(jax.jit, static_argnums=2)
def _curve_of_matrix(A: Array, radius: Array, plan: _Plan) -> MemoryCurve:
    active = jnp.ones(A.shape[0], bool)
    _, energies, poles = all_pass(A, active, plan.first + plan.lags, plan.horizon, plan.form)
    return _assemble(energies, active, poles, radius, plan)


@functools.partial(jax.jit, static_argnums=4)
def _curve_of_network(A: Array, C: Array, size: Array | None, radius: Array, plan: _Plan) -> MemoryCurve:
    block, active = reachable_block(A, C, size)
    _, energies, poles = all_pass(block, active, plan.first + plan.lags, plan.horizon, plan.form)
    return _assemble(energies, active, poles, radius, plan)


def _assemble(energies: Array, active: Array, poles: Array, radius: Array, plan: _Plan) -> MemoryCurve:
    rank = jnp.sum(active).astype(jnp.int32)
    values = energies[plan.first :]
    total = rank - jnp.sum(energies[: plan.first])
    return MemoryCurve(
        values=values,
        total=total,
        tail=total - jnp.sum(values),
        rank=rank,
        poles=poles,
        diagnostics=_diagnostics(radius, plan.horizon),
        min_lag=plan.first,
    )


def _diagnostics(radius: Array, horizon: int) -> dict[str, Array]:
    return {
        "horizon_used": jnp.asarray(horizon, jnp.int32),
        "horizon_error": jnp.asarray(radius) ** horizon,
        "spectral_radius": jnp.asarray(radius),
    }


def _trim(curve: MemoryCurve) -> MemoryCurve:
    """Without the padding of the poles, where it can be seen."""
    if is_traced(curve.poles):
        return curve
    poles = np.asarray(curve.poles)
    return dataclasses.replace(curve, poles=jnp.asarray(poles[np.isfinite(poles)]))


def _baseline(
    A: Array,
    C: Array | None,
    lags: int,
    first: int,
    method: Baseline,
    horizon: int | None,
    key: PRNGKeyArray | None,
    n_masks: int,
    radius: float | None,
) -> MemoryCurve:
    neurons = A.shape[0]
    columns = max(5 * neurons, first + lags) if horizon is None else horizon
    if first + lags > columns:
        raise ValueError(f"lags up to {first + lags - 1} need horizon >= {first + lags}, got horizon={columns}.")
    if method == "osm_plus":
        if key is None:
            raise ValueError("method='osm_plus' draws fresh masks: pass key=jax.random.key(seed).")
        curve = osm_plus_curve(A, key, columns, check_count("n_masks", n_masks, least=1))
    elif C is None:
        raise ValueError(f"method={method!r} needs the input mask C.")
    else:
        curve = baseline_curve(A, C, columns, method)
    if method in ("osm", "osm_plus") and not is_traced(curve.rank) and int(curve.rank) < neurons:
        warnings.warn(
            f"The Krylov matrix has numerical rank {int(curve.rank)} < N = {neurons}: the {method} curve and its "
            "total are not meaningful.",
            MeaningWarning,
            stacklevel=3,
        )
    return _assemble_baseline(
        curve.values, curve.rank, np.asarray(np.nan if radius is None else radius, A.dtype), first, lags
    )


@functools.partial(jax.jit, static_argnums=(3, 4))
def _assemble_baseline(values: Array, rank: Array, radius: Array, first: int, lags: int) -> MemoryCurve:
    total = jnp.sum(values[first:])
    shown = values[first : first + lags]
    return MemoryCurve(
        values=shown,
        total=total,
        tail=total - jnp.sum(shown),
        rank=rank,
        poles=jnp.zeros(0, jnp.result_type(values.dtype, jnp.complex64)),
        diagnostics=_diagnostics(radius, values.shape[0]),
        min_lag=first,
    )
