"""What the tests of this package share."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)

GOLDEN = Path(__file__).parent / "golden"


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Load the arrays of `golden/NAME.npz`; golden/README.md says what they are."""
    return lambda name: _load(GOLDEN / f"{name}.npz")


@pytest.fixture(scope="session")
def pretrained() -> Callable[[str], dict[str, np.ndarray]]:
    """Load `pretrained_NAME.npz`, weights that the authors published, which are not part of this package.

    They are read from `mgrn/` in the folder that OFFPRINT_GOLDEN names; without it the test is skipped.
    """

    def load(name: str) -> dict[str, np.ndarray]:
        folder = os.environ.get("OFFPRINT_GOLDEN")
        if not folder:
            pytest.skip("OFFPRINT_GOLDEN does not name the folder with the authors' published weights")
        path = Path(folder) / "mgrn" / f"pretrained_{name}.npz"
        if not path.is_file():
            pytest.skip(f"there is no {path.name} in the folder that OFFPRINT_GOLDEN names")
        return _load(path)

    return load


@pytest.fixture(scope="session")
def weights() -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """The PyTorch state in the arrays of a file: what stands under `w/`."""
    return lambda arrays: {name[2:]: value for name, value in arrays.items() if name.startswith("w/")}


@pytest.fixture
def unchecked_types():
    """Without the test run's own type checks, which would answer a wrong type before the library does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
