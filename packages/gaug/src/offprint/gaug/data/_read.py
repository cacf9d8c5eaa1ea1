"""Data sets in files: NumPy archives and tables."""

from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from offprint.core.data import DataError, load_csv
from offprint.core.data import load_npz as read_archive
from offprint.gaug._features import Features, SparseFeatures, row_normalize, standardize
from offprint.gaug._graph import Graph
from offprint.gaug.data._node_data import NodeData, Split, checked, random_split

Scale = Literal["none", "row", "column"]
_SPARSE_BELOW = 0.1  # share of non-zero entries: the sparse product is faster up to a few per cent, and smaller here
_NEEDED = ("num_nodes", "edges", "labels", "train_idx", "val_idx", "test_idx")
_SPARSE = ("feat_indptr", "feat_indices", "feat_data", "feat_shape")


def load_npz(path: str | Path, *, scale: Scale = "none", name: str | None = None) -> NodeData:
    """A data set from one archive of plain arrays.

    | array | shape | meaning |
    | --- | --- | --- |
    | `num_nodes` | () | N |
    | `edges` | (E, 2) | every undirected edge once, or all of them both ways; ids from 0 |
    | `weights` | (E,) | optional, positive |
    | `features` | (N, F) | or sparse, by rows: `feat_indptr` (N + 1,), `feat_indices`, `feat_data`, `feat_shape` (2,) |
    | `labels` | (N,) or (N, C) | classes 0..C-1, or zeros and ones for several labels per node |
    | `train_idx`, `val_idx`, `test_idx` | | the split |

    Args:
        path: the file.
        scale: `"row"`: features divided by their row's sum, as for bags of words; `"column"`: standardised.
        name: of the data set; by default that of the file.

    Returns:
        Features are kept sparse where less than a tenth of the entries is not zero, unless standardised.

    Raises:
        DataError: no such archive, or an array is missing.
        ValueError: arrays that do not fit together.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is not there; an .npz archive with the arrays {', '.join(_NEEDED)} is needed")
    arrays = read_archive(path)
    sparse = "features" not in arrays
    if missing := [key for key in (*_NEEDED, *(_SPARSE if sparse else ())) if key not in arrays]:
        raise DataError(f"{path} has no array {', '.join(missing)}; it has {', '.join(arrays)}")
    num_nodes = int(arrays["num_nodes"])
    graph = Graph.from_edges(arrays["edges"], num_nodes, arrays.get("weights"))
    features: Any = _of_rows(path, *(arrays[key] for key in _SPARSE)) if sparse else arrays["features"]
    split = Split(arrays["train_idx"], arrays["val_idx"], arrays["test_idx"])
    return checked(name or path.stem, graph, _scaled(features, scale), arrays["labels"], split)


def save_npz(path: str | Path, data: NodeData) -> None:
    """Write a data set so that `load_npz` reads it again: the features as they are, scaled ones scaled.

    Args:
        path: the file, ending in .npz.
        data: what to write.
    """
    graph = data.graph
    once = np.flatnonzero(np.asarray(graph.edge_mask) & (np.asarray(graph.senders) < np.asarray(graph.receivers)))
    edges = np.stack([np.asarray(graph.senders)[once], np.asarray(graph.receivers)[once]], axis=1)
    weights = np.asarray(graph.weights)[once]
    arrays: dict[str, Any] = {"num_nodes": np.asarray(graph.num_nodes), "edges": edges, "labels": data.y}
    if (weights != 1).any():
        arrays["weights"] = weights
    if isinstance(data.x, SparseFeatures):
        counts = np.bincount(np.asarray(data.x.rows), minlength=data.x.shape[0])
        arrays |= {
            "feat_indptr": np.concatenate([[0], np.cumsum(counts)]),
            "feat_indices": np.asarray(data.x.columns),
            "feat_data": np.asarray(data.x.values),
            "feat_shape": np.asarray(data.x.shape),
        }
    else:
        arrays["features"] = np.asarray(data.x)
    arrays |= {f"{part}_idx": rows for part, rows in data.split._asdict().items()}
    np.savez_compressed(Path(path), **arrays)


def from_csv(
    edges: str | Path,
    nodes: str | Path,
    *,
    scale: Scale = "none",
    seed: int = 0,
    symmetrize: bool = False,
    name: str | None = None,
) -> NodeData:
    """A data set from two tables with a header line.

    Args:
        edges: columns `source` and `target`, ids as in `nodes`, and optionally `weight`.
        nodes: columns `id` (numbers or text), `label`, optionally `split` (train, val, test, or empty), and one column
            of numbers for each feature.
        scale: as in `load_npz`.
        seed: of the split into 10 % training, 20 % validation and 70 % test nodes, where no column gives it.
        symmetrize: as in `Graph.from_edges`.
        name: of the data set; by default that of the file of nodes.

    Returns:
        Nodes in the order of their table; classes in the order of their sorted labels.

    Raises:
        DataError: a column that is missing or not of numbers, an id that is unknown or given twice.
        ValueError: what does not fit together.
    """
    table, links = load_csv(Path(nodes)), load_csv(Path(edges))
    for path, columns, needed in ((nodes, table, ("id", "label")), (edges, links, ("source", "target"))):
        if missing := [column for column in needed if column not in columns]:
            raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(columns)}")
    place = {str(node): row for row, node in enumerate(table["id"])}
    if len(place) < len(table["id"]):
        raise DataError(f"{nodes} gives {len(table['id']) - len(place)} ids twice; each node needs one line")
    pairs = [[_row_of(place, node, edges, nodes) for node in links[end]] for end in ("source", "target")]
    weights = links["weight"].astype(float) if "weight" in links else None
    graph = Graph.from_edges(np.array(pairs, np.int64).T, len(place), weights, symmetrize=symmetrize)
    features = [column for column in table if column not in ("id", "label", "split")]
    if wrong := [column for column in features if table[column].dtype.kind not in "if"]:
        raise DataError(f"{nodes}, column {wrong[0]}: features must be numbers, without empty cells")
    if not features:
        raise DataError(f"{nodes} has no column of features beside id, label and split")
    x = np.stack([table[column].astype(float) for column in features], axis=1)
    labels = np.unique(table["label"], return_inverse=True)[1]
    if "split" in table:
        split = Split(*(np.flatnonzero(table["split"] == part) for part in Split._fields))
    else:
        count = len(place)
        split = random_split(count, round(0.1 * count), round(0.2 * count), np.random.default_rng(seed))
    return checked(name or Path(nodes).stem, graph, _scaled(x, scale), labels, split)


def _row_of(place: dict[str, int], node: Any, edges: str | Path, nodes: str | Path) -> int:
    if str(node) not in place:
        raise DataError(f"{edges} names the node {node}, which has no line in {nodes}")
    return place[str(node)]


def _of_rows(path: Path, indptr: Any, indices: Any, values: Any, shape: Any) -> SparseFeatures:
    rows, columns = (int(size) for size in shape)
    if len(indptr) != rows + 1 or indptr[-1] != len(indices) or len(indices) != len(values):
        raise ValueError(
            f"{path}: feat_indptr has {len(indptr)} entries for {rows} rows and ends with {indptr[-1]}, "
            f"feat_indices has {len(indices)} and feat_data {len(values)}; N + 1 entries, the last the number of the "
            "others, are needed"
        )
    if len(indices) and not (indices.min() >= 0 and indices.max() < columns):
        raise ValueError(f"{path}: feat_indices reach from {indices.min()} to {indices.max()}, F is {columns}")
    return SparseFeatures.from_entries(values, np.repeat(np.arange(rows), np.diff(indptr)), indices, (rows, columns))


def _scaled(x: Any, scale: Scale) -> Features:
    if scale not in ("none", "row", "column"):
        raise ValueError(f"scale {scale!r} is unknown; one of none, row, column is needed")
    if scale == "column":
        return standardize(x.to_dense() if isinstance(x, SparseFeatures) else np.asarray(x, float))
    if not isinstance(x, SparseFeatures):
        x = np.asarray(x)
        finite = np.issubdtype(x.dtype, np.number) and np.isfinite(x).all()
        if x.ndim == 2 and finite and np.count_nonzero(x) < _SPARSE_BELOW * x.size:
            x = SparseFeatures.from_dense(x)
    elif len(x.values) >= _SPARSE_BELOW * x.shape[0] * x.shape[1]:
        x = x.to_dense()
    if scale == "row":
        return row_normalize(x)
    return x if isinstance(x, SparseFeatures) else jnp.asarray(x, jnp.result_type(float))
