"""The two data sets that come with the package; datasets/README.md names their origin and licence (CC BY 4.0)."""

from importlib.resources import as_file, files

from offprint.core.data import load_npz
from offprint.mgrn.data._uea import SequenceData, from_arrays


def pendigits() -> SequenceData:
    """Handwritten digits as 8 pen positions: 7494 for training and 3498 for the test, F=2, 10 classes.

    Alpaydin and Alimoglu, UCI Machine Learning Repository, 1998, doi:10.24432/C5MG6K; CC BY 4.0.
    """
    return _shipped("pendigits.npz")


def japanese_vowels() -> SequenceData:
    """Two vowels of nine speakers: 270 sequences of 7 to 29 steps for training and 370 for the test, F=12, 9 classes.

    Kudo, Toyama and Shimbo, Pattern Recognition Letters 20 (1999) 1103-1111; CC BY 4.0.
    """
    return _shipped("japanese_vowels.npz")


def _shipped(name: str) -> SequenceData:
    with as_file(files("offprint.mgrn") / "datasets" / name) as path:
        return from_arrays(load_npz(path), name)
