"""Data sets: where they come from, what they may be used for, and how they reach this machine.

A method describes its data sets in a module with an attribute ``DATASETS`` and advertises the module in the
entry-point group ``offprint.data``::

    from offprint.core.data import Dataset, File

    IRIS = Dataset(
        name="iris",
        description="150 iris flowers: 4 measurements in cm, 3 species",
        files=(File("iris.csv", url="https://…/iris.csv", sha256="6f60…"),),
        licence="CC BY 4.0",
        citation="R. A. Fisher, The use of multiple measurements in taxonomic problems, 1936",
    )
    DATASETS = (IRIS,)

    columns = IRIS.load("iris.csv")     # a mapping: column name -> array

A file is looked for in the folder that ``OFFPRINT_DATA`` names, then in the cache, then it is downloaded.
Its sha256 is checked every time, whichever way it came. Pickles are never loaded.
"""

from offprint.core.data._dataset import Dataset, File, all_datasets, find_dataset
from offprint.core.data._download import ChecksumError, DataError, DownloadError
from offprint.core.data._folders import data_folder, local_folder
from offprint.core.data._load import load_csv, load_npz

__all__ = [
    "ChecksumError",
    "DataError",
    "Dataset",
    "DownloadError",
    "File",
    "all_datasets",
    "data_folder",
    "find_dataset",
    "load_csv",
    "load_npz",
    "local_folder",
]
