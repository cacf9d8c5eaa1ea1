"""Checkpoints: atomic, verified when read, and only ever put into the model that they were made from."""

import json
import shutil
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used: it is of another model or run, or none is left that can be read."""


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often `fit` saves, so that the same call made again goes on where the last save was.

    Args:
        directory: the folder; one run each.
        every: steps between saves. The end of the run, an early stop and an interruption are saved as well.
        keep: how many of the newest are kept.
        resume: go on from the newest readable one; False refuses to start in a folder that holds any.
    """

    directory: str | Path
    every: int = 1000
    keep: int = 3
    resume: bool = True

    def __post_init__(self) -> None:
        if self.every < 1 or self.keep < 1:
            raise ValueError(f"a checkpoint needs every >= 1 and keep >= 1, but every={self.every}, keep={self.keep}")


def _plain(leaf: Array) -> Array:
    """Typed keys as their integers, which is what can be stored."""
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _like(leaf: Array, stored: Array) -> Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(stored, impl=jax.random.key_impl(leaf))
    return stored


def signature(state: PyTree) -> list[list[Any]]:
    """Name, dtype and shape of every leaf: what tells one model's checkpoints from another's."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return [[jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)] for path, leaf in leaves]


def _differences(saved: list[list[Any]], given: list[list[Any]]) -> str:
    old, new = ({name: f"{dtype}{shape}" for name, dtype, shape in side} for side in (saved, given))
    rows = [
        f"{name}: {old.get(name, 'absent')} in the checkpoint, {new.get(name, 'absent')} in the state given"
        for name in [*old, *(name for name in new if name not in old)]
        if old.get(name) != new.get(name)
    ]
    return "; ".join(rows[:5]) + (f"; and {len(rows) - 5} more" if len(rows) > 5 else "")


def _checksum(leaf: Any) -> int | None:
    """CRC-32 of the bytes; None where this process does not hold the whole array."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return None
    return zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1).data)


class CheckpointFolder:
    """The checkpoints of one run in one folder, newest last (kept by orbax, which writes them atomically)."""

    def __init__(self, directory: str | Path, *, keep: int = 3):
        import orbax.checkpoint as ocp  # here, because it takes longer to import than the rest of this package

        self.directory = Path(directory).absolute()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            probe = self.directory / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise CheckpointError(
                f"checkpoints cannot be written to {self.directory} ({error}); choose another folder"
            ) from error
        self._ocp = ocp
        self._options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.directory, options=self._options)

    def steps(self) -> list[int]:
        """The steps that are saved, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree, info: dict[str, Any]) -> None:
        """Save `state` and the JSON-able `info` under `step`. A crash at any moment leaves the older ones whole."""
        leaves = {str(i): _plain(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        record = {
            "info": info,
            "signature": signature(state),
            "checksums": {name: _checksum(leaf) for name, leaf in leaves.items()},
        }
        arguments = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(leaves), record=self._ocp.args.JsonSave(record)
        )
        self._manager.save(step, args=arguments, force=True)

    def restore(self, template: PyTree, step: int | None = None) -> tuple[PyTree, int, dict[str, Any]] | None:
        """The newest checkpoint that can be read whole, or that of `step`; None if there are none.

        Args:
            template: a state of the same structure, shapes, dtypes and placement.
            step: the one to read; the newest when None.

        Returns:
            The state, its step, and the `info` saved with it.

        Raises:
            CheckpointError: if it belongs to another model (the leaves that differ are named), or none of those
                that exist can be read.
        """
        steps = self.steps() if step is None else [step]
        if not steps:
            return None
        unreadable = []
        for candidate in reversed(steps):
            try:
                record = self._read_record(candidate)
            except Exception as error:  # whatever a damaged file makes its reader raise
                unreadable.append((candidate, error))
                continue
            if record["signature"] != (given := signature(template)):
                raise CheckpointError(
                    f"the checkpoint {self.directory / str(candidate)} is of another model: "
                    f"{_differences(record['signature'], given)}. Choose another folder, or the model it was made from"
                )
            try:
                state = self._read_state(candidate, template, record)
            except Exception as error:
                unreadable.append((candidate, error))
                continue
            self._set_aside(unreadable)
            return state, candidate, record["info"]
        reasons = "; ".join(f"{candidate}: {_first_line(error)}" for candidate, error in unreadable)
        raise CheckpointError(
            f"no checkpoint in {self.directory} can be read ({reasons}). "
            "Restore the folder from a copy, or delete it to start anew"
        )

    def _read_record(self, step: int) -> dict[str, Any]:
        arguments = self._ocp.args.Composite(record=self._ocp.args.JsonRestore())
        record = self._manager.restore(step, args=arguments)["record"]
        if not isinstance(record, dict) or not {"info", "signature", "checksums"} <= record.keys():
            raise ValueError("its record is incomplete")
        return record

    def _read_state(self, step: int, template: PyTree, record: dict[str, Any]) -> PyTree:
        leaves, treedef = jax.tree.flatten(template)
        plain = {str(i): _plain(leaf) for i, leaf in enumerate(leaves)}
        targets = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding) for name, leaf in plain.items()
        }
        arguments = self._ocp.args.Composite(state=self._ocp.args.StandardRestore(targets))
        stored = self._manager.restore(step, args=arguments)["state"]
        for name, checksum in record["checksums"].items():
            if checksum is not None and _checksum(stored[name]) != checksum:
                raise ValueError(f"the bytes of {record['signature'][int(name)][0]} are not those that were saved")
        return jax.tree.unflatten(treedef, [_like(leaf, stored[str(i)]) for i, leaf in enumerate(leaves)])

    def _set_aside(self, unreadable: list[tuple[int, Exception]]) -> None:
        for step, error in unreadable:
            aside = self.directory.parent / f"{self.directory.name}-unreadable" / str(step)
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            (self.directory / str(step)).rename(aside)
            warnings.warn(
                f"the checkpoint of step {step} cannot be read ({_first_line(error)}); "
                f"it was moved to {aside}, and the run goes on from the one before",
                stacklevel=3,
            )
        if unreadable:
            self._manager = self._ocp.CheckpointManager(self.directory, options=self._options)

    def discard_after(self, step: int) -> None:
        """Delete what a run wrote beyond `step`, where it now begins again."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

    def close(self) -> None:
        """Release what the folder's manager holds."""
        self._manager.close()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}" if str(error).strip() else repr(error)


def to_json(value: Any) -> Any:
    """Arrays and numbers of NumPy and JAX as plain JSON values, inside dictionaries and lists too."""
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    return value


def same_json(a: Any, b: Any) -> bool:
    """Whether two values are equal once written as JSON."""
    return json.dumps(to_json(a), sort_keys=True) == json.dumps(to_json(b), sort_keys=True)
