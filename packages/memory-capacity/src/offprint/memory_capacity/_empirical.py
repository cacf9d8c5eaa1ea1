"""Memory measured from samples: capacities of past (or future) inputs, with honest statistics.

The capacity at lag k is the share of the variance of z_{t-k} that the best affine readout of x_t explains
(Jaeger 2001). Estimated on the same T samples that the readout is fitted to, it is biased upwards by about
r/T for r independent states: the floor that makes totals grow with every lag that is added (Ballarin,
Grigoryeva and Ortega 2024, Figure 1). The estimators here differ in what they do about it.
"""

import warnings
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._bootstrap import total_standard_error
from offprint.memory_capacity._hypotheses import check_hypotheses
from offprint.memory_capacity._network import MeaningWarning
from offprint.memory_capacity._null import beta_threshold
from offprint.memory_capacity._samples import (
    SOLVERS,
    Basis,
    Solver,
    check_full_rank,
    lagged_products,
    lagged_variation,
    orthonormal_basis,
)

Estimator = Literal["adjusted", "insample", "heldout", "official", "ridge"] | str
ESTIMATORS = ("adjusted", "insample", "heldout", "official", "ridge")
BIASED = ("insample", "official", "ridge")

_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class EmpiricalCurve(NamedTuple):
    """Capacities of M lags, estimated from samples."""

    values: Float[Array, "lags"]
    """The estimate at each lag; "adjusted" and "heldout" scatter around zero where there is no memory."""
    lags: Int[Array, "lags"]
    """The lags, negative for steps ahead."""
    total: Float[Array, ""]
    """Sum of the values over the significant lags; over all lags where `null=None`."""
    se: Float[Array, ""]
    """Standard error of `total` for the lags that it sums, by block bootstrap; NaN if not asked for."""
    floor: Float[Array, ""]
    """Expected in-sample capacity of an unrelated target, r/(T-1) (r/T without centring)."""
    threshold: Float[Array, ""]
    """The in-sample capacity above which a lag is significant."""
    significant: Bool[Array, "lags"]
    rank: Int[Array, ""]
    """Number r of independent directions of the states."""
    n_samples: int | Array
    """How many samples of the states were used, T."""
    condition: Float[Array, ""]
    """Condition number of the (centred) states; infinite when they are rank deficient."""


def empirical_memory_curve(
    states: ArrayLike,
    inputs: ArrayLike,
    n_lags: int,
    *,
    estimator: Estimator = "adjusted",
    solver: Solver | None = None,
    null: Literal["beta", "surrogate"] | str | None = "beta",
    p: float = 1e-4,
    min_lag: int = 0,
    washout: int | None = None,
    alpha: float | Float[Array, ""] = 0.0,
    test_fraction: float = 0.2,
    score: Literal["r2", "corr2"] | str = "r2",
    rank_tol: float | None = None,
    n_bootstrap: int = 0,
    n_surrogates: int = 20,
    key: PRNGKeyArray | None = None,
    check: bool = True,
) -> EmpiricalCurve:
    """Memory curve at lags min_lag, ..., min_lag + n_lags - 1 from states (T, N) and the inputs (T,).

    Row t of the states is the state that input t drove; both are without the simulation's washout. The
    first `washout` rows (default: the largest lag) serve only as history, so that every lag is estimated
    from the same rows: a fixed window. All lags are computed together, O(N T log T) after one O(T N^2)
    factorisation. For several input channels use `jax.vmap` over them.

    `estimator`:
    - "adjusted": in-sample, corrected for the floor by 1 - (1-c)(T-1)/(T-r-1). Unbiased where c = 0.
    - "insample": squared multiple correlation c = ‖Qᵀy‖²/‖y‖².
    - "heldout": fitted to the first rows (ridge `alpha`), scored on the last `test_fraction` of them by
      `score`: "r2", 1 - MSE/variance, or "corr2", the squared correlation that reservoir libraries use.
    - "ridge": in-sample 1 - MSE/variance of a readout with penalty alpha ‖w‖² added to the sum of squares.
    - "official": the naive sample estimator of Ballarin et al.'s scripts: nothing is centred, lag k has the
      T - k terms that are there but is divided by the same sums as lag 0, v_kᵀ(G + alpha I)⁻¹v_k / g. It
      uses all rows (`washout` has to be None) and shrinks long lags by about (1 - k/T)².

    `solver`: "svd" (default), "qr", "cholesky", "pinv" (of the Gram matrix); for "official" also "lu", the
    direct solve of the scripts, which is its default. See `orthonormal_basis`. `rank_tol`: singular values
    of the states below this times the largest are cut.

    `null`: "beta" compares with the law of the in-sample capacity of an unrelated target, at level `p`;
    "surrogate" with the in-sample capacities of `n_surrogates` shuffles of the input (needs `key`), pooled
    over lags; None tests nothing. `n_bootstrap` > 0 asks for the standard error (needs `key`).
    `check` tests the input and the states (`check_hypotheses`) when they are concrete.

    Returns an `EmpiricalCurve`. Raises `ValueError` for mismatched or transposed arrays, a constant input,
    n_lags >= T, no more samples than neurons, unknown options, rank-deficient states with "qr" or
    "cholesky". Warns when the finite-sample floor is more than 10 % of a biased estimate's sum.
    """
    X, z = arguments.samples(states, inputs)
    n_lags, min_lag = arguments.count("n_lags", n_lags), arguments.count("min_lag", min_lag, least=0)
    arguments.one_of("estimator", estimator, ESTIMATORS)
    first = _history(X.shape[0], n_lags + min_lag - 1, washout, estimator)
    options = _Options(
        estimator,
        solver or ("lu" if estimator == "official" else "svd"),
        null,
        float(p),
        first,
        X.shape[0] - first,
        min_lag,
        n_lags,
        float(test_fraction),
        score,
        rank_tol,
        n_bootstrap,
        n_surrogates,
    )
    return _estimate(X, z, options, jnp.asarray(alpha, X.dtype), key, check)


def forecasting_capacity(
    states: ArrayLike,
    inputs: ArrayLike,
    n_ahead: int,
    *,
    estimator: Literal["adjusted", "insample", "heldout", "ridge"] | str = "adjusted",
    solver: Solver | None = None,
    null: Literal["beta", "surrogate"] | str | None = "beta",
    p: float = 1e-4,
    alpha: float | Float[Array, ""] = 0.0,
    test_fraction: float = 0.2,
    score: Literal["r2", "corr2"] | str = "r2",
    rank_tol: float | None = None,
    n_bootstrap: int = 0,
    n_surrogates: int = 20,
    key: PRNGKeyArray | None = None,
) -> EmpiricalCurve:
    """Capacities of the future inputs z_{t+h}, h = 1, ..., n_ahead (Gonon, Grigoryeva and Ortega 2020).

    Zero for an independent input; for a dependent one see `dependent_memory` for the theory. Arguments,
    result and errors as in `empirical_memory_curve`; `values[h - 1]` is h steps ahead and `lags` is -h.
    """
    X, z = arguments.samples(states, inputs)
    n_ahead = arguments.count("n_ahead", n_ahead)
    arguments.one_of("estimator", estimator, [name for name in ESTIMATORS if name != "official"])
    if n_ahead >= X.shape[0]:
        raise ValueError(f"n_ahead={n_ahead} needs more samples than the {X.shape[0]} that there are.")
    options = _Options(
        estimator,
        solver or "svd",
        null,
        float(p),
        0,
        X.shape[0] - n_ahead,
        -n_ahead,
        n_ahead,
        float(test_fraction),
        score,
        rank_tol,
        n_bootstrap,
        n_surrogates,
    )
    curve = _estimate(X, z, options, jnp.asarray(alpha, X.dtype), key, check=False)
    return curve._replace(values=curve.values[::-1], lags=curve.lags[::-1], significant=curve.significant[::-1])


class _Options(NamedTuple):
    """What the estimate is compiled for."""

    estimator: str
    solver: str
    null: str | None
    p: float
    first: int
    window: int
    min_lag: int
    n_lags: int
    test_fraction: float
    score: str
    rank_tol: float | None
    n_bootstrap: int
    n_surrogates: int


def _history(n_samples: int, largest_lag: int, washout: int | None, estimator: str) -> int:
    """How many first rows are history only."""
    if largest_lag >= n_samples:
        raise ValueError(
            f"the largest lag is {largest_lag} and there are {n_samples} samples; "
            "n_lags (plus min_lag) has to be below the number of samples."
        )
    if estimator == "official":
        if washout is not None:
            raise ValueError("estimator='official' uses all samples with a shrinking window; washout has to be None.")
        return 0
    first = largest_lag if washout is None else arguments.count("washout", washout, least=0)
    if first >= n_samples:
        raise ValueError(f"washout={first} uses up all of the {n_samples} samples.")
    if first < largest_lag:
        raise ValueError(
            f"the largest lag is {largest_lag} and washout={first}: the first targets are not in the data. "
            "washout has to be at least the largest lag."
        )
    return first


def _estimate(
    X: Float[Array, "T N"],
    z: Float[Array, "T"],
    options: _Options,
    alpha: Float[Array, ""],
    key: PRNGKeyArray | None,
    check: bool,
) -> EmpiricalCurve:
    official = options.estimator == "official"
    arguments.one_of("solver", options.solver, (*SOLVERS, "lu") if official else SOLVERS)
    arguments.one_of("score", options.score, ("r2", "corr2"))
    if options.null is not None:
        arguments.one_of("null", options.null, ("beta", "surrogate"))
    arguments.fraction("p", options.p)
    if not 0 < options.test_fraction < 1:
        raise ValueError(f"test_fraction={options.test_fraction}; a number between 0 and 1 is needed.")
    if key is None and (options.n_bootstrap or options.null == "surrogate"):
        raise ValueError("the bootstrap and null='surrogate' draw at random: pass key=jax.random.key(seed).")
    fitted = _split(options) if options.estimator == "heldout" else options.window
    arguments.enough_samples(fitted, X.shape[1], X.shape[0] - fitted)
    if check and arguments.is_concrete(X, z):
        check_hypotheses(X, z)
    curve, basis = _estimate_jitted(X, z, alpha, key, options)
    check_full_rank(basis, options.solver)
    if arguments.is_concrete(curve.values) and options.estimator in BIASED:
        _warn_of_floor(curve, options)
    return curve


def _split(options: _Options) -> int:
    return max(1, round(options.window * (1 - options.test_fraction)))


@partial(jax.jit, static_argnames="options")
def _estimate_jitted(
    X: Float[Array, "T N"],
    z: Float[Array, "T"],
    alpha: Float[Array, ""],
    key: PRNGKeyArray | None,
    options: _Options,
) -> tuple[EmpiricalCurve, Basis]:
    rows = X[options.first : options.first + options.window]
    centred = options.estimator != "official"
    n_samples = options.window if options.estimator != "heldout" else _split(options)
    basis = orthonormal_basis(
        rows[:n_samples], "svd" if options.solver == "lu" else options.solver, options.rank_tol, centred
    )
    degrees = n_samples - int(centred)
    products = lagged_products(basis.columns, z, options.first, options.min_lag, options.n_lags)
    if options.estimator == "official":
        insample = values = _official(basis, rows, z, products, alpha, options)
    else:
        variation = lagged_variation(z, options.first, n_samples, options.min_lag, options.n_lags)[1]
        insample = jnp.sum(products**2, axis=1) / variation
        values = {
            "insample": lambda: insample,
            "adjusted": lambda: 1 - (1 - insample) * degrees / (degrees - basis.rank),
            "ridge": lambda: _explained(products, _shrink(basis, products, alpha)) / variation,
            "heldout": lambda: _heldout(basis, rows[n_samples:], z, products, alpha, options),
        }[options.estimator]()
    draws, resample = (None, None) if key is None else jax.random.split(key)
    threshold = _threshold(basis, z, n_samples, options, draws)
    significant = insample > threshold if options.null else jnp.ones(options.n_lags, bool)
    se = jnp.asarray(jnp.nan, values.dtype)
    if options.n_bootstrap and resample is not None:
        se = total_standard_error(
            resample, basis.columns, z, significant, basis.rank,
            options.first, options.min_lag, options.n_bootstrap,
        )  # fmt: skip
        if options.estimator in BIASED:
            se = se * (1 - basis.rank / degrees)
    smallest = basis.scales.min()
    curve = EmpiricalCurve(
        values=values,
        lags=options.min_lag + jnp.arange(options.n_lags),
        total=jnp.sum(jnp.where(significant, values, 0)),
        se=se,
        floor=(basis.rank / degrees).astype(values.dtype),
        threshold=threshold.astype(values.dtype),
        significant=significant,
        rank=basis.rank,
        n_samples=n_samples,
        condition=jnp.where(smallest > 0, basis.scales.max() / smallest, jnp.inf),
    )
    return curve, basis


def _official(
    basis: Basis,
    X: Float[Array, "T N"],
    z: Float[Array, "T"],
    products: Float[Array, "lags N"],
    alpha: Float[Array, ""],
    options: _Options,
) -> Float[Array, "lags"]:
    """v_kᵀ (G + alpha I)⁻¹ v_k / g, with v_k = sum_{t >= k} x_t z_{t-k}, G = sum x xᵀ, g = sum z²."""
    power = jnp.sum(z**2)
    if options.solver != "lu":
        return jnp.sum(products * _shrink(basis, products, alpha), axis=1) / power
    v = lagged_products(X, z, options.first, options.min_lag, options.n_lags).T
    G = _matmul(X.T, X) + alpha * jnp.eye(X.shape[1], dtype=X.dtype)
    return jnp.sum(v * jnp.linalg.solve(G, v), axis=0) / power


def _shrink(basis: Basis, products: Float[Array, "lags N"], alpha: Float[Array, ""]) -> Float[Array, "lags N"]:
    """Ridge readouts in the orthonormal basis: the penalty alpha ‖w‖² is alpha ‖transform a‖² there."""
    penalty = alpha * _matmul(basis.transform.T, basis.transform)
    identity = jnp.eye(penalty.shape[0], dtype=penalty.dtype)
    return jax.scipy.linalg.solve(identity + penalty, products.T, assume_a="pos").T


def _explained(products: Float[Array, "lags N"], readout: Float[Array, "lags N"]) -> Float[Array, "lags"]:
    """Sum of squares that readouts explain of their targets."""
    return jnp.sum(readout * (2 * products - readout), axis=1)


def _heldout(
    basis: Basis,
    rows: Float[Array, "test N"],
    z: Float[Array, "T"],
    products: Float[Array, "lags N"],
    alpha: Float[Array, ""],
    options: _Options,
) -> Float[Array, "lags"]:
    """Score of the fitted readouts on later rows, from second moments: no prediction is stored."""
    n_test, n_train = rows.shape[0], options.window - rows.shape[0]
    first, lags = options.first + n_train, (options.min_lag, options.n_lags)
    readout = _shrink(basis, products, alpha)
    Q = _matmul(rows - basis.mean, basis.transform)
    train_sum, _ = lagged_variation(z, options.first, n_train, *lags)
    test_sum, variation = lagged_variation(z, first, n_test, *lags)
    centre = Q.mean(axis=0)
    Qc = Q - centre
    with_target = jnp.sum(readout * lagged_products(Qc, z, first, *lags), axis=1)
    spread = jnp.sum(_matmul(readout, _matmul(Qc.T, Qc)) * readout, axis=1)
    if options.score == "corr2":
        return jnp.where(spread > 0, with_target**2 / (jnp.where(spread > 0, spread, 1) * variation), 0)
    bias = _matmul(readout, centre) + train_sum / n_train - test_sum / n_test
    return (2 * with_target - spread - n_test * bias**2) / variation


def _threshold(
    basis: Basis, z: Float[Array, "T"], n_samples: int, options: _Options, key: PRNGKeyArray | None
) -> Float[Array, ""]:
    if options.null is None:
        return jnp.asarray(-jnp.inf)
    if options.null == "beta" or key is None:
        # Without centring there is one degree of freedom more.
        return beta_threshold(basis.rank, n_samples + int(options.estimator == "official"), options.p)

    def unrelated(key: PRNGKeyArray) -> Array:
        shuffled = jax.random.permutation(key, z)
        products = lagged_products(basis.columns, shuffled, options.first, options.min_lag, options.n_lags)
        if options.estimator == "official":
            return jnp.sum(products**2, axis=1) / jnp.sum(z**2)
        variation = lagged_variation(shuffled, options.first, n_samples, options.min_lag, options.n_lags)[1]
        return jnp.sum(products**2, axis=1) / variation

    pooled = jax.lax.map(unrelated, jax.random.split(key, options.n_surrogates))
    return jnp.quantile(pooled, 1 - options.p, method="higher")


def _warn_of_floor(curve: EmpiricalCurve, options: _Options) -> None:
    floor, total = options.n_lags * float(curve.floor), float(jnp.sum(curve.values))
    if floor > 0.1 * total:
        warnings.warn(
            f"estimate dominated by finite-sample floor: {options.n_lags} lags times r/T = {float(curve.floor):.2g} "
            f"is {floor:.3g} of a sum of {total:.3g}. Use estimator='adjusted', more samples or fewer lags.",
            MeaningWarning,
            stacklevel=4,
        )
