"""Graphs with features, labels and a split: the published ones, your own files, and two that need no file.

The published archives are not downloaded: nobody offers them as plain arrays. They are looked for in the folder that
`OFFPRINT_DATA` names, `NAME/NAME.npz`; `load_npz` says what is in them, `save_npz` writes one.
"""

from offprint.core.data import Dataset
from offprint.gaug.data._generated import karate, sbm
from offprint.gaug.data._node_data import NodeData, Split
from offprint.gaug.data._published import air_usa, blogcatalog, citeseer, cora, flickr
from offprint.gaug.data._read import from_csv, load_npz, save_npz

DATASETS: tuple[Dataset, ...] = ()
"""Data sets that `offprint data fetch` downloads: none, see above."""

__all__ = [
    "DATASETS",
    "NodeData",
    "Split",
    "air_usa",
    "blogcatalog",
    "citeseer",
    "cora",
    "flickr",
    "from_csv",
    "karate",
    "load_npz",
    "save_npz",
    "sbm",
]
