import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.moex import standardize
from offprint.moex.data import gaussian

X = gaussian(jax.random.key(1), 20, 3)


def test_jit_and_vmap_equal_plain():
    np.testing.assert_allclose(jax.jit(standardize)(X), standardize(X), rtol=1e-5)
    batch = X.reshape(2, 10, 3)
    np.testing.assert_allclose(jax.vmap(standardize)(batch)[1], standardize(batch[1]), rtol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.floats(-10, 10), st.floats(0.1, 10))
def test_shift_and_scale_change_nothing(shift, scale):
    np.testing.assert_allclose(standardize(shift + scale * X), standardize(X), atol=1e-4)
