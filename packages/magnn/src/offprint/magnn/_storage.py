"""A trained model as one file: its settings, its parameters, its item graph; nothing in it is run when it is read."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from offprint.core.data import load_npz
from offprint.magnn._graph import ItemGraph
from offprint.magnn._model import MAGNN
from offprint.magnn._sequences import Sequences
from offprint.magnn.baselines import BPRMF, HGN, GRU4Rec, Popularity, SASRec
from offprint.magnn.baselines._popularity import Counts

FORMAT = 1
"""Of the file; raised when older programs cannot read what is written."""
MODELS: dict[str, Any] = {kind.__name__: kind for kind in (MAGNN, BPRMF, HGN, GRU4Rec, SASRec, Popularity)}
_MAGNN_SETTINGS = (
    *("d", "h", "m", "L", "max_long", "short_term", "long_term", "fusion", "gnn_steps"),
    *("attention_axis", "cooccurrence", "position", "mask_history"),
)
_GRAPH_SETTINGS = ("num_items", "lookahead", "directed", "max_degree")


def save_model(model: nnx.Module, path: str | Path) -> None:
    """Write a model to a NumPy archive, without pickles.

    Args:
        model: MAGNN, with the item graph that it has, or a baseline of this package.
        path: the file; one that is there is replaced.

    Raises:
        ValueError: another kind of model.
    """
    kind = type(model).__name__
    if MODELS.get(kind) is not type(model):
        raise ValueError(f"a {kind} cannot be saved here; one of {', '.join(MODELS)} is needed")
    leaves = _leaves(model)
    dtype = next(iter(leaves.values())).dtype
    settings: dict[str, Any] = {"format": FORMAT, "kind": kind, "dtype": dtype.name, "arguments": _arguments(model)}
    # NumPy has no bfloat16 of its own; float32 holds all of its numbers.
    plain = {
        name: np.asarray(leaf if dtype.name != "bfloat16" else leaf.astype(jnp.float32))
        for name, leaf in leaves.items()
    }
    graph = getattr(model, "graph", None)
    if isinstance(graph, ItemGraph):
        settings["graph"] = {name: getattr(graph, name) for name in _GRAPH_SETTINGS}
        for name in ("rows", "cols", "counts", "weights"):
            if (array := getattr(graph, name)) is not None:
                plain[f"graph/{name}"] = np.asarray(array if name != "weights" else array.astype(float))
    elif graph is not None:
        settings["graph"] = graph
    with Path(path).open("wb") as file:
        np.savez(file, settings=json.dumps(settings), **plain)  # type: ignore[arg-type]


def load_model(path: str | Path) -> Any:
    """Read what `save_model` has written: the same kind of model with the same parameters, in evaluation mode.

    Raises:
        ValueError: the archive holds no such model, or one of a newer format; float64 parameters without x64.
        DataError: the file is no archive, or cannot be read.
    """
    arrays = load_npz(Path(path))
    settings = _settings(path, arrays)
    dtype = jnp.dtype(settings["dtype"])
    if dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            f"the model in {path} is float64; switch it on first: jax.config.update('jax_enable_x64', True)"
        )
    model = _built(settings, dtype)
    params = nnx.state(model, nnx.Any(nnx.Param, Counts))

    def stored(name: Any, leaf: jax.Array) -> jax.Array:
        array = arrays.get(_name(name))
        if array is None or array.shape != leaf.shape:
            found = "is missing" if array is None else f"has shape {array.shape}, not {leaf.shape}"
            raise ValueError(f"{path} holds no whole {settings['kind']}: {_name(name)} {found}; save the model again")
        return jnp.asarray(array, leaf.dtype)

    nnx.update(model, jax.tree_util.tree_map_with_path(stored, params))
    if isinstance(settings.get("graph"), dict):
        names = ("rows", "cols", "weights", "counts")
        edges: dict[str, Any] = {name: arrays[f"graph/{name}"] for name in names if f"graph/{name}" in arrays}
        model.set_graph(ItemGraph.from_coo(**edges, **settings["graph"]))
    model.eval()
    return model


def _settings(path: str | Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    try:
        settings = json.loads(str(arrays["settings"]))
        if settings["format"] != FORMAT or settings["kind"] not in MODELS:
            raise ValueError(
                f"the model in {path} is a {settings['kind']} in format {settings['format']}; this version reads "
                f"{', '.join(MODELS)} in format {FORMAT}"
            )
    except (KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(f"{path} holds no model; was it written by save_model?") from None
    return settings


def _built(settings: dict[str, Any], dtype: Any) -> Any:
    """A new model of the same shapes; its random parameters are replaced."""
    arguments = settings["arguments"]
    if settings["kind"] == "Popularity":
        nobody = np.zeros(arguments["num_users"] + 1, np.int32)
        return Popularity(Sequences(nobody, np.empty(0, np.int32), arguments["num_items"]), dtype=dtype)
    graph = {"graph": "window"} if settings.get("graph") == "window" else {}
    return MODELS[settings["kind"]](**arguments, **graph, dtype=dtype, rngs=nnx.Rngs(0))


def _arguments(model: Any) -> dict[str, Any]:
    """What the model's class is to be called with, beside graph, dtype and rngs."""
    sizes = {"num_users": model.num_users, "num_items": model.num_items}
    if isinstance(model, Popularity):
        return sizes
    if isinstance(model, MAGNN):
        return sizes | {name: getattr(model, name) for name in _MAGNN_SETTINGS} | {"output_bias": model.b is not None}
    sizes["d"] = model.item_table()[0].shape[1]
    if isinstance(model, BPRMF):
        return sizes
    sizes["L"] = model.L
    if isinstance(model, HGN):
        return sizes | {"pooling": model.pooling}
    sizes["max_long"] = model.max_long
    if isinstance(model, SASRec):
        heads = model.blocks[0].attention.num_heads
        return sizes | {"heads": heads, "blocks": len(model.blocks), "dropout": model.dropout.rate}
    return sizes


def _leaves(model: nnx.Module) -> dict[str, jax.Array]:
    """Parameters by their place in the model, such as blocks/0/norms/1/scale."""
    found = jax.tree_util.tree_flatten_with_path(nnx.state(model, nnx.Any(nnx.Param, Counts)))[0]
    return {_name(path): leaf for path, leaf in found}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")
