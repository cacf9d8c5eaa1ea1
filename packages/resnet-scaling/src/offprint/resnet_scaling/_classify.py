"""The paper's decision procedure: smooth weights, Brownian-like weights, or neither, from exponents over depths."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import numpy as np
from jaxtyping import Float

from offprint.resnet_scaling._arguments import ByDepth, stacks_by_depth
from offprint.resnet_scaling._exponents import Fit, fit_exponent
from offprint.resnet_scaling._network import delta_kind
from offprint.resnet_scaling._statistics import STATISTICS, Norm, scaling_statistics
from offprint.resnet_scaling._sweep_result import SweepResult

REGIMES = ("smooth", "diffusive", "rough", "sparse")
MIN_DEPTHS = 4

SMOOTH_BELOW = -0.4
SPARSE_PARTICIPATION_BELOW = -0.5
SPARSE_NORM_ABOVE = -0.15
DIFFUSIVE_WITHIN = 0.1


@dataclass(frozen=True)
class Evidence:
    """One question of the procedure and its answer."""

    question: str
    value: float
    threshold: float
    margin: float
    """How far the value is on the side of the answer, in units of the slope."""
    yes: bool
    p_value: float
    """Of a true value on the threshold; see `Fit.p_value`."""


@dataclass(frozen=True)
class ScalingReport:
    """Exponents and regime of trained weights."""

    regime: str
    """"smooth", "diffusive", "rough" or "sparse"."""
    alpha: float
    """δ ~ L^-alpha; 0 where the multipliers are part of the weights."""
    beta: float
    """A ~ L^-beta, from the largest norm."""
    beta_cumsum: float
    """The same from the norm of the sum of all layers; without a trend it means nothing."""
    hurst: float
    """RMS norm ~ L^-hurst: for rough weights, the Hurst exponent of their cumulated sum."""
    slopes: dict[str, Fit]
    """By statistic, and for "delta" where there is a shared multiplier. "scaled_increment" is the statistic with
    factor = beta: its values here are max ‖A_{k+1} - A_k‖ / max ‖A_k‖, which have the same slope."""
    evidence: tuple[Evidence, ...]
    reason: str
    depths: tuple[int, ...]
    seeds: int
    """The most at any depth."""

    @property
    def hypothesis(self) -> str:
        """The paper's verdict: "1" (smooth), "2" (trend and noise of finite quadratic variation), or "neither"."""
        return {"smooth": "1", "diffusive": "2"}.get(self.regime, "neither")

    @property
    def limit(self) -> str:
        """The continuous limit that the exponents point to, for an activation that is smooth at 0 with σ(0) = 0."""
        total = self.alpha + self.beta
        if self.regime == "smooth":
            if total > 1.15:
                return "the identity: alpha + beta > 1, the layers vanish as the depth grows"
            if total < 0.85:
                return "none: alpha + beta < 1, hidden states grow without bound"
            return "neural ODE" if self.beta < 0.1 else "linear ODE (alpha + beta = 1, beta > 0)"
        if self.regime == "diffusive":
            if self.alpha > 0.1:
                return "the identity: Brownian weights and alpha > 0"
            return "SDE (with a ReLU only where the signs of the multipliers are random)"
        return "none that is known"

    def __str__(self) -> str:
        lines = [
            f"{self.regime}: {self.reason}",
            f"hypothesis {self.hypothesis}; limit: {self.limit}",
            f"alpha {self.alpha:.2f}  beta {self.beta:.2f} ({self.beta_cumsum:.2f} by the sum)  hurst {self.hurst:.2f}",
            f"{len(self.depths)} depths {self.depths[0]} to {self.depths[-1]}, {self.seeds} seed(s)",
            f"{'statistic':<18} slope ± standard error [interval]",
            *(f"{name:<18} {fit}" for name, fit in self.slopes.items()),
        ]
        return "\n".join(lines)


def classify_scaling(
    weights: ByDepth | SweepResult,
    delta: ByDepth | None = None,
    *,
    norm: Norm = "fro",
    method: str = "ols",
    offset: int = 0,
    n_boot: int = 1000,
    seed: int = 0,
) -> ScalingReport:
    """Which regime the weights of networks of growing depth are in.

    In the order of the official code: α from δ and β from the largest norm; increments that vanish relative to the
    norm (slope below -0.4) mean *smooth* weights. This comes before the sum of squares, which is flat for smooth
    weights with β = ½ as well. Else, where fewer and fewer layers carry a largest norm that does not decrease,
    *sparse*. Else *rough* with the exponent of the RMS norm, which one outlying layer spoils less than the largest
    norm; *diffusive* where that is ½ within 0.1 or two standard errors, that is, where the sum of squares is flat.
    All of medians over seeds.

    Args:
        weights: for each depth a stack (L, ...), or (seeds, L, ...) for all depths; a sequence, or a mapping from
            the depth. Or the result of a sweep, whose members that diverged are left out.
        delta: by depth, the multiplier of all layers, (1,) or (seeds, 1), whose decay is α; or those of each layer,
            (L,) or (seeds, L): then the statistics are those of |δ_k| A_k. A sweep brings its own.
        norm: of layers; see `scaling_statistics`.
        method, offset, n_boot, seed: see `fit_exponent`.

    Raises:
        ValueError: fewer than 4 depths, or what `fit_exponent` and `scaling_statistics` refuse.

    Warns:
        UserWarning: members of the sweep diverged.
    """
    alpha = 0.0
    if isinstance(weights, SweepResult):
        alpha, weights, delta = _of_sweep(weights)
    stacks = stacks_by_depth(weights)
    check_enough(len(stacks))
    shared, factors = _multipliers(stacks, delta)
    statistics = {
        depth: seed_statistics(stack, None if factors is None else factors[depth], norm)
        for depth, stack in stacks.items()
    }
    table = {name: [statistics[depth][name] for depth in stacks] for name in STATISTICS}
    return classify_statistics(
        tuple(stacks),
        {name: _padded(rows) for name, rows in table.items()},
        delta=None if shared is None else _padded([shared[depth] for depth in stacks]),
        alpha=alpha,
        method=method,
        offset=offset,
        n_boot=n_boot,
        seed=seed,
    )


def classify_statistics(
    depths: tuple[int, ...],
    statistics: Mapping[str, Float[np.ndarray, "depths seeds"]],
    *,
    delta: Float[np.ndarray, "depths seeds"] | None = None,
    alpha: float | int = 0.0,
    method: str = "ols",
    offset: int = 0,
    n_boot: int = 1000,
    seed: int = 0,
) -> ScalingReport:
    """The regime from statistics that are there already.

    Args:
        depths: strictly increasing.
        statistics: those of `scaling_statistics` with factor 0, each (depths, seeds), NaN for a seed that is missing.
        delta: shared multipliers |δ| (depths, seeds).
        alpha: what multiplies every layer besides, L^-alpha.
        method, offset, n_boot, seed: see `fit_exponent`.

    Raises:
        ValueError: fewer than 4 depths, or what `fit_exponent` refuses.
    """
    check_enough(len(depths))
    values = dict(statistics)
    # L^β max ‖ΔA‖ with β = -slope of max ‖A‖, without the uncertainty of β in its interval.
    with np.errstate(invalid="ignore", divide="ignore"):  # weights that are all zero are refused by name below
        values["scaled_increment"] = values["scaled_increment"] / values["max_norm"]
    if delta is not None:
        values["delta"] = delta
    fit = partial(fit_exponent, depths, method=method, offset=offset, n_boot=n_boot, seed=seed)
    slopes = {name: fit(values[name], name=name) for name in (*STATISTICS, "delta") if name in values}
    regime, evidence, reason = decide(slopes)
    return ScalingReport(
        regime=regime,
        alpha=float(alpha) - (slopes["delta"].slope if "delta" in slopes else 0.0),
        beta=-slopes["max_norm"].slope,
        beta_cumsum=1 - slopes["cumsum_norm"].slope,
        hurst=-slopes["rms"].slope,
        slopes=slopes,
        evidence=evidence,
        reason=reason,
        depths=tuple(int(depth) for depth in depths),
        seeds=int(np.sum(~np.isnan(values["rms"]), axis=1).max()),
    )


def decide(slopes: Mapping[str, Fit]) -> tuple[str, tuple[Evidence, ...], str]:
    """Regime, the questions that led to it, and the reason in words."""

    def below(question: str, name: str, threshold: float, yes_below: bool = True) -> Evidence:
        fit = slopes[name]
        yes = fit.slope < threshold if yes_below else fit.slope > threshold
        return Evidence(question, fit.slope, threshold, abs(fit.slope - threshold), bool(yes), fit.p_value(threshold))

    increments = below("do increments vanish relative to the norm?", "scaled_increment", SMOOTH_BELOW)
    if increments.yes:
        return "smooth", (increments,), f"increments fall relative to the norm, slope {increments.value:+.2f} < -0.4"
    share = below("do fewer and fewer layers carry the norm?", "participation", SPARSE_PARTICIPATION_BELOW)
    largest = below("does the largest norm stay?", "max_norm", SPARSE_NORM_ABOVE, yes_below=False)
    asked = (increments, share, largest)
    if share.yes and largest.yes:
        reason = (
            f"the share of active layers falls (slope {share.value:+.2f} < -0.5) while the largest norm stays "
            f"(slope {largest.value:+.2f} > -0.15)"
        )
        return "sparse", asked, reason
    rms = slopes["rms"]
    hurst, within = -rms.slope, max(DIFFUSIVE_WITHIN, 2 * rms.se)
    deviation = abs(hurst - 0.5)
    half = Evidence(
        "is the RMS exponent 1/2?", hurst, 0.5, abs(within - deviation), bool(deviation <= within), rms.p_value(-0.5)
    )
    start = f"increments do not vanish (slope {increments.value:+.2f}), and the RMS exponent {hurst:.2f}"
    if half.yes:
        return "diffusive", (*asked, half), f"{start} is 1/2 within {within:.2f}"
    return "rough", (*asked, half), f"{start} is not 1/2 within {within:.2f}"


def check_enough(depths: int) -> None:
    """Whether there are depths enough to classify.

    Raises:
        ValueError: fewer than 4.
    """
    if depths < MIN_DEPTHS:
        raise ValueError(f"{depths} depths with converged networks; at least {MIN_DEPTHS} are needed to classify")


@lru_cache(maxsize=16)
def _program(norm: Norm, scaled: bool):
    """Statistics over a leading axis of seeds, compiled once for each shape."""
    if scaled:
        return jax.jit(jax.vmap(lambda stack, delta: scaling_statistics(stack, norm=norm, delta=delta)))
    return jax.jit(jax.vmap(lambda stack: scaling_statistics(stack, norm=norm)))


def seed_statistics(
    stack: Float[np.ndarray, "seeds depth ..."] | Float[jax.Array, "seeds depth ..."],
    delta: Float[np.ndarray, "seeds depth"] | None = None,
    norm: Norm = "fro",
) -> dict[str, Float[np.ndarray, " seeds"]]:
    """`scaling_statistics` of each seed, as float64 on the host.

    Raises:
        ValueError: weights that are not finite.
    """
    if not np.isfinite(np.asarray(stack)).all():
        raise ValueError(
            f"weights at depth {stack.shape[1]} are not finite; leave out networks that diverged before classifying"
        )
    given = (stack,) if delta is None else (stack, delta)
    found = _program(norm, delta is not None)(*given)
    return {name: np.asarray(value, float) for name, value in found.items()}


def _padded(rows: list[np.ndarray]) -> Float[np.ndarray, "depths seeds"]:
    """Rows of different lengths as one table, with NaN where a depth has fewer seeds."""
    table = np.full((len(rows), max(len(row) for row in rows)), np.nan)
    for line, row in zip(table, rows):
        line[: len(row)] = row
    return table


def _multipliers(
    stacks: dict[int, np.ndarray], delta: ByDepth | None
) -> tuple[dict[int, np.ndarray] | None, dict[int, np.ndarray] | None]:
    """|δ| of each seed by depth where one number multiplies all layers; δ_k (seeds, L) by depth otherwise."""
    if delta is None:
        return None, None
    given = list(delta.values() if isinstance(delta, Mapping) else delta)
    if len(given) != len(stacks):
        raise ValueError(f"delta is given for {len(given)} depths and weights for {len(stacks)}")
    shared, factors = {}, {}
    for (depth, stack), one in zip(stacks.items(), given):
        array = np.asarray(one, float)
        seeds = stack.shape[0]
        if array.size == 1 or array.shape == (seeds, 1):
            shared[depth] = np.broadcast_to(np.abs(array.reshape(-1)), (seeds,))
        elif array.shape in ((depth,), (seeds, depth)):
            factors[depth] = np.broadcast_to(array, (seeds, depth))
        else:
            raise ValueError(
                f"delta at depth {depth} has shape {array.shape}; (1,) or ({depth},) is needed, "
                f"or with {seeds} seeds ({seeds}, 1) or ({seeds}, {depth})"
            )
    if shared and factors:
        raise ValueError("delta has one number for some depths and one for each layer for others")
    return shared or None, factors or None


def _of_sweep(sweep: SweepResult) -> tuple[float, dict[int, np.ndarray], dict[int, np.ndarray] | None]:
    """What multiplies besides (alpha), and weights and multipliers of the members that did not diverge."""
    if len(sweep.config.rates) > 1:
        raise ValueError(f"the sweep has {len(sweep.config.rates)} learning rates; classify a sweep of one")
    weights, delta = {}, {}
    left_out = []
    for depth, params in sweep.params.items():
        kept = ~np.asarray(sweep.diverged[depth]).reshape(-1)
        if not kept.all():
            left_out.append(f"{int((~kept).sum())} at depth {depth}")
        if kept.any():
            weights[depth] = np.asarray(params.A)[kept]
            delta[depth] = np.asarray(params.delta)[kept]
    if left_out:
        warnings.warn(f"networks that diverged are left out: {', '.join(left_out)}", stacklevel=3)
    if not weights:
        check_enough(0)
    kind = delta_kind(sweep.config.delta)
    has_delta = kind in ("shared", "multi")
    return float(sweep.config.alpha or 0.0), weights, delta if has_delta else None
