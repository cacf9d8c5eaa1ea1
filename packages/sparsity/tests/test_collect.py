"""What `collect` sees of models: dictionaries, NNX modules, convolutions, attention, scans; pruning whole models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.sparsity import layerwise
from offprint.sparsity.layerwise import as_matrix, collect, from_matrix, prune_in_sequence, prune_layerwise


@pytest.fixture(scope="module")
def mlp():
    generator = np.random.default_rng(0)
    params = {
        "first": {"kernel": generator.normal(size=(6, 8)), "bias": generator.normal(size=8)},
        "second": {"kernel": generator.normal(size=(8, 4))},
    }
    return jax.tree.map(jnp.asarray, params), [generator.normal(size=(20, 6)), generator.normal(size=(7, 6))]


def apply_mlp(params, x):
    return jax.nn.relu(x @ params["first"]["kernel"] + params["first"]["bias"]) @ params["second"]["kernel"]


def hidden(params, x):
    return np.maximum(x @ np.asarray(params["first"]["kernel"]) + np.asarray(params["first"]["bias"]), 0)


def test_sums_over_batches(mlp):
    params, batches = mlp
    stats = collect(jax.jit(apply_mlp), params, iter(batches))
    x = np.concatenate(batches)
    assert list(stats) == ["first/kernel", "second/kernel"]
    for path, inputs in (("first/kernel", x), ("second/kernel", hidden(params, x))):
        np.testing.assert_allclose(stats[path].H, 2 * inputs.T @ inputs, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(stats[path].norms, np.linalg.norm(inputs, axis=0), rtol=1e-10)
        assert stats[path].n == 27


def test_batches_on_several_devices(mlp):
    params, _ = mlp
    x = np.random.default_rng(1).normal(size=(16, 6))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    H = collect(apply_mlp, params, [sharded])["first/kernel"].H
    np.testing.assert_allclose(H, 2 * x.T @ x, rtol=1e-10, atol=1e-10)


class Model(nnx.Module):
    """Convolutions with strides, dilation and padding, attention, a cast to bfloat16."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(3, 4, (3, 2), strides=2, padding=((1, 0), (0, 1)), rngs=rngs)
        self.dilated = nnx.Conv(4, 8, (3, 2), kernel_dilation=(1, 2), use_bias=False, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.out = nnx.Linear(8, 3, dtype=jnp.bfloat16, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.dilated(nnx.relu(self.conv(x)))
        x = x.reshape(x.shape[0], -1, 8)
        return self.out((x + self.attention(x)).mean(axis=1))


def test_nnx_modules_convolutions_and_attention():
    model = Model(nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 9, 8, 3)), jnp.float32)
    stats = collect(model, None, [x, x])
    shapes = {path: (each.H.shape[0], each.axes, int(each.n)) for path, each in stats.items()}
    assert shapes == {
        "conv/kernel": (18, (0, 1, 2), 64),
        "dilated/kernel": (24, (0, 1, 2), 64),
        "attention/query/kernel": (8, (0,), 64),
        "attention/key/kernel": (8, (0,), 64),
        "attention/value/kernel": (8, (0,), 64),
        "attention/out/kernel": (8, (0, 1), 64),
        "out/kernel": (8, (0,), 4),
    }
    # The energy of what the kernel makes of the inputs is that of the layer's outputs: the patches are in its order.
    for layer, inputs in ((model.conv, x), (model.dilated, nnx.relu(model.conv(x)))):
        made = layer(inputs) - (0 if layer.bias is None else layer.bias[...])
        own = stats["conv/kernel" if layer is model.conv else "dilated/kernel"]
        kernel = as_matrix(layer.kernel[...], own.axes)
        np.testing.assert_allclose(own.H @ kernel, gradient_of_energy(layer, inputs, own.axes), rtol=2e-4, atol=1e-3)
        np.testing.assert_allclose(np.sum(kernel * (own.H @ kernel)) / 2, 2 * np.sum(np.square(made)), rtol=1e-4)


def gradient_of_energy(layer, inputs, axes):
    """2XᵀXw is the gradient of ‖Xw‖² (two batches)."""
    graph, kernel, rest = nnx.split(layer, lambda path, _: path[-1] == "kernel", ...)

    def energy(kernel):
        copy = nnx.merge(graph, kernel, rest)
        return 2 * jnp.sum((copy(inputs) - (0 if copy.bias is None else copy.bias[...])) ** 2)

    return as_matrix(jax.tree.leaves(jax.grad(energy)(kernel))[0], axes)


def test_scans_over_stacked_layers_and_over_time():
    generator = np.random.default_rng(3)
    stack, cell = generator.normal(size=(3, 4, 4)) / 2, generator.normal(size=(4, 4)) / 2
    params = {"stack": {"kernel": stack}, "cell": {"kernel": cell}}
    masks = np.arange(16).reshape(4, 4) % 3 > 0

    def apply_fn(params, x):
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, params["stack"]["kernel"])
        step = jax.checkpoint(lambda w, h: jnp.tanh(h @ jnp.where(masks, w * masks, 0)))
        return jax.lax.scan(lambda h, _: (step(params["cell"]["kernel"], h), None), x, None, length=4)[0]

    x = generator.normal(size=(10, 4))
    stats = collect(apply_fn, params, [x])
    h, inputs = x, []
    for layer in range(3):
        inputs.append(h)
        h = np.tanh(h @ stack[layer])
    np.testing.assert_allclose(stats["stack/kernel"].H, [2 * each.T @ each for each in inputs], rtol=1e-9, atol=1e-9)
    inputs = []
    for _ in range(4):
        inputs.append(h)
        h = np.tanh(h @ (cell * masks))
    np.testing.assert_allclose(stats["cell/kernel"].H, sum(2 * each.T @ each for each in inputs), rtol=1e-9, atol=1e-9)
    assert stats["cell/kernel"].n == 40
    pruned, kept = prune_layerwise(params, stats, "wanda", 0.5)
    assert kept["stack"]["kernel"].shape == (3, 4, 4)
    expected = layerwise.wanda(stack[1], stats["stack/kernel"].norms[1], 0.5)
    np.testing.assert_array_equal(pruned["stack"]["kernel"][1], expected.kernel)


def largest(kernel, H, sparsity, *, power):
    """A method of one's own, in NumPy: magnitudes times the diagonal of H."""
    score = np.abs(kernel) * np.diagonal(H)[:, None] ** power
    mask = score > np.quantile(score, sparsity)
    return layerwise.Pruned(jnp.asarray(np.where(mask, kernel, 0)), jnp.asarray(mask))


def test_prune_layerwise_is_the_method_on_every_kernel(mlp):
    params, batches = mlp
    stats = collect(apply_mlp, params, batches)
    pruned, masks = prune_layerwise(params, stats, largest, 0.5, power=0.5)
    expected = largest(params["second"]["kernel"], stats["second/kernel"].H, 0.5, power=0.5)
    np.testing.assert_array_equal(pruned["second"]["kernel"], expected.kernel)
    np.testing.assert_array_equal(masks["second"]["kernel"], expected.mask)
    assert masks["first"]["bias"] is None
    assert pruned["first"]["bias"] is params["first"]["bias"]
    budget = {"first": {"kernel": 0.75, "bias": None}, "second": {"kernel": 0.5}}
    _, masks = prune_layerwise(params, stats, largest, budget=budget, power=1)
    assert [int(masks[name]["kernel"].sum()) for name in ("first", "second")] == [36, 16]
    _, masks = prune_layerwise(params, {"second/kernel": stats["second/kernel"]}, "wanda", nm=(2, 4))
    assert masks["first"]["kernel"] is None
    assert masks["second"]["kernel"].sum() == 16


def test_in_sequence_later_layers_see_pruned_ones(mlp):
    params, batches = mlp
    pruned, masks = prune_in_sequence(apply_mlp, params, batches, "wanda", 0.5)
    first = layerwise.wanda(params["first"]["kernel"], np.linalg.norm(np.concatenate(batches), axis=0), 0.5)
    np.testing.assert_array_equal(pruned["first"]["kernel"], first.kernel)
    seen = hidden(pruned, np.concatenate(batches))
    second = layerwise.wanda(params["second"]["kernel"], np.linalg.norm(seen, axis=0), 0.5)
    np.testing.assert_array_equal(pruned["second"]["kernel"], second.kernel)
    np.testing.assert_array_equal(masks["second"]["kernel"], second.mask)


def test_matrices_of_kernels():
    kernel = np.arange(24.0).reshape(2, 3, 4)
    matrix = as_matrix(kernel, (0, 2))
    assert matrix.shape == (8, 3)
    assert matrix[1 * 4 + 2, 1] == kernel[1, 1, 2]
    np.testing.assert_array_equal(from_matrix(matrix, (2, 3, 4), (0, 2)), kernel)


def test_few_rows_are_warned_of(mlp):
    params, _ = mlp
    stats = collect(apply_mlp, params, [np.random.default_rng(4).normal(size=(3, 6))])
    with pytest.warns(UserWarning, match="first/kernel: 3 rows of calibration for 6 inputs"):
        prune_layerwise(params, {"first/kernel": stats["first/kernel"]}, "sparsegpt", 0.5)


def grouped(params, x):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), "SAME", dimension_numbers=dimensions, feature_group_count=2
    )


@pytest.mark.parametrize(
    ("message", "apply_fn", "shape", "x"),
    [
        ("it goes into exp", lambda params, x: x @ jnp.exp(params["kernel"]), (4, 4), np.ones((2, 4))),
        ("it is not used in a product", lambda params, x: x, (4, 4), np.ones((2, 4))),
        ("used in two ways", lambda params, x: x @ params["kernel"] @ params["kernel"].T, (4, 4), np.ones((2, 4))),
        ("batch axes", lambda params, x: jnp.einsum("ei,eio->eo", x, params["kernel"]), (2, 4, 4), np.ones((2, 4))),
        ("a grouped convolution", grouped, (3, 3, 1, 2), np.ones((1, 4, 4, 2))),
    ],
)
def test_kernels_that_cannot_be_followed(message, apply_fn, shape, x):
    with pytest.raises(ValueError, match=message):
        collect(apply_fn, {"kernel": jnp.ones(shape)}, [x])


def test_bad_input(mlp, unchecked_types):
    params, batches = mlp
    stats = collect(apply_mlp, params, batches, hessian=False)
    assert stats["first/kernel"].H is None
    half = {"first": {"kernel": 0.5}}
    for message, call in (
        ("no batches", lambda: collect(apply_mlp, params, [])),
        ("no batches", lambda: prune_in_sequence(apply_mlp, params, [], "wanda", 0.5)),
        ("give one of sparsity, nm and budget", lambda: prune_layerwise(params, stats)),
        ("method must be one of", lambda: prune_layerwise(params, stats, "magnitude", 0.5)),
        ("lobs has no n:m form", lambda: prune_layerwise(params, stats, "lobs", nm=(2, 4))),
        ("first/kernel: the statistics have no H", lambda: prune_layerwise(params, stats, "obc", 0.5)),
        ("first/kernel: 2:4 needs axis 0", lambda: prune_layerwise(params, stats, "wanda", nm=(2, 4))),
        ("first/kernel: sparsity must be", lambda: prune_layerwise(params, stats, "wanda", 90)),
        ("but no such leaf", lambda: prune_layerwise({"kernel": np.ones((2, 2))}, stats, "wanda", 0.5)),
        (
            "no density for second/kernel",
            lambda: prune_layerwise(params, stats, "wanda", budget=half),
        ),
        ("chooses no leaf", lambda: collect(apply_mlp, params, batches, filter=lambda path, leaf: False)),
    ):
        with pytest.raises(ValueError, match=message):
            call()
