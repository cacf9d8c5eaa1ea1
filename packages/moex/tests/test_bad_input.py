import jax.numpy as jnp
import pytest

from offprint.moex import standardize


def test_one_sample_has_no_standard_score():
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        standardize(jnp.ones((1, 2)))
