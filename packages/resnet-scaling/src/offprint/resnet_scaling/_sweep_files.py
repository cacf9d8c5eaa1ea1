"""A sweep on disk: one archive for each finished depth, and one for the depth in progress."""

import hashlib
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.data import load_npz
from offprint.resnet_scaling._depth_run import Order, State
from offprint.resnet_scaling._network import ResNetParams
from offprint.resnet_scaling._sweep_config import SweepConfig
from offprint.resnet_scaling._sweep_result import DepthRecord
from offprint.resnet_scaling._train import TrainTest

SAVE_SECONDS = 30.0
"""Between saves of the depth in progress."""
_ARRAYS = ("losses", "epochs", "test_losses", "hidden_norms", "hidden_increments", "converged", "diverged")
_PROGRESS = ("order", "losses", "best", "bad", "active", "epochs", "diverged")


class SweepFolder:
    """The files of one sweep.

    Raises:
        ValueError: the folder holds a sweep of other settings, seeds or data.
    """

    def __init__(
        self, folder: str | Path, config: SweepConfig, data: TrainTest, depths: tuple[int, ...], seeds: tuple[int, ...]
    ):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._saved_at = time.monotonic()
        described = _description(config, data, depths, seeds)
        path = self.folder / "sweep.json"
        if not path.exists():
            _write(path, json.dumps(described, indent=1).encode())
            return
        known = json.loads(path.read_text())
        differing = sorted(name for name in known.keys() | described.keys() if known.get(name) != described.get(name))
        if differing:
            changes = "; ".join(f"{name}: {known.get(name)} there, {described.get(name)} here" for name in differing)
            raise ValueError(f"{self.folder} holds another sweep ({changes}); choose another folder")

    def finished(self, depth: int) -> tuple[DepthRecord, Order] | None:
        """The record of that depth and the order of batches after it, if it was finished."""
        path = self._of(depth)
        if not path.exists():
            return None
        arrays = load_npz(path)
        record = DepthRecord(
            depth=depth,
            params=ResNetParams(*(jnp.asarray(arrays[name]) for name in ResNetParams._fields)),
            **{name: arrays[name] for name in _ARRAYS},
            seconds=float(arrays["seconds"]),
            compile_seconds=float(arrays["compile_seconds"]),
        )
        return record, arrays["order"]

    def finish(self, record: DepthRecord, order: Order) -> None:
        """Save the record of a depth, which is then no longer in progress."""
        arrays = {name: getattr(record, name) for name in (*_ARRAYS, "seconds", "compile_seconds")}
        _write_npz(self._of(record.depth), record.params._asdict() | arrays | {"order": order})
        self._in_progress.unlink(missing_ok=True)

    def save(self, depth: int, state: State) -> None:
        """Save the depth in progress, if the last save is `SAVE_SECONDS` ago."""
        if time.monotonic() - self._saved_at < SAVE_SECONDS:
            return
        leaves = {f"leaf_{i}": leaf for i, leaf in enumerate(jax.tree.leaves(state.members))}
        numbers = {"depth": depth, "epoch": state.epoch, "seconds": state.seconds}
        _write_npz(self._in_progress, leaves | {name: getattr(state, name) for name in _PROGRESS} | numbers)
        self._saved_at = time.monotonic()

    def restore(self, depth: int, state: State) -> State:
        """The state of this depth where its training was interrupted, else the one given."""
        if not self._in_progress.exists():
            return state
        arrays = load_npz(self._in_progress)
        if int(arrays["depth"]) != depth:
            return state
        known, treedef = jax.tree.flatten(state.members)
        leaves = [jnp.asarray(arrays[f"leaf_{i}"]) for i in range(len(known))]
        return State(
            jax.tree.unflatten(treedef, leaves),
            **{name: arrays[name] for name in _PROGRESS},
            epoch=int(arrays["epoch"]),
            seconds=float(arrays["seconds"]),
        )

    @property
    def _in_progress(self) -> Path:
        return self.folder / "in_progress.npz"

    def _of(self, depth: int) -> Path:
        return self.folder / f"depth_{depth:06d}.npz"


def _description(
    config: SweepConfig, data: TrainTest, depths: tuple[int, ...], seeds: tuple[int, ...]
) -> dict[str, object]:
    """What the result depends on. The depths are left out, so that a sweep can be continued to larger ones, except
    for the official shuffle, where each depth depends on those before."""
    settings = asdict(config)
    if callable(config.activation):
        settings["activation"] = f"{config.activation.__module__}.{config.activation.__qualname__}"
    digest = hashlib.sha256()
    for array in data:
        digest.update(repr((array.shape, str(array.dtype))).encode() + np.ascontiguousarray(array).tobytes())
    described = settings | {"seeds": seeds, "data": digest.hexdigest()}
    if config.shuffle == "official":
        described["depths"] = depths
    return json.loads(json.dumps(described))


def _write_npz(path: Path, arrays: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
