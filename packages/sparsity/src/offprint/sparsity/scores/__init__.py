"""Criteria: which weights, units or heads matter. Scores are trees like params, high = keep.

From the weights alone: `magnitude`, `lamp`, `random`, `synflow`, `fpgm`. From gradients: `taylor`, `taylor_unit`,
`snip`, `grasp`, `movement`, `sensitivity`, `head_importance`. From curvature: `obd` with one of the diagonals
`hessian_diag`, `hutchinson`, `gauss_newton_diag`, `fisher_diag`; `adam`. From activations: `taylor_activation`,
`apoz`, `activation_variance`, `correlation`. `make_masks` turns scores into masks, `group` into scores of units.
"""

from offprint.sparsity.scores._activations import (
    activation_mean,
    activation_variance,
    apoz,
    correlation,
    fold_mean,
    linear_fit,
    merge_units,
)
from offprint.sparsity.scores._connection import grasp, snip
from offprint.sparsity.scores._geometry import fpgm, group
from offprint.sparsity.scores._hessian import (
    adam,
    fisher_diag,
    fisher_diag_dense,
    gauss_newton_diag,
    hessian_diag,
    hutchinson,
    obd,
)
from offprint.sparsity.scores._magnitude import lamp, magnitude, random, std_threshold
from offprint.sparsity.scores._synflow import synflow
from offprint.sparsity.scores._taylor import (
    gate_importance,
    head_importance,
    spread,
    taylor,
    taylor_activation,
    taylor_unit,
)
from offprint.sparsity.scores._training import (
    movement,
    sensitivity,
    sensitivity_decay,
    soft_movement_masks,
    soft_movement_penalty,
)

__all__ = [
    "activation_mean",
    "activation_variance",
    "adam",
    "apoz",
    "correlation",
    "fisher_diag",
    "fisher_diag_dense",
    "fold_mean",
    "fpgm",
    "gate_importance",
    "gauss_newton_diag",
    "grasp",
    "group",
    "head_importance",
    "hessian_diag",
    "hutchinson",
    "lamp",
    "linear_fit",
    "magnitude",
    "merge_units",
    "movement",
    "obd",
    "random",
    "sensitivity",
    "sensitivity_decay",
    "snip",
    "soft_movement_masks",
    "soft_movement_penalty",
    "spread",
    "std_threshold",
    "synflow",
    "taylor",
    "taylor_activation",
    "taylor_unit",
]
