"""The public PyTorch code's numbers: exchange forward and backward, PONO with the moment shortcut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.moex import inject, moment_exchange, normalize

COMMON = ("pono", "in", "ln")
GROUPED = ("gn2", "gn-d2", "gpono2", "gpono-d4")
FILES = {
    "functional_basic": (*COMMON, *GROUPED),
    "functional_eps1e-3_b2": (*COMMON, *GROUPED),
    "functional_constant_features": COMMON,
    "functional_positive_only": (*COMMON, *GROUPED),
    "pointcloud": (*COMMON, "gpono2", "gpono-d6"),  # and gn: see the last test
}
DTYPES = [jnp.float32, jnp.float64]


def assert_close(here, there, tolerance):
    """Equal up to a share of the largest entry."""
    assert here.shape == there.shape
    np.testing.assert_allclose(here, there, rtol=0, atol=tolerance * np.abs(there).max())


def with_gradients(arrays, norms, dtype, **options):
    """By norm the output and its gradient, all of them compiled together."""

    @jax.jit
    def compute(x, cotangent, swap_index):
        results = {}
        for norm in norms:
            y, pull = jax.vjp(lambda x, norm=norm: moment_exchange(x, swap_index, norm, **options), x)
            results[norm] = y, pull(cotangent)[0]
        return results

    return compute(*(jnp.asarray(arrays[key], dtype) for key in ("x", "cotangent")), arrays["swap_index"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("file", FILES)
def test_exchange(golden, file, dtype):
    arrays = golden(file)
    positive_only = file == "functional_positive_only"
    results = with_gradients(
        arrays,
        FILES[file],
        dtype,
        channel_axis=2 if file == "pointcloud" else 1,
        eps=float(arrays["epsilon"]),
        positive_only=positive_only,
    )
    loose = file in ("functional_positive_only", "functional_constant_features")
    for norm, (y, dx) in results.items():
        name = norm.replace("-", "_")
        assert y.dtype == dx.dtype == dtype
        assert_close(y, arrays[f"y_{name}"], 2e-5 if loose else 2e-6)
        assert_close(dx, arrays[f"dx_{name}"], 3e-3 if positive_only else 5e-6 if dtype == jnp.float32 else 2e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_moment_shortcut(golden, dtype):
    arrays = golden("pono_module")

    @jax.jit
    def shortcut(a, b):
        norm_a, mean_a, std_a = normalize(a, channel_axis=1)
        _, mean_b, std_b = normalize(b, channel_axis=1)
        return inject(norm_a, mean_b, std_b, channel_axis=1), (norm_a, mean_a, std_a)

    a, b, cotangent = (jnp.asarray(arrays[key], dtype) for key in ("a", "b", "cotangent"))
    y, pull, parts = jax.vjp(shortcut, a, b, has_aux=True)
    assert_close(y, arrays["y"], 2e-6)
    for here, name in zip((*parts, *pull(cotangent)), ("norm_a", "mean_a", "std_a", "da", "db"), strict=True):
        assert_close(here, arrays[name], 2e-6)


def test_groups_of_point_clouds(golden):
    """The cloud file's gn is its pono, bit for bit, though the norms differ; so gn on clouds is held against images."""
    clouds = golden("pointcloud")
    for name in ("gn3", "gn_d2"):
        np.testing.assert_array_equal(clouds[f"y_{name}"], clouds["y_pono"])

    arrays = golden("functional_basic")
    rows = {key: a.reshape(4, 8, 30).swapaxes(1, 2) if a.ndim == 4 else a for key, a in arrays.items()}
    for norm, (y, dx) in with_gradients(rows, ("gn2", "gn-d2"), jnp.float64).items():
        assert_close(y, rows[f"y_{norm.replace('-', '_')}"], 2e-6)
        assert_close(dx, rows[f"dx_{norm.replace('-', '_')}"], 2e-6)
