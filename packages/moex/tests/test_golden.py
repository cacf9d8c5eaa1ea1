import jax.numpy as jnp
import numpy as np

from offprint.moex import standardize


def test_three_samples_worked_by_hand():
    # mean 2, variance 2/3
    np.testing.assert_allclose(
        standardize(jnp.array([[1.0], [2.0], [3.0]])), [[-(1.5**0.5)], [0.0], [1.5**0.5]], rtol=1e-6
    )
