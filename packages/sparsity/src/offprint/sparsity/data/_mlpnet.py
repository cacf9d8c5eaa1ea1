"""The trained network of WoodFisher's test on MNIST."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from offprint.core.data import ChecksumError, DataError, Dataset, File, load_npz, local_folder

_CHECKPOINT = "mnist_25_epoch_93.97.ckpt"
_ARCHIVE = "mlpnet_784_40_20_10.npz"
_ARCHIVE_SHA256 = "2a0c5c85429501018688a03805a67609fdddf1d19a1dce43aed1cccfbdcae7ce"
_SHAPES = {"fc1": (40, 784), "fc2": (20, 40), "fc3": (10, 20)}
_REPOSITORY = "https://github.com/IST-DASLab/WoodFisher"

# Where the values of each layer begin in the checkpoint, whose checksum is known. So no pickle is loaded.
_OFFSETS = {"fc1": 138_917 + 8, "fc2": 5_437 + 8, "fc3": 138_109 + 8}

WOODFISHER_MLPNET = Dataset(
    name="woodfisher-mlpnet",
    description="a trained classifier of MNIST (784-40-20-10, ReLU, no biases; 93.97 % of the test images)",
    files=(
        File(
            _CHECKPOINT,
            url="https://raw.githubusercontent.com/IST-DASLab/WoodFisher/"
            f"d4b1a968947d9850ebf6b67935165e9453495962/checkpoints/{_CHECKPOINT}",
            sha256="56083559fe28b22bf9fac71134322d7c4fe55ea5f7d6eba30b4c300783900f12",
            size=390_621,
        ),
    ),
    licence="none stated by the authors; used here for comparison, not handed on",
    citation="S. P. Singh, D. Alistarh, WoodFisher: Efficient Second-Order Approximation for Neural Network "
    "Compression, NeurIPS 2020",
    url=_REPOSITORY,
)


def mlpnet(path: str | Path | None = None) -> dict[str, dict[str, Float32[np.ndarray, "inputs outputs"]]]:
    """The network as `{"fc1": {"kernel": (784, 40)}, "fc2": ..., "fc3": ...}`: `h = relu(x @ kernel)`, no biases.

    Its inputs are the pixels over 255, minus 0.1307, over 0.3081, row by row.

    Args:
        path: an .npz archive with `fc1` (40, 784), `fc2` (20, 40) and `fc3` (10, 20), or the checkpoint. By default
            `woodfisher-mlpnet/mlpnet_784_40_20_10.npz` in the folder that OFFPRINT_DATA names, else the checkpoint of
            the authors, downloaded once.

    Raises:
        DataError: the file cannot be had, or holds something else.
    """
    file = _found() if path is None else Path(path)
    arrays = load_npz(file) if file.suffix == ".npz" else _from_checkpoint(file)
    for name, shape in _SHAPES.items():
        if name not in arrays or arrays[name].shape != shape:
            found = ", ".join(f"{key} {value.shape}" for key, value in arrays.items())
            raise DataError(f"{file}: arrays {_SHAPES} are needed, but it has {found or 'none'}")
    return {name: {"kernel": np.ascontiguousarray(arrays[name].T, np.float32)} for name in _SHAPES}


def _found() -> Path:
    folder = local_folder()
    own = None if folder is None else folder / WOODFISHER_MLPNET.name / _ARCHIVE
    if own is None or not own.is_file():
        return WOODFISHER_MLPNET.path(_CHECKPOINT)
    if hashlib.sha256(own.read_bytes()).hexdigest() != _ARCHIVE_SHA256:
        raise ChecksumError(f"{own} does not hold the weights of {_CHECKPOINT}; to read your own archive, name it")
    return own


def _from_checkpoint(path: Path) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    if len(content) != WOODFISHER_MLPNET.files[0].size:
        raise ChecksumError(f"{path} is not the checkpoint {_CHECKPOINT} of {_REPOSITORY}")
    return {
        name: np.frombuffer(content, "<f4", rows * columns, _OFFSETS[name]).reshape(rows, columns)
        for name, (rows, columns) in _SHAPES.items()
    }
