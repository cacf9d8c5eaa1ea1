"""Multiply-adds read off the jaxpr; nothing is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from offprint.sparsity._macs import macs


def f(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_resnet50(golden):
    rn50 = golden("budgets")
    shapes, places, convolution = rn50["rn50_shape"], rn50["rn50_out_hw"], rn50["rn50_is_conv"]
    params = {
        f"{i:02d}": f(*(shape if is_conv else shape[2:])) for i, (shape, is_conv) in enumerate(zip(shapes, convolution))
    }

    def each_layer(p, x):
        out = []
        for kernel, place in zip(p.values(), places, strict=True):
            if kernel.ndim == 2:
                out.append(jnp.ones((1, kernel.shape[0])) @ kernel)
                continue
            image = jnp.ones(
                (1, *place.tolist(), kernel.shape[2]), jnp.float32
            )  # stride 1 at the output's size costs the same
            numbers = ("NHWC", "HWIO", "NHWC")
            out.append(lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=numbers))
        return out

    found = macs(each_layer, params, None)
    assert found.dense == found.sparse == 4_089_184_256
    np.testing.assert_array_equal([dense for dense, _ in found.by_leaf.values()], rn50["rn50_macs"])
    for kind, percent in (("erk", 900), ("uniform_plus", 950)):
        density = rn50[f"{kind}_{percent}"]
        share = sum(d * n for d, (n, _) in zip(density, found.by_leaf.values(), strict=True)) / found.dense
        np.testing.assert_allclose(share, rn50[f"flopfrac_{kind}_{percent}"], rtol=1e-9)


def test_masks_take_their_share():
    params = {"k": f(3, 3, 2, 4), "w": f(4 * 64, 5), "b": f(5)}

    def apply(p, x):
        h = lax.conv_general_dilated(x, p["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.jit(lambda h: h.reshape(3, -1) @ p["w"].astype(jnp.float32))(h) + p["b"]

    masks = {"k": np.arange(72).reshape(3, 3, 2, 4) % 3 == 0, "w": np.arange(1280).reshape(256, 5) < 128, "b": None}
    found = macs(apply, params, f(3, 8, 8, 2), masks)
    conv, dense = 3 * 64 * 72, 3 * 1280
    assert found.by_leaf == {"k": (conv, conv / 3), "w": (dense, dense / 10)}
    assert (found.dense, found.other) == (conv + dense, 0)
    assert found.sparse == pytest.approx(conv / 3 + dense / 10)
    assert found.speedup == pytest.approx(found.dense / found.sparse)
    assert found.flops == (2 * found.dense, 2 * found.sparse)
    assert str(found).splitlines()[-1].split() == ["total", str(found.dense), f"{found.sparse:.0f}"]


def test_grouped_convolution_counts_its_groups():
    def apply(p, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, p["k"], (2, 2), "SAME", dimension_numbers=numbers, feature_group_count=6)

    assert macs(apply, {"k": f(3, 3, 1, 6)}, f(1, 8, 8, 6)).dense == 16 * 6 * 9


def test_loops_branches_and_products_of_activations():
    params = {"w": f(3, 5, 5), "u": f(5, 5)}

    def apply(p, x):
        h, _ = lax.scan(lambda h, w: (h @ w, None), x, p["w"])
        h = lax.cond(h.sum() > 0, lambda h: h @ p["u"] @ p["u"], lambda h: h @ p["u"], h)
        h = lax.while_loop(lambda h: h.sum() < 0, lambda h: h @ p["u"].T, h)
        return h @ h.T

    masks = {"w": np.arange(75).reshape(3, 5, 5) < 25, "u": None}
    found = macs(apply, params, f(2, 5), masks)
    assert found.by_leaf == {"w": (3 * 50, 50.0), "u": (3 * 50, 150.0)}
    assert found.other == 2 * 2 * 5


def test_masks_of_another_tree():
    with pytest.raises(ValueError, match=r"masks must have the shapes of params: 'w' is \(4, 3\), not \(3, 4\)"):
        macs(lambda p, x: x @ p["w"], {"w": f(3, 4)}, f(1, 3), {"w": np.ones((4, 3), bool)})
