"""Reading the files in datasets/, whose README says where the numbers are from."""

from importlib.resources import as_file, files

import numpy as np

from offprint.core.data import load_npz


def shipped(name: str) -> dict[str, np.ndarray]:
    """The arrays of one file."""
    with as_file(files("offprint.federated_mlo") / "datasets" / name) as path:
        return load_npz(path)
