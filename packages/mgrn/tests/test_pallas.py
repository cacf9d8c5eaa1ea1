"""The GPU kernel of the marginal recurrence, run by the interpreter, against the scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.mgrn._config import Execution
from offprint.mgrn._init import init
from offprint.mgrn._layer import apply
from offprint.mgrn._marginal import Projected, marginal_recurrence

# Batch and hidden units below, at and above one tile of the hardware, none of them a power of two but one.
SHAPES = ((2, 3, 5, 3), (1, 4, 70, 16), (3, 2, 17, 20))


@pytest.mark.parametrize("shape", SHAPES)
def test_kernel_is_the_scan(shape):
    G, T, B, H = shape
    keys = jax.random.split(jax.random.key(0), 5)
    inputs = jax.random.normal(keys[0], (G, T, B, 3 * H), jnp.float64)
    projected = Projected(inputs[..., : 2 * H], inputs[..., 2 * H :])
    w_hh = jax.random.normal(keys[1], (G, H, 3 * H), jnp.float64) / H**0.5
    h0 = jax.random.uniform(keys[2], (G, B, H), jnp.float64, -1, 1)
    cotangents = tuple(
        jax.random.normal(k, shape, jnp.float64) for k, shape in zip(keys[3:], ((G, T, B, H), (G, B, H)))
    )

    def both(kernel):
        def run(*arguments):
            return marginal_recurrence(*arguments, Execution(kernel=kernel))[:2]

        outputs, pullback = jax.vjp(jax.jit(run), projected, w_hh, h0)
        return outputs, pullback(cotangents)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), both("interpret"), both("scan"))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_kernel_in_short_types(dtype):
    params = init(jax.random.key(0), groups=(2, 3), hidden=5, size_of=2, dtype=dtype)
    x = jax.random.normal(jax.random.key(1), (3, 4, 5), dtype)
    out = apply(params, x, kernel="interpret")
    assert out.dtype == dtype
    np.testing.assert_allclose(
        out.astype(np.float32), apply(params, x).astype(np.float32), rtol=0, atol=1e-6 if dtype == jnp.float32 else 1e-2
    )


def test_kernels_lower_for_a_gpu():
    """One kernel forwards and one backwards in the program for CUDA, whatever device is here."""
    params = init(jax.random.key(0), groups=(8, 8), hidden=6, size_of=4)
    x = jnp.zeros((32, 5, 16), jnp.float32)
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(apply(params, x, kernel="pallas"))))
    program = gradient.trace(params).lower(lowering_platforms=("cuda",)).as_text()
    assert "mgrn_marginal_forward" in program
    assert "mgrn_marginal_backward" in program
