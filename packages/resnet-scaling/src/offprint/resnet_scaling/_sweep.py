"""The paper's depth sweep: networks of growing depth, trained from several seeds until the loss is small."""

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import jax.numpy as jnp

from offprint.resnet_scaling._depth_run import first_order, train_depth
from offprint.resnet_scaling._sweep_config import SweepConfig
from offprint.resnet_scaling._sweep_files import SweepFolder
from offprint.resnet_scaling._sweep_result import DepthRecord, SweepResult
from offprint.resnet_scaling._train import TrainTest


def train_sweep(
    config: SweepConfig,
    data: TrainTest,
    depths: Sequence[int],
    seeds: Sequence[int],
    *,
    folder: str | Path | None = None,
    progress: Callable[[DepthRecord], None] | None = None,
) -> SweepResult:
    """Train a network of every depth from every seed (and with every learning rate), all members of a depth at once.

    A member stops when the mean loss of its epoch is below epsilon, after five epochs in a row without an improvement
    of 1 % on the best, or after `num_epochs`; as in the official code, the epoch is counted before epsilon is tested.

    Args:
        config: settings.
        data: training and test examples (samples, d), inputs and targets of the same width.
        depths: strictly increasing.
        seeds: whole numbers; the parameters of a depth, and the order of its batches, depend on seed and depth alone
            (with shuffle="official", on the depths before as well, as in the official code).
        folder: where finished depths, and at times the one in progress, are saved. The same call made again goes on
            from there and gives the same result to the last bit.
        progress: called with the record of every depth that is done.

    Raises:
        ValueError: depths, seeds or data that cannot be used, or a folder of another sweep.

    Warns:
        UserWarning: members diverged.
    """
    depths, seeds = _checked_runs(depths, seeds)
    data = _checked_data(config, data)
    saved = None if folder is None else SweepFolder(folder, config, data, depths, seeds)
    order = first_order(config, data.x_train.shape[0], seeds)
    records: list[DepthRecord] = []
    for depth in depths:
        found = None if saved is None else saved.finished(depth)
        record, order = found or train_depth(config, data, depth, seeds, order, saved)
        if saved is not None and found is None:
            saved.finish(record, order)
        if record.diverged.any():
            warnings.warn(
                f"depth {depth}: {int(record.diverged.sum())} of {record.diverged.size} members diverged "
                "(loss NaN or infinite); leave them out of fits, or choose a smaller learning rate",
                stacklevel=2,
            )
        records.append(record)
        if progress is not None:
            progress(record)
    return SweepResult(config, seeds, tuple(records))


def _checked_runs(depths: Sequence[int], seeds: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    depths, seeds = tuple(int(depth) for depth in depths), tuple(int(seed) for seed in seeds)
    if not depths or depths[0] < 1 or any(after <= before for before, after in pairwise(depths)):
        raise ValueError(f"depths={depths}; positive whole numbers that strictly increase are needed")
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed < 2**32 for seed in seeds):
        raise ValueError(f"seeds={seeds}; different whole numbers from 0 to 2**32 - 1 are needed")
    return depths, seeds


def _checked_data(config: SweepConfig, data: TrainTest) -> TrainTest:
    """The data on the device, in the floating-point type of the training inputs."""
    x = jnp.asarray(data.x_train)
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.result_type(float)
    arrays = TrainTest(*(jnp.asarray(array, dtype) for array in data))
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays._asdict().items())
    for inputs, targets in ((arrays.x_train, arrays.y_train), (arrays.x_test, arrays.y_test)):
        if inputs.ndim != 2 or inputs.shape != targets.shape or inputs.shape[1:] != x.shape[1:] or not inputs.size:
            raise ValueError(f"the data have shapes {shapes}; (samples, d) with one d, targets as inputs, are needed")
    for name, array in arrays._asdict().items():
        if bad := int(jnp.sum(~jnp.isfinite(array))):
            raise ValueError(f"{name} has {bad} entries that are NaN or infinite")
    if config.batch_size > x.shape[0]:
        raise ValueError(
            f"batch_size={config.batch_size} is more than the {x.shape[0]} training samples; "
            f"use {x.shape[0]} or less, or give more data"
        )
    return arrays
