"""Checkpoints of the command line: flat mappings from paths to arrays, whatever the file."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from offprint.core.program import UsageError
from offprint.sparsity._tree import named_leaves

Flat = dict[str, np.ndarray]
_TURNS = {2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)}  # (out, in, ...) to (..., in, out)


def read_checkpoint(path: Path, torch: bool = False) -> Flat:
    """{path: array} of a .npz or .safetensors file or of a folder that orbax wrote, kernels laid out as (..., in, out).

    Raises:
        UsageError: no such checkpoint, an unknown format, or one that can't be read.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there")
    if path.is_dir():
        flat = _read_orbax(path)
    elif path.suffix == ".npz":
        flat = read_npz(path)
    elif path.suffix == ".safetensors":
        flat = {name.replace(".", "/"): array for name, array in _safetensors().load_file(path).items()}
    else:
        raise UsageError(f"{path} has an unknown format; .npz, .safetensors or a folder of orbax is needed")
    return {name: _turn(name, array) for name, array in flat.items()} if torch else flat


def write_checkpoint(path: Path, flat: Flat, torch: bool = False) -> None:
    """The reverse of `read_checkpoint`."""
    if torch:
        flat = {name: _turn_back(name, array) for name, array in flat.items()}
    if path.suffix == ".npz":
        np.savez(path, **flat)  # type: ignore[arg-type]
    elif path.suffix == ".safetensors":
        arrays = {name.replace("/", "."): np.ascontiguousarray(array) for name, array in flat.items()}
        _safetensors().save_file(arrays, path)
    else:
        import orbax.checkpoint as ocp

        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path.absolute(), nested(flat))


def check_new(path: Path) -> None:
    """Refuse to write over something, in a folder that is not there, or in an unknown format, before any work is done.

    Raises:
        UsageError: one of these.
    """
    if path.suffix not in (".npz", ".safetensors", ""):
        raise UsageError(f"{path} has an unknown format; .npz, .safetensors or a folder for orbax is needed")
    if path.suffix == "" and path.exists():
        raise UsageError(f"{path} is there already; give the name of a new folder")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder of {path} is not there")
    if path.suffix == ".safetensors":
        _safetensors()


def read_npz(path: Path) -> Flat:
    """The arrays of a .npz file. Pickled objects are never loaded."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(f"{path} can't be read: {error}") from None


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a/b": x}` as `{"a": {"b": x}}`."""
    tree: dict[str, Any] = {}
    for path, array in flat.items():
        *folders, name = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise UsageError(f"{path!r} lies below the array {folder!r}")
        place[name] = array
    return tree


def flattened(tree: Any) -> Flat:
    """The reverse of `nested`, for any tree; leaves that are None are left out."""
    return {path: np.asarray(leaf) for path, leaf in named_leaves(tree) if leaf is not None}


def load_function(name: str) -> Any:
    """What `MODULE:FUNCTION` names; modules of the current folder are found.

    Raises:
        UsageError: no such module or function, or another form.
    """
    module, _, function = name.partition(":")
    if not function:
        raise UsageError(f"give the model as MODULE:FUNCTION; got {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{name} can't be imported: {error}") from None


def _read_orbax(path: Path) -> Flat:
    import orbax.checkpoint as ocp

    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return flattened(checkpointer.restore(path.absolute()))
    except Exception as error:
        raise UsageError(f"{path} can't be read as a checkpoint of orbax: {str(error).splitlines()[0]}") from None


def _safetensors() -> Any:
    try:
        return importlib.import_module("safetensors.numpy")
    except ImportError:
        raise UsageError(
            'safetensors is not installed; python -m pip install "offprint-sparsity[safetensors]"'
        ) from None


def _is_kernel(name: str, array: np.ndarray) -> bool:
    return array.ndim in _TURNS and name.rsplit("/", 1)[-1] in ("weight", "kernel")


def _turn(name: str, array: np.ndarray) -> np.ndarray:
    return array.transpose(_TURNS[array.ndim]) if _is_kernel(name, array) else array


def _turn_back(name: str, array: np.ndarray) -> np.ndarray:
    return array.transpose(np.argsort(_TURNS[array.ndim])) if _is_kernel(name, array) else array
