"""What a sparse network is worth: accuracy per parameter.

The survey (hoefler2021sparsity) defines a parameter efficiency whose exact formula we could not check; none of the
functions here claims to be it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array

Numbers = Array | np.ndarray | Sequence[float | int] | float | int


def accuracy_density(acc_percent: Numbers, params_millions: Numbers) -> np.ndarray | np.float64:
    """Accuracy in percent per million parameters (Bianco et al. 2018); for sparse networks give the non-zero ones."""
    return np.asarray(acc_percent, np.float64) / np.asarray(params_millions, np.float64)


def correct_per_parameter(n_correct: Numbers, nnz: Numbers) -> np.ndarray | np.float64:
    """Correct test predictions per non-zero parameter."""
    return np.asarray(n_correct, np.float64) / np.asarray(nnz, np.float64)


def weighted_correct_per_parameter(
    correct: Array | np.ndarray, hardness: Array | np.ndarray, nnz: float | int
) -> float:
    """Like `correct_per_parameter` with each example counted by its hardness, relative to the mean hardness.

    Args:
        correct: (N,) booleans or 0/1.
        hardness: (N,) non-negative, such as the share of reference models that get the example wrong.
        nnz: non-zero parameters.

    Raises:
        ValueError: different lengths, negative hardness, or none that is positive.
    """
    right, weight = np.asarray(correct, np.float64), np.asarray(hardness, np.float64)
    if right.ndim != 1 or right.shape != weight.shape:
        raise ValueError(f"correct and hardness must have one entry per example; got {right.shape} and {weight.shape}")
    if (weight < 0).any() or not weight.any():
        raise ValueError("hardness must be non-negative, and positive for some example")
    return float((right * weight).sum() / weight.mean() / nnz)


def parameter_slack(
    sparsity: Numbers, metric: Numbers, dense: float | int, eps: float | int, *, lower_is_better: bool = False
) -> float:
    """The largest sparsity at which a measured curve is within `eps` of the dense metric.

    Between measured points, and from the dense one at sparsity 0, the curve is linear; beyond the last it ends.

    Args:
        sparsity: (K,) in [0, 1), in any order.
        metric: (K,) accuracies, or with `lower_is_better` errors or losses.
        dense: metric of the dense network.
        eps: allowed loss, non-negative.

    Raises:
        ValueError: different lengths, no points, a sparsity outside [0, 1) or twice, eps < 0.
    """
    s, y = np.asarray(sparsity, np.float64), np.asarray(metric, np.float64)
    if s.ndim != 1 or s.shape != y.shape or not s.size:
        raise ValueError(f"sparsity and metric must be equally long lists; got shapes {s.shape} and {y.shape}")
    if ((s < 0) | (s >= 1)).any() or np.unique(s).size != s.size:
        raise ValueError(f"sparsities must be distinct and in [0, 1); got {s.tolist()}")
    if eps < 0:
        raise ValueError(f"eps must not be negative; got {eps}")
    loss = (y - dense) if lower_is_better else (dense - y)
    order = np.argsort(s)
    s, loss = s[order], loss[order]
    if s[0] > 0:
        s, loss = np.append(0.0, s), np.append(0.0, loss)
    good = np.flatnonzero(loss <= eps)
    if not good.size:
        return float("nan")
    i = good[-1]
    if i == len(s) - 1:
        return float(s[i])
    return float(s[i] + (s[i + 1] - s[i]) * (eps - loss[i]) / (loss[i + 1] - loss[i]))


def dense_equivalent(acc: Numbers, nnz: Numbers, dense_params: Numbers, dense_acc: Numbers) -> np.ndarray | np.float64:
    """Parameters that a dense reference family needs for the same accuracy, over the non-zero ones of a sparse network.

    Above 1 the sparse network makes more of its parameters. Log-linear interpolation in the table of the family; a
    member that another one beats with fewer parameters is left out.

    Args:
        acc: accuracy of the sparse networks.
        nnz: their non-zero parameters.
        dense_params: (K,) sizes of the members of the family.
        dense_acc: (K,) their accuracies.

    Returns:
        The ratio, of the broadcast shape of `acc` and `nnz`; NaN for accuracies outside the table.

    Raises:
        ValueError: a table of unequal lengths or of fewer than two useful members.
    """
    size, y = np.asarray(dense_params, np.float64), np.asarray(dense_acc, np.float64)
    if size.ndim != 1 or size.shape != y.shape:
        raise ValueError(f"dense_params and dense_acc must be equally long lists; got {size.shape} and {y.shape}")
    order = np.lexsort((-y, size))
    size, y = size[order], y[order]
    best = np.maximum.accumulate(y)
    useful = np.append(True, y[1:] > best[:-1])
    if useful.sum() < 2:
        raise ValueError("the family needs at least two members of which the larger is the better")
    needed = np.interp(np.asarray(acc, np.float64), y[useful], np.log(size[useful]), left=np.nan, right=np.nan)
    return np.exp(needed) / np.asarray(nnz, np.float64)
