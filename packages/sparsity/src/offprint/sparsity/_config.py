"""Methods and patterns from plain data: what a configuration file says."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offprint.sparsity import methods
from offprint.sparsity._counts import AnyPattern
from offprint.sparsity._filter import kernels, matching
from offprint.sparsity._pattern import Block, Channel, Head, KernelShape, Layer, Unstructured
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity._pattern_transposable import TransposableNM
from offprint.sparsity.methods._method import Method

# The same setting by its name in jaxpruner, TF-MOT and SparseML.
_KEYS = {
    "algorithm": "method",
    "final_sparsity": "sparsity",
    "target_sparsity": "sparsity",
    "initial_sparsity": "initial",
    "init_sparsity": "initial",
    "begin_step": "begin",
    "update_start_step": "begin",
    "end_step": "end",
    "update_end_step": "end",
    "frequency": "every",
    "update_freq": "every",
    "drop_fraction": "drop",
    "sparsity_distribution": "dist",
    "sparsity_type": "pattern",
    "mask_type": "pattern",
    "mask_structure": "pattern",
    "params": "only",
    "ignore": "but",
}
# Names of other libraries: ours, and the settings that they imply.
_NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "magnitude": ("GMP", {}),
    "polynomialdecay": ("GMP", {}),
    "magnitudepruningmodifier": ("GMP", {}),
    "gmpruningmodifier": ("GMP", {}),
    "globalmagnitude": ("GMP", {"scope": "global", "criterion": "magnitude_l2"}),
    "globalmagnitudepruningmodifier": ("GMP", {"scope": "global"}),
    "saliency": ("GMP", {"criterion": "taylor"}),
    "random": ("GMP", {"criterion": "random"}),
    "staticsparse": ("Static", {}),
    "magnitudeste": ("DPF", {}),
    "ste": ("DPF", {}),
    "constantpruningmodifier": ("Static", {}),
    "riglpruningmodifier": ("RigL", {}),
    "topkastpruningmodifier": ("TopKAST", {}),
    "acdcpruningmodifier": ("ACDC", {}),
    "movementpruningmodifier": ("Movement", {}),
}


def from_config(config: Mapping[str, Any] | str | Path) -> Method:
    """The method that a mapping, or a .json, .toml or .yaml file, describes.

    `from_config({"method": "gmp", "sparsity": 0.9, "begin": 1000, "end": 20000, "pattern": "block16x16"})`
    is `GMP(sparsity=0.9, begin=1000, end=20000, pattern=Block((16, 16)))`. Further keys are `only` and `but`, path
    patterns of the leaves to prune and not to prune. Names of methods are those of this package in any case, and those
    of jaxpruner, TF-MOT and SparseML, whose settings are understood too (`final_sparsity`, `begin_step`, ...), counted
    in steps.

    Raises:
        ValueError: no such method, a setting that it has not, or a pattern that can't be read.
        OSError: a file that can't be read.
    """
    given = read_config(config) if isinstance(config, str | Path) else dict(config)
    settings = {_KEYS.get(key, key): value for key, value in given.items()}
    if len(settings) < len(given):
        raise ValueError(f"a setting is given twice, under two names, in {sorted(given)}")
    if "method" not in settings:
        raise ValueError(f"the configuration needs a method; it has {sorted(given)}. Known are {_known()}")
    kind, implied = method_named(str(settings.pop("method")))
    filter = _filter(settings)
    fields = {field.name for field in dataclasses.fields(kind) if field.name not in ("_", "filter")}
    for name in settings:
        if name not in fields:
            raise ValueError(f"{kind.__name__} has no setting {name!r}; it has {', '.join(sorted(fields))}")
    settings = {**implied, **settings}
    if "pattern" in settings:
        settings["pattern"] = _patterns(settings["pattern"])
    return kind(**settings, filter=filter)


def parse_pattern(text: str) -> AnyPattern:
    """`unstructured`, `2:4`, `transposable2:4`, `block16x16` (or `block16`), `channel`, `channel-2`, `kernel-shape`,
    `head8`, `head8-2` or `layer`, as in configurations and on the command line.

    Raises:
        ValueError: another text.
    """
    plain = text.strip().lower().replace("_", "-")
    fixed: dict[str, AnyPattern] = {
        "unstructured": Unstructured(),
        "channel": Channel(),
        "kernel-shape": KernelShape(),
        "layer": Layer(),
    }
    if plain in fixed:
        return fixed[plain]
    if found := re.fullmatch(r"(transposable)?(\d+):(\d+)", plain):
        n, m = int(found[2]), int(found[3])
        return TransposableNM(n, m) if found[1] else NM(n, m)
    if found := re.fullmatch(r"block-?(\d+)(?:x(\d+))?", plain):
        return Block((int(found[1]), int(found[2] or found[1])))
    if found := re.fullmatch(r"channel(-?\d+)", plain):
        return Channel(int(found[1]))
    if found := re.fullmatch(r"head(\d+)(-\d+)?", plain):
        return Head(int(found[1]), int(found[2] or -1))
    raise ValueError(
        f"unknown pattern {text!r}; known are unstructured, N:M such as 2:4, transposableN:M, blockHxW, channel, "
        "channelAXIS, kernel-shape, headN, headN-AXIS, layer"
    )


def read_config(path: str | Path) -> dict[str, Any]:
    """A mapping from a .json, .toml or .yaml file.

    Raises:
        ValueError: another suffix, or a file that does not hold a mapping.
    """
    path = Path(path)
    if path.suffix not in (".json", ".toml", ".yaml", ".yml"):
        raise ValueError(f"{path} has an unknown format; .json, .toml or .yaml is needed")
    text = path.read_text(encoding="utf-8")
    try:
        config = _parse(path.suffix, text)
    except Exception as error:
        raise ValueError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a mapping of settings; it holds a {type(config).__name__}")
    return config


def _parse(suffix: str, text: str) -> Any:
    if suffix == ".json":
        import json

        return json.loads(text)
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    import yaml

    return yaml.safe_load(text)


def method_named(name: str) -> tuple[type[Method], dict[str, Any]]:
    """The class of a method by its name here or elsewhere, and the settings that the name implies.

    Raises:
        ValueError: no such method.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    ours = {known.lower(): known for known in methods.__all__ if _is_method(known)}
    if plain in ours:
        return getattr(methods, ours[plain]), {}
    if plain in _NAMES:
        known, implied = _NAMES[plain]
        return getattr(methods, known), implied
    raise ValueError(f"unknown method {name!r}; known are {_known()}")


def _known() -> str:
    return ", ".join(name for name in methods.__all__ if _is_method(name))


def _is_method(name: str) -> bool:
    kind = getattr(methods, name)
    return isinstance(kind, type) and issubclass(kind, Method) and kind is not Method


def _filter(settings: dict[str, Any]) -> Any:
    only, but = settings.pop("only", None), settings.pop("but", ())
    if only is not None:
        return matching(only, but)
    if not but:
        return None
    rest = matching("*", but)
    return lambda path, leaf: kernels(path, leaf) and rest(path, leaf)


def _patterns(given: Any) -> Any:
    if isinstance(given, Mapping):
        return {path: _patterns(pattern) for path, pattern in given.items()}
    return parse_pattern(given) if isinstance(given, str) else given
