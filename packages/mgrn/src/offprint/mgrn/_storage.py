"""A fitted estimator in a folder: written whole or not at all, read without running anything from it."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

FORMAT = 1
"""Of the folder; raised when older programs can't read what is written."""


def write_fitted(path: Path, config: dict[str, Any], weights: PyTree, *, overwrite: bool = False) -> None:
    """Write JSON-able settings and a nested dictionary of arrays to a new folder.

    Raises:
        FileExistsError: there is something already, and `overwrite` is false.
    """
    import orbax.checkpoint as ocp  # here, because it takes longer to import than all the rest

    folder = path.absolute()
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another folder, or pass overwrite=True to replace it")
    fresh = folder.with_name(f".{folder.name}.new")
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        arguments = ocp.args.Composite(
            weights=ocp.args.StandardSave(weights), config=ocp.args.JsonSave({"format": FORMAT, **_plain(config)})
        )
        checkpointer.save(fresh, args=arguments, force=True)
    if folder.exists():
        shutil.rmtree(folder)
    fresh.rename(folder)


def read_config(path: Path) -> dict[str, Any]:
    """The settings in the folder.

    Raises:
        FileNotFoundError: there is no folder.
        ValueError: it holds no saved estimator, or one of a newer format.
    """
    import orbax.checkpoint as ocp

    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not there; save() of a fitted estimator writes such a folder")
    try:
        config = _restore(path, config=ocp.args.JsonRestore())["config"]
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path} holds no saved estimator") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError(f"{path} holds no saved estimator of format {FORMAT}, which this version reads")
    return config


def read_weights(path: Path, template: PyTree) -> PyTree:
    """The arrays in the folder, in the structure, shapes and dtypes of `template`.

    Raises:
        ValueError: they are of another model, or cannot be read.
    """
    import orbax.checkpoint as ocp

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), template)
    try:
        return _restore(path, weights=ocp.args.StandardRestore(shapes))["weights"]
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"the weights in {path} are damaged or of another model") from error


def _restore(path: Path, **items: Any) -> Any:
    import orbax.checkpoint as ocp

    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        return checkpointer.restore(path.absolute(), args=ocp.args.Composite(**items))


def _plain(value: Any) -> Any:
    """Tuples, NumPy numbers and arrays as what JSON has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    return value
