"""Published results: the tables in datasets/, whose README says where the numbers are from."""

from importlib.resources import as_file, files

import numpy as np

from offprint.core.data import load_csv

Table = dict[str, np.ndarray]


def resnet50_runs(method: str | None = None) -> Table:
    """ResNet-50 on ImageNet, every run of Gale, Elsen and Hooker (2019): `method`, `sparsity`, `top1` (percent).

    Args:
        method: only the runs of "magnitude", "random", "variational dropout", "L0" or "dense".

    Raises:
        ValueError: there is no such method.
    """
    table = _table("resnet50_runs.csv")
    if method is None:
        return table
    chosen = table["method"] == method
    if not chosen.any():
        there = ", ".join(dict.fromkeys(table["method"].tolist()))
        raise ValueError(f"no runs of {method!r} are published here; there are runs of {there}")
    return {name: column[chosen] for name, column in table.items()}


def rigl_table() -> Table:
    """RigL (Evci et al., 2020) on ImageNet: ResNet-50 and MobileNet-v1.

    `train_flops` and `infer_flops` are relative to the dense network; `training_length` is a multiple of the usual one.
    """
    return _table("rigl.csv")


def str_table() -> Table:
    """STR (Kusupati et al., 2020) on ImageNet: `mparams`, `sparsity`, `top1` and `mmacs` (multiply-adds, 10^6)."""
    return _table("str.csv")


def jaxpruner_table() -> Table:
    """The results that jaxpruner (Lee et al., 2023) publishes: a row for each task, a column for each algorithm."""
    return _table("jaxpruner.csv")


def resnet50_layers() -> Table:
    """The 54 layers of ResNet-50: `layer`, `params`, `macs` at 224x224, and the sparsity that methods give them.

    The columns `uniform`, `erk`, `snfs`, `variational_dropout`, `global_magnitude` and `str_90.23` are at about 90 % of
    the network; the other `str_<percent>` at the sparsity that they name (Kusupati et al., 2020).
    """
    return _table("resnet50_layers.csv")


def survey81() -> Table:
    """551 results of 81 papers (Blalock et al., 2020); accuracies in percent, kept shares of 1, NaN where not given."""
    return _table("survey81.csv")


def dense_models() -> Table:
    """Dense ImageNet models by accuracy: `model`, `top1`, `top5`, `mparams` (10^6) and `gmacs` (10^9)."""
    return _table("dense_models.csv")


def _table(name: str) -> Table:
    with as_file(files("offprint.sparsity") / "datasets" / name) as path:
        return load_csv(path)
