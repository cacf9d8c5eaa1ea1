"""Pruned models run with sparse kernels: same outputs, and a reason for every layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.sparsity import _inference
from offprint.sparsity._inference import sparse_inference

RNG = np.random.default_rng(0)
SIDE = 32


def block_mask(rows, columns, density):
    return np.kron(RNG.random((rows // 8, columns // 8)) < density, np.ones((8, 8), bool))


PARAMS = {
    "a": {"kernel": RNG.normal(size=(SIDE, 48)), "bias": RNG.normal(size=48)},
    "b": {"kernel": RNG.normal(size=(48, SIDE))},
    "tied": {"kernel": RNG.normal(size=(SIDE, 48))},
    "full": {"kernel": RNG.normal(size=(SIDE, SIDE))},
    "conv": {"kernel": RNG.normal(size=(3, 1, 16))},
    "point": {"kernel": RNG.normal(size=(1, 16, 8))},
    "unused": {"kernel": RNG.normal(size=(8, 8))},
}
MASKS = {
    "a": {"kernel": block_mask(SIDE, 48, 0.3), "bias": None},
    "b": {"kernel": block_mask(48, SIDE, 0.3)},
    "tied": {"kernel": block_mask(SIDE, 48, 0.3)},
    "full": {"kernel": np.ones((SIDE, SIDE), bool)},
    "conv": {"kernel": RNG.random((3, 1, 16)) < 0.5},
    "point": {"kernel": block_mask(16, 8, 0.5)[None]},
    "unused": {"kernel": np.eye(8) > 0},
}
DIMENSIONS = ("NWC", "WIO", "NWC")


def apply_fn(params, x):
    hidden = jax.nn.relu(x @ params["a"]["kernel"] + params["a"]["bias"])  # relu is a call within the program
    hidden = jnp.einsum("...i,io->...o", hidden, params["b"]["kernel"])
    hidden = hidden @ params["tied"]["kernel"] @ params["tied"]["kernel"].T
    hidden = jnp.tanh(hidden @ params["full"]["kernel"])
    signal = jax.lax.conv_general_dilated(
        hidden[..., None], params["conv"]["kernel"], (1,), "SAME", dimension_numbers=DIMENSIONS
    )
    signal = jax.lax.conv_general_dilated(  # one position wide, every other position, channels first in the output
        signal, params["point"]["kernel"], (2,), "VALID", dimension_numbers=("NWC", "WIO", "NCW")
    )
    return {"hidden": hidden, "signal": signal}


def masked(params, masks):
    return jax.tree.map(lambda p, m: p if m is None else np.where(m, p, 0), params, masks)


@pytest.fixture(scope="module")
def forced():
    """The model with every product that can be sparse made so."""
    x = RNG.normal(size=(5, SIDE))
    return sparse_inference(apply_fn, PARAMS, MASKS, x, backend="block")


def test_outputs_are_those_of_the_masked_model(forced):
    apply2, _ = forced
    expected = jax.jit(apply_fn)
    for batch in (5, 3):  # another batch than the example's is compiled anew
        x = RNG.normal(size=(batch, SIDE))
        found = apply2(x)
        for name, array in expected(masked(PARAMS, MASKS), x).items():
            np.testing.assert_allclose(found[name], array, atol=1e-10)
    x = RNG.normal(size=(5, SIDE))
    carried = jax.jit(lambda apply2, x: apply2(x)["hidden"])(apply2, x)
    np.testing.assert_allclose(carried, apply2(x)["hidden"], atol=1e-12)


def test_report_says_what_became_of_every_layer(forced):
    apply2, report = forced
    layers = {layer.path: layer for layer in report.layers}
    assert set(layers) == {f"{name}/kernel" for name in PARAMS}
    for name in ("a", "b", "tied", "point"):
        layer = layers[f"{name}/kernel"]
        assert layer.chosen.startswith(("block", "unstructured"))
        assert "times as fast as dense" in layer.reason
        assert {"dense", layer.chosen} <= set(layer.seconds)
        assert layer.sparsity == 1 - MASKS[name]["kernel"].mean()
    assert layers["conv/kernel"].chosen == layers["unused/kernel"].chosen == "dense"
    assert "used by conv_general_dilated" in layers["conv/kernel"].reason
    assert "compact" in layers["conv/kernel"].reason
    assert layers["unused/kernel"].reason == "not used"
    assert "whole model" in str(report)
    assert "a/kernel (32, 48)" in str(report)
    stored = sum(leaf.size for leaf in jax.tree.leaves(apply2) if jnp.issubdtype(leaf.dtype, jnp.floating))
    assert stored < sum(leaf.size for leaf in jax.tree.leaves(PARAMS))  # the pruned weights are really gone


@pytest.mark.parametrize(("gain", "chosen"), [(2.0, "block 8x8"), (0.5, "dense")])
def test_the_faster_form_is_taken(monkeypatch, gain, chosen):
    """With clocks that say which is faster."""

    def clock(calls):
        return {name: 1.0 if name in ("dense", "sparse") else 1 / gain * (1 + (name != "block 8x8")) for name in calls}

    monkeypatch.setattr(_inference, "_least", clock)
    kernel, mask = RNG.normal(size=(SIDE, SIDE)), block_mask(SIDE, SIDE, 0.3)
    _, report = sparse_inference(lambda p, x: x @ p["w"], {"w": kernel}, {"w": mask}, np.ones((2, SIDE)))
    (layer,) = report.layers
    assert layer.chosen == chosen
    expected = "2.00 times as fast" if gain > 1 else "block 8x8 was the best other form and took 2.00 times as long"
    assert expected in layer.reason


def test_a_model_that_is_slower_as_a_whole_stays_dense(monkeypatch):
    """The layer wins by itself, by this clock, and the model loses."""

    def clock(calls):
        return {name: {"dense": 1.0, "sparse": 1.5, "block 8x8": 0.5}.get(name, 0.75) for name in calls}

    monkeypatch.setattr(_inference, "_least", clock)
    params = {"w": RNG.normal(size=(SIDE, SIDE)), "v": RNG.normal(size=(SIDE, SIDE))}
    masks = {"w": block_mask(SIDE, SIDE, 0.3), "v": np.ones((SIDE, SIDE), bool)}
    arguments = lambda p, x: x @ p["w"] @ p["v"], params, masks, np.ones((2, SIDE))
    apply2, report = sparse_inference(*arguments)
    assert [layer.chosen for layer in report.layers] == ["dense", "dense"]
    assert report.layers[0].reason.startswith("too much is left")
    assert report.layers[1].reason == "block 8x8 was 2.00 times as fast as dense, but the whole model was slower"
    assert (report.dense_seconds, report.seconds, report.slower_seconds) == (1.0, 1.0, 1.5)
    assert "with sparse layers 1.5e+03 ms, so all of them were left dense" in str(report)
    assert all(isinstance(leaf, jax.Array) and leaf.shape == (SIDE, SIDE) for leaf in jax.tree.leaves(apply2))
    _, report = sparse_inference(*arguments, backend="block")  # what is asked for is done
    assert report.layers[1].chosen == "block 8x8"
    assert (report.seconds, report.slower_seconds) == (1.5, None)


def test_what_cannot_win_stays_dense():
    mask = RNG.random((SIDE, SIDE)) < 0.7
    arguments = lambda p, x: x @ p["w"], {"w": RNG.normal(size=(SIDE, SIDE))}, {"w": mask}, np.ones((2, SIDE))
    for backend, reason in (("auto", "too much is left"), ("nm", "not n:m along the inputs"), ("dense", "asked for")):
        _, report = sparse_inference(*arguments, backend=backend)
        assert reason in report.layers[0].reason
        assert report.layers[0].chosen == "dense"


def test_nm_and_loops():
    """An n:m kernel is packed; one that is used in a loop stays dense and the report says so."""
    mask = (np.arange(SIDE)[:, None] % 4 < 2) & np.ones((1, SIDE), bool)
    params = {"w": RNG.normal(size=(SIDE, SIDE)), "u": RNG.normal(size=(SIDE, SIDE)) / 8}
    masks = {"w": mask, "u": mask}

    def recurrent(params, x):
        x = (x @ params["w"]).astype(jnp.float32) @ params["w"].astype(jnp.float32)
        return jax.lax.fori_loop(0, 3, lambda _, h: jnp.tanh(h @ params["u"].astype(jnp.float32)), x)

    x = RNG.normal(size=(4, SIDE))
    apply2, report = sparse_inference(recurrent, params, masks, x, backend="nm")
    assert [layer.chosen for layer in report.layers] == ["dense", "2:4"]  # in the order of the keys
    assert "used by" in report.layers[0].reason
    np.testing.assert_allclose(apply2(x), jax.jit(recurrent)(masked(params, masks), x), atol=1e-3)


def test_nnx_model():
    model = nnx.Sequential(
        nnx.Linear(SIDE, 16, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(2)), nnx.Linear(16, 3, rngs=nnx.Rngs(1))
    )
    mask = block_mask(SIDE, 16, 0.4)
    masks = {"layers": {0: {"kernel": mask, "bias": None}}}
    x = RNG.normal(size=(4, SIDE)).astype(np.float32)
    model.eval()
    apply2, report = sparse_inference(model, None, masks, x, backend="block")
    assert [layer.path for layer in report.layers] == ["layers/0/kernel"]
    model.layers[0].kernel[...] = model.layers[0].kernel[...] * mask
    np.testing.assert_allclose(apply2(x), nnx.jit(lambda m, x: m(x))(model, x), atol=1e-5)


W, M, X = {"w": np.ones((4, 4))}, {"w": np.eye(4) > 0}, np.ones((2, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: sparse_inference(f, W, M), "needs example inputs"),
        (lambda f: sparse_inference(f, W, M, X, backend="gpu"), "backend must be one of auto"),
        (lambda f: sparse_inference(f, W, {"v": M["w"]}, X), "a leaf 'v' that params have not; theirs are w"),
        (lambda f: sparse_inference(f, W, {"w": np.ones((4, 5), bool)}, X), r"must have shape \(4, 4\), not \(4, 5\)"),
        (lambda f: sparse_inference(f, W, {"w": np.full((4, 4), 0.5)}, X), "True or False, or exactly 0 or 1"),
        (lambda f: sparse_inference(nnx.Linear(4, 4, rngs=nnx.Rngs(0)), W, M, X), "give None as params"),
    ],
)
def test_bad_input(call, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        call(lambda p, x: x @ p["w"])
