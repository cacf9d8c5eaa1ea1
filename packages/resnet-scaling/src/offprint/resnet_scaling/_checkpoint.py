"""Checkpoints of any network: which arrays are stacks of like layers, and how they scale."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from offprint.core.data import load_npz
from offprint.resnet_scaling._classify import MIN_DEPTHS, ScalingReport, classify_scaling
from offprint.resnet_scaling._roughness import RoughnessReport, roughness
from offprint.resnet_scaling._statistics import Norm

MIN_GROUP = 3
"""Fewer layers of one name and shape are no sequence."""


@dataclass(frozen=True)
class LayerGroup:
    """Layers of one shape that follow each other."""

    name: str
    """Path of the arrays, with * for the layer's number; with [*] at the end for a stack along its first axis."""
    numbers: tuple[int, ...]
    """Of the layers."""
    weights: Float[np.ndarray, "depth ..."]

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.weights.shape[0]


@dataclass(frozen=True)
class CheckpointReport:
    """What `analyze` found."""

    roughness: dict[str, dict[int, RoughnessReport]]
    """By group and depth."""
    sweeps: dict[str, ScalingReport]
    """By group, for those that are there at four depths or more."""
    skipped: dict[str, str]
    """Arrays and groups that are not analysed, and why."""

    def __str__(self) -> str:
        lines = []
        for name, by_depth in self.roughness.items():
            lines += [f"{name}  {report}" for report in by_depth.values()]
        for name, report in self.sweeps.items():
            lines += ["", f"{name} over depths: {report}"]
        if self.skipped:
            lines += ["", f"not analysed: {len(self.skipped)} arrays or groups"]
            lines += [f"  {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)


Source = Any
"""An .npz file, the folder of an orbax checkpoint (paths), or a pytree of arrays."""


def analyze(
    source: Source,
    *,
    select: str = "*",
    stacked: str | None = None,
    normalise: bool = False,
    norm: Norm = "fro",
    n_boot: int = 1000,
) -> CheckpointReport:
    """The layer sequences of a checkpoint and their roughness; of several depths, their scaling with depth as well.

    Two kinds of sequences are found: arrays of one shape whose paths differ in one number ("layers.0.weight",
    "blocks_0/mlp/kernel"), and arrays that stack layers along their first axis, as `nnx.scan` makes them. For the
    latter, matrices (L, d, d) and kernels (L, h, w, in, out) count that are in no sequence of the first kind, and the
    arrays beside them of the same length; `stacked` names others.

    Args:
        source: an .npz file, a folder that orbax wrote, or a pytree; or several of them, as a mapping from the depth
            (whatever you call the depth of the network) to one of these.
        select: pattern with * and ? of the groups to look at, for example "blocks.*.mlp.*".
        stacked: pattern of the arrays that are stacks along their first axis.
        normalise: divide each layer by its norm before its roughness is taken.
        norm: of the sweep over depths; see `scaling_statistics`.
        n_boot: resamples for its intervals.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a file that is neither, a checkpoint without any sequence of layers (it says what is there).
        offprint.core.data.DataError: a damaged file, or one with pickled objects, which are never loaded.
    """
    several = isinstance(source, Mapping) and len(source) > 0 and all(isinstance(key, int) for key in source)
    checkpoints = list(source.values()) if several else [source]
    skipped: dict[str, str] = {}
    found: dict[str, list[LayerGroup]] = {}
    for checkpoint in checkpoints:
        groups, left = find_groups(load_arrays(checkpoint), stacked=stacked)
        skipped.update(left)
        for group in groups:
            if fnmatchcase(group.name, select):
                found.setdefault(group.name, []).append(group)
    if not found:
        names = ", ".join(list(skipped)[:8]) or "no arrays"
        raise ValueError(
            f"no sequence of at least {MIN_GROUP} layers of one shape matches {select!r}; there are {names}"
            f"{', ...' if len(skipped) > 8 else ''}. Name stacks along the first axis with stacked='PATTERN'"
        )
    rough: dict[str, dict[int, RoughnessReport]] = {}
    sweeps: dict[str, ScalingReport] = {}
    for name, members in found.items():
        for group in members:
            try:
                rough.setdefault(name, {})[group.depth] = roughness(group.weights, normalise=normalise)
            except ValueError as error:
                skipped[f"{name} ({group.depth} layers)"] = str(error)
        if several:
            try:
                sweeps[name] = _sweep(members, norm, n_boot)
            except ValueError as error:
                skipped[f"{name} over depths"] = str(error)
    return CheckpointReport({name: by_depth for name, by_depth in rough.items() if by_depth}, sweeps, skipped)


def load_arrays(source: Source) -> dict[str, np.ndarray]:
    """The floating-point arrays of a checkpoint by their path, with dots between its parts.

    Raises:
        FileNotFoundError, ValueError, DataError: see `analyze`.
    """
    if isinstance(source, (str, Path)):
        source = _read(Path(source))
    leaves = jax.tree_util.tree_flatten_with_path(source)[0]
    # The last part of the path of an nnx.Variable is the attribute that holds its array.
    named = {".".join(_part(key) for key in path).removesuffix(".value") or "array": leaf for path, leaf in leaves}
    arrays = {name: np.asarray(leaf) for name, leaf in named.items() if hasattr(leaf, "shape") and _is_number(leaf)}
    return {name: array.astype(np.float32) if array.dtype.itemsize < 4 else array for name, array in arrays.items()}


def find_groups(
    arrays: Mapping[str, np.ndarray], *, stacked: str | None = None
) -> tuple[list[LayerGroup], dict[str, str]]:
    """Sequences of layers among named arrays, and the names of the others with the reason.

    An array belongs to the longest sequence that it can belong to. Numbers need not be consecutive: a first block of
    another shape is left out of the sequence.
    """
    by_pattern: dict[tuple[str, tuple[int, ...]], dict[int, str]] = {}
    for name, array in arrays.items():
        for place in re.finditer(r"\d+", name):
            pattern = f"{name[: place.start()]}*{name[place.end() :]}"
            by_pattern.setdefault((pattern, array.shape), {})[int(place.group())] = name
    groups: list[LayerGroup] = []
    used: set[str] = set()
    for (pattern, _), members in sorted(by_pattern.items(), key=lambda item: -len(item[1])):
        free = {number: name for number, name in sorted(members.items()) if name not in used}
        if len(free) >= MIN_GROUP and arrays[next(iter(free.values()))].ndim > 0:
            used.update(free.values())
            groups.append(LayerGroup(pattern, tuple(free), np.stack([arrays[name] for name in free.values()])))
    rest = {name: array for name, array in arrays.items() if name not in used}
    stacks = _stacks(rest, stacked)
    groups += [LayerGroup(f"{name}[*]", tuple(range(len(rest[name]))), rest[name]) for name in stacks]
    groups = _distinct(groups)
    left = {
        name: f"shape {array.shape}, in no sequence of {MIN_GROUP} layers or more"
        for name, array in rest.items()
        if name not in stacks
    }
    return sorted(groups, key=lambda group: group.name), left


def _distinct(groups: list[LayerGroup]) -> list[LayerGroup]:
    """Groups of one pattern and several shapes get the shape into their name; the longest keeps the name."""
    taken: set[str] = set()
    distinct = []
    for group in sorted(groups, key=lambda group: -group.depth):
        shape = "x".join(map(str, group.weights.shape[1:]))
        name = group.name if group.name not in taken else f"{group.name} {shape}"
        taken.add(name)
        distinct.append(LayerGroup(name, group.numbers, group.weights))
    return distinct


def _stacks(arrays: Mapping[str, np.ndarray], pattern: str | None) -> set[str]:
    """Names of arrays that stack layers along their first axis."""
    if pattern is not None:
        return {name for name, array in arrays.items() if fnmatchcase(name, pattern) and _long_enough(array)}
    clear = {name for name, array in arrays.items() if array.ndim in (3, 5) and _long_enough(array)}
    lengths = {(_parent(name), arrays[name].shape[0]) for name in clear}
    beside = {name for name, array in arrays.items() if array.ndim > 1 and (_parent(name), array.shape[0]) in lengths}
    return clear | beside


def _long_enough(array: np.ndarray) -> bool:
    return array.ndim > 1 and array.shape[0] >= MIN_GROUP


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _sweep(members: list[LayerGroup], norm: Norm, n_boot: int) -> ScalingReport:
    by_depth = {group.depth: group.weights for group in sorted(members, key=lambda group: group.depth)}
    if len(by_depth) < MIN_DEPTHS:
        raise ValueError(f"there at {len(by_depth)} depths; at least {MIN_DEPTHS} are needed to classify")
    return classify_scaling(by_depth, norm=norm, n_boot=n_boot)


def _read(path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; the path of an .npz file or of an orbax folder is needed")
    if path.is_dir():
        return _read_orbax(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path} is not an .npz file nor a folder that orbax wrote; save the arrays with numpy.savez")
    return load_npz(path)


def _read_orbax(folder: Path) -> Any:
    """A checkpoint, or the last step of a manager's folder, as nested mappings of NumPy arrays."""
    import orbax.checkpoint as ocp  # takes seconds to import

    folder = folder.resolve()
    steps = [child for child in folder.iterdir() if child.is_dir() and child.name.isdigit()]
    if steps:
        folder = max(steps, key=lambda step: int(step.name))
    items = [child for child in (folder, *sorted(folder.iterdir())) if (child / "_METADATA").exists()]
    if not items:
        raise ValueError(f"{folder} is not a folder that orbax wrote: it has no _METADATA")
    with ocp.PyTreeCheckpointer() as reader:
        trees = {item.name: _restored(ocp, reader, item) for item in items}
    return next(iter(trees.values())) if len(trees) == 1 else trees


def _restored(ocp: Any, reader: Any, folder: Path) -> Any:
    tree = reader.metadata(folder).item_metadata.tree
    return reader.restore(folder, restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree))


def _part(key: Any) -> str:
    """One part of a path: the key of a mapping, the index of a sequence, the name of an attribute."""
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return re.sub(r"[/\s]+", ".", str(getattr(key, attribute)))
    return str(key)


def _is_number(leaf: Any) -> bool:
    """Whether its type is floating-point, such as bfloat16; keys, integers and text are not."""
    return bool(jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating))
