"""Hyperparameters by gradient, in one training run, without validation data."""

from offprint.network_partitioning._affine import (
    GENERATORS,
    affine_algebra,
    affine_matrices,
    augerino_widths,
    expm3,
    generators,
    half_ranges,
    raw_from_half_ranges,
)
from offprint.network_partitioning._aggregate import Averaged, Loglik, aggregate_logits, averaged, loglik_of
from offprint.network_partitioning._baselines import (
    init_baseline_state,
    make_baseline_step,
    optuna_objective,
    softplus_widths,
    width_penalty,
)
from offprint.network_partitioning._checks import check_hyper_gradient
from offprint.network_partitioning._fit import fit
from offprint.network_partitioning._hyper import (
    AffineAugmentation,
    ConcreteDropout,
    ConcreteMask,
    Hyper,
    LearnedScale,
    concrete,
    split_hyper,
    split_input,
)
from offprint.network_partitioning._independent import Independent, independent
from offprint.network_partitioning._narrow import narrow
from offprint.network_partitioning._objective import (
    Stateful,
    log_marginal,
    nll_matrix,
    out_of_sample_loss,
    partition_loss,
)
from offprint.network_partitioning._optimiser import partitioned
from offprint.network_partitioning._partition import (
    Partition,
    pack,
    partition,
    partition_sizes,
    subnetwork,
    trainable_view,
    unpack,
    whole,
)
from offprint.network_partitioning._proportions import partition_counts
from offprint.network_partitioning._resample import resample, rotate
from offprint.network_partitioning._result import Result
from offprint.network_partitioning._select import Selection, select
from offprint.network_partitioning._shards import ShardedBatch, ShardedBatches, assign_shards, check_shards
from offprint.network_partitioning._train import State, init_state, make_step
from offprint.network_partitioning._upload import upload_fraction

__all__ = [
    "GENERATORS",
    "AffineAugmentation",
    "Averaged",
    "ConcreteDropout",
    "ConcreteMask",
    "Hyper",
    "Independent",
    "LearnedScale",
    "Loglik",
    "Partition",
    "Result",
    "Selection",
    "ShardedBatch",
    "ShardedBatches",
    "State",
    "Stateful",
    "affine_algebra",
    "affine_matrices",
    "aggregate_logits",
    "assign_shards",
    "augerino_widths",
    "averaged",
    "check_hyper_gradient",
    "check_shards",
    "concrete",
    "expm3",
    "fit",
    "generators",
    "half_ranges",
    "independent",
    "init_baseline_state",
    "init_state",
    "log_marginal",
    "loglik_of",
    "make_baseline_step",
    "make_step",
    "narrow",
    "nll_matrix",
    "optuna_objective",
    "out_of_sample_loss",
    "pack",
    "partition",
    "partition_counts",
    "partition_loss",
    "partition_sizes",
    "partitioned",
    "raw_from_half_ranges",
    "resample",
    "rotate",
    "select",
    "softplus_widths",
    "split_hyper",
    "split_input",
    "subnetwork",
    "trainable_view",
    "unpack",
    "upload_fraction",
    "whole",
    "width_penalty",
]
