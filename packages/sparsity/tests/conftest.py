"""What the tests of this package share: float64, eight simulated devices, the golden arrays."""

from collections.abc import Callable
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 8)  # before anything else makes JAX look for its devices
jax.config.update("jax_enable_x64", True)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Load the arrays of `golden/NAME.npz`; golden/README.md says what they are."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def unchecked_types():
    """Without the test run's own type checks, which would answer a wrong type before the library does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module", autouse=True)
def forget():
    """Drop compiled programs after each file: nothing in the next one needs them, and they take gigabytes."""
    yield
    jax.clear_caches()
