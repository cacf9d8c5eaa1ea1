"""Learned layers for NNX: against the formulas, in training and evaluation, and as whole models."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import lax

import offprint.sparsity.nnx as sn
from offprint.core.train import FullBatch, TrainState, scan, supervised_step
from offprint.sparsity._apply import apply
from offprint.sparsity._str import check_str_decay
from offprint.sparsity._tree import named_leaves
from offprint.sparsity._variational import kl_exact, log_alpha_of, variational_loss

X = np.random.default_rng(0).normal(size=(5, 6))
IMAGES = np.random.default_rng(1).normal(size=(2, 6, 6, 4))
F64 = {"param_dtype": jnp.float64}


def rngs(seed=0):
    return nnx.Rngs(seed)


def conv(x, kernel, strides, groups=1):
    return lax.conv_general_dilated(
        x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def spread(shape):
    """From -4 to 4, in a mixed order: some gates shut, some open, some between."""
    size = int(np.prod(shape))
    return jnp.asarray(np.random.default_rng(size).permutation(np.linspace(-4, 4, size)).reshape(shape))


class Net(nnx.Module):
    """One layer of every kind, nested in the ways that models nest."""

    def __init__(self, rngs, dtype=jnp.float32):
        options = {"rngs": rngs, "param_dtype": dtype}
        self.first = sn.HardConcreteConv(4, 6, (3, 3), **options)
        self.norm = nnx.BatchNorm(6, rngs=rngs, param_dtype=dtype)
        self.blocks = nnx.List(
            [
                sn.VariationalConv(6, 6, (3, 3), strides=2, **options),
                sn.STRConv(6, 5, (1, 1), threshold_init=-2, **options),
            ]
        )
        self.head = nnx.Sequential(
            sn.HardConcreteLinear(5, 8, **options),
            nnx.relu,
            sn.VariationalLinear(8, 8, log_sigma2_init=-1.5, **options),
            sn.STRLinear(8, 8, threshold_init=-1.5, **options),
            sn.PowerpropLinear(8, 8, **options),
            sn.ContinuousLinear(8, 8, **options),
            sn.MaskedLinear(8, 8, mask=np.tri(8), **options),
            nnx.Linear(8, 3, **options),
        )

    def __call__(self, x):
        x = nnx.relu(self.norm(self.first(x)))
        for block in self.blocks:
            x = nnx.relu(block(x))
        return self.head(x.mean((1, 2)))


@pytest.fixture(scope="module")
def net():
    model = Net(rngs(3), jnp.float64)
    # As if trained: not at the symmetric start, so that some gates are shut.
    for _, module in nnx.iter_modules(model):
        for name in ("log_alpha", "gate_scores"):
            if isinstance(getattr(module, name, None), nnx.Param):
                variable = getattr(module, name)
                variable[...] = spread(variable.shape)
    return model


@nnx.jit
def call(model, x):
    return model(x)


@pytest.mark.parametrize("granularity", ["input", "output", "weight"])
def test_hard_concrete_linear(granularity):
    layer = sn.HardConcreteLinear(6, 4, granularity=granularity, drop_rate=0.3, rngs=rngs(), **F64)
    kernel, bias, la = (np.asarray(p[...]) for p in (layer.kernel, layer.bias, layer.log_alpha))
    key = jax.random.fold_in(layer.rngs.key[...], layer.rngs.count[...])
    z = np.asarray(layer.gate.draw(key, la))
    expected = {
        "input": lambda z: (X * z) @ kernel + bias,
        "output": lambda z: (X @ kernel + bias) * z,
        "weight": lambda z: X @ (kernel * z) + bias,
    }[granularity]
    np.testing.assert_allclose(call(layer, X), expected(z), rtol=1e-12)
    assert np.abs(np.asarray(call(layer, X)) - expected(z)).max() > 1e-3  # another draw
    layer.eval()
    test = np.asarray(layer.gate.test_gate(la))
    np.testing.assert_allclose(call(layer, X), expected(test), rtol=1e-12)
    np.testing.assert_allclose(layer.penalty(), np.sum(np.asarray(layer.gate.p_nonzero(la))) * 24 / la.size, rtol=1e-12)


@pytest.mark.parametrize(("granularity", "groups"), [("input", 1), ("input", 2), ("output", 2), ("weight", 1)])
def test_hard_concrete_conv(granularity, groups):
    layer = sn.HardConcreteConv(
        4, 6, (3, 3), 2, granularity=granularity, feature_group_count=groups, rngs=rngs(), **F64
    )
    layer.log_alpha[...] = spread(layer.log_alpha.shape)
    layer.eval()
    kernel, z = layer.kernel[...], layer.gates()
    if granularity == "input":
        expected = conv(IMAGES * z, kernel, (2, 2), groups)
    else:
        expected = conv(jnp.asarray(IMAGES), kernel * z, (2, 2), groups)
    np.testing.assert_allclose(call(layer, IMAGES), expected, atol=1e-12)
    shut = float(np.mean(np.asarray(z) == 0))
    assert 0 < shut < 1
    np.testing.assert_allclose(np.mean(~np.asarray(layer.kept())), shut)


def test_gates_of_each_example_differ():
    same = jnp.ones((3, 2, 6))
    layer = sn.HardConcreteLinear(6, 4, per_example=True, rngs=rngs(), **F64)
    y = np.asarray(call(layer, same))
    np.testing.assert_array_equal(y[:, 0], y[:, 1])  # within an example
    assert (np.abs(y[0, 0] - y[1, 0]) > 1e-6).any()
    filters = sn.HardConcreteConv(4, 6, (1, 1), per_example=True, use_bias=False, rngs=rngs(), **F64)
    plain = conv(jnp.asarray(IMAGES), filters.kernel[...], (1, 1))
    ratio = np.asarray(call(filters, IMAGES) / plain)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1], ratio.shape), rtol=1e-9, atol=1e-12)
    assert (np.abs(ratio[0, 0, 0] - ratio[1, 0, 0]) > 1e-6).any()


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_variational_layers(kind):
    if kind == "linear":
        layer = sn.VariationalLinear(6, 4, log_sigma2_init=-2, exact_kl=True, rngs=rngs(), **F64)
        x, product = X, lambda x, k: x @ k
    else:
        layer = sn.VariationalConv(4, 4, (3, 3), 2, log_sigma2_init=-2, exact_kl=True, rngs=rngs(), **F64)
        x, product = IMAGES, lambda x, k: conv(jnp.asarray(x), k, (2, 2))
    kernel, log_sigma2 = layer.kernel[...], layer.log_sigma2[...]
    mean, variance = product(x, kernel), product(x**2, jnp.exp(log_sigma2))
    key = jax.random.fold_in(layer.rngs.key[...], layer.rngs.count[...])
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    np.testing.assert_allclose(call(layer, x), mean + jnp.sqrt(variance + 1e-8) * noise, rtol=1e-12)
    layer.eval()
    kept = np.asarray(log_sigma2 - jnp.log(kernel**2)) < 3
    assert 0 < kept.mean() < 1
    np.testing.assert_array_equal(layer.kept(), kept)
    np.testing.assert_allclose(call(layer, x), product(x, jnp.where(kept, kernel, 0)), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(layer.penalty(), jnp.sum(kl_exact(log_alpha_of(kernel, log_sigma2))), rtol=1e-12)


def test_layers_that_start_as_the_plain_ones():
    """Same key, same weights: powerpropagation and soft gates do not change the function of the start."""
    plain = nnx.Linear(6, 4, rngs=rngs(7), **F64)
    for layer in (
        sn.PowerpropLinear(6, 4, alpha=3, rngs=rngs(7), **F64),
        sn.ContinuousLinear(6, 4, score_init=-0.5, rngs=rngs(7), **F64),
        sn.STRLinear(6, 4, rngs=rngs(7), **F64),
        sn.MaskedLinear(6, 4, rngs=rngs(7), **F64),
    ):
        np.testing.assert_allclose(call(layer, X), call(plain, X), atol=1e-6, err_msg=type(layer).__name__)


def test_continuous_layers_harden_with_beta():
    layer = sn.ContinuousConv(4, 3, (1, 1), rngs=rngs(), **F64)
    layer.gate_scores[...] = spread(layer.gate_scores.shape)
    layer.beta[...] = jnp.float64(1.0)
    soft = np.asarray(call(layer, IMAGES))
    sn.set_beta(layer, 1e4)
    hard = np.asarray(call(layer, IMAGES))
    np.testing.assert_allclose(sn.penalty(layer), np.sum(np.asarray(layer.gate_scores[...]) > 0), rtol=1e-9)
    layer.eval()
    np.testing.assert_allclose(call(layer, IMAGES), hard, atol=1e-9)
    assert np.abs(soft - hard).max() > 1e-2


def test_masked_layers_train_only_what_is_kept():
    mask = np.arange(24).reshape(6, 4) % 3 == 0
    layer = sn.MaskedLinear(6, 4, mask=mask.astype(np.float32), rngs=rngs(), **F64)
    grads = nnx.jit(nnx.grad(lambda layer: jnp.sum(layer(X) ** 2)))(layer)
    np.testing.assert_array_equal(np.asarray(grads["kernel"][...]) != 0, mask)
    assert [path for path, _ in named_leaves(nnx.state(layer, nnx.Param))] == ["bias", "kernel"]
    sn.set_masks(layer, {"kernel": ~mask, "bias": None})
    np.testing.assert_allclose(call(layer, X), X @ np.where(mask, 0, layer.kernel[...]), rtol=1e-12)


def test_a_mask_of_nnx_conv_itself_is_respected():
    mask = jnp.asarray(np.arange(24).reshape(1, 1, 4, 6) % 2)
    layer = sn.STRConv(4, 6, (1, 1), threshold_init=-50, mask=mask, rngs=rngs(), **F64)
    np.testing.assert_allclose(call(layer, IMAGES), conv(jnp.asarray(IMAGES), layer.kernel[...] * mask, (1, 1)))
    np.testing.assert_array_equal(layer.kept(), mask == 1)


def test_hardened_model_is_the_evaluated_one_with_exact_zeros(net):
    model = nnx.clone(net)
    model.eval()
    plain, masks = sn.harden(model)
    np.testing.assert_allclose(call(plain, IMAGES), call(model, IMAGES), atol=1e-12)
    kinds = {type(module) for _, module in nnx.iter_modules(plain)}
    assert kinds == {Net, nnx.List, nnx.Sequential, nnx.Linear, nnx.Conv, nnx.BatchNorm}
    params = nnx.state(plain, nnx.Param)
    held = dict(named_leaves(masks))
    assert [path for path, mask in held.items() if mask is not None] == [
        "blocks/0/kernel",
        "blocks/1/kernel",
        "first/kernel",
        *(f"head/layers/{i}/kernel" for i in (0, 2, 3, 4, 5, 6)),
    ]
    for path, leaf in named_leaves(params):
        if held[path] is not None:
            np.testing.assert_array_equal(np.asarray(leaf) != 0, held[path], err_msg=path)
    assert all(held[path].mean() < 1 for path in ("first/kernel", "blocks/1/kernel", "head/layers/5/kernel"))
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), params, apply(params, masks))
    assert jax.tree.all(same)
    # Nothing is shared with the old model.
    plain.norm.scale[...] = jnp.zeros(6)
    assert np.abs(model.norm.scale[...]).min() > 0


def test_masks_hold_in_further_training(net):
    plain, masks = sn.harden(net)
    model = sn.masked(plain, masks)
    model.eval()
    optimiser = nnx.Optimizer(model, optax.adamw(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimiser):
        grads = nnx.grad(lambda model: jnp.mean(model(IMAGES) ** 2))(model)
        optimiser.update(model, grads)

    for _ in range(2):
        step(model, optimiser)
    again = sn.learned_masks(model)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), again, masks))
    sn.set_masks(model, jax.tree.map(jnp.ones_like, masks))
    assert all(bool(jnp.all(mask)) for mask in jax.tree.leaves(sn.learned_masks(model)))


def test_a_mask_that_the_convolution_has_itself_holds_too():
    fixed = np.ones((3, 3, 2, 4))
    fixed[0] = 0
    net = nnx.Sequential(nnx.Conv(2, 4, (3, 3), mask=jnp.asarray(fixed), rngs=rngs()))
    kernels = lambda leaf: jnp.ones(leaf.shape, bool) if leaf.ndim > 1 else None  # noqa: E731
    model = sn.masked(net, jax.tree.map(kernels, nnx.state(net, nnx.Param)))
    x = jnp.ones((1, 5, 5, 2))
    np.testing.assert_allclose(model(x), net(x), rtol=1e-6)
    np.testing.assert_array_equal(model.layers[0].kept(), fixed != 0)


def test_the_total_penalty(net):
    layers = [net.first, net.blocks[0], net.head.layers[0], net.head.layers[2], net.head.layers[5]]
    np.testing.assert_allclose(
        jax.jit(lambda: sn.penalty(net))(), sum(float(layer.penalty()) for layer in layers), rtol=1e-12
    )


def test_views_switch_the_noise_off(net):
    quiet = nnx.view(net, deterministic=True, use_running_average=True)
    np.testing.assert_array_equal(quiet(IMAGES), quiet(IMAGES))
    assert not net.first.deterministic


def test_seeds_train_together_and_apart_alike():
    """vmap over models equals one model, and steps within a scan carry the noise on."""
    data = {"x": np.float32(X), "y": np.float32(X[:, :1] * 2)}

    def loss(model, batch, key):
        return variational_loss(jnp.mean((model(batch["x"]) - batch["y"]) ** 2), sn.penalty(model), 1000)

    def train(seed):
        rngs = nnx.Rngs(jax.random.key(seed))
        model = nnx.Sequential(sn.VariationalLinear(6, 8, rngs=rngs), nnx.relu, sn.HardConcreteLinear(8, 1, rngs=rngs))
        state = TrainState.create(model, optax.adam(1e-2))
        state, metrics = scan(supervised_step(loss), state, FullBatch(data), 4, jax.random.key(0))
        return metrics["loss"], state.params

    together = jax.jit(jax.vmap(train))(jnp.arange(3))
    alone = jax.jit(train)(1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=2e-5, atol=1e-6), together, alone)
    assert len(np.unique(np.asarray(together[0]))) == together[0].size


def test_sharded_over_eight_devices_equals_one():
    """Examples and the output units of the kernels over the devices: the same noise, outputs and penalty."""
    model = nnx.Sequential(
        sn.VariationalLinear(6, 16, exact_kl=True, rngs=rngs(), **F64),
        sn.HardConcreteLinear(16, 8, granularity="output", rngs=rngs(), **F64),
    )
    graphdef, state = nnx.split(model)
    x = np.random.default_rng(0).normal(size=(8, 6))

    @jax.jit
    def run(state, x):
        merged = nnx.merge(graphdef, state, copy=True)
        return merged(x), sn.penalty(merged)

    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))

    def place(leaf):
        spec = (None,) * (leaf.ndim - 1) + ("d",) * (leaf.ndim > 0)
        return jax.device_put(leaf, jax.NamedSharding(mesh, jax.P(*spec)))

    spread_out = jax.tree.map(place, state)
    rows = jax.device_put(x, jax.NamedSharding(mesh, jax.P("d")))
    for ours, theirs in zip(run(spread_out, rows), run(state, x)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_str_thresholds_of_a_model_are_decayed(net):
    params = nnx.state(net, nnx.Param)
    assert check_str_decay(optax.adamw(1e-3, weight_decay=1e-4), params) == []
    with pytest.warns(UserWarning, match="head/layers/3/threshold"):
        assert len(check_str_decay(optax.adam(1e-3), params)) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sn.HardConcreteLinear(2, 2, granularity="row", rngs=rngs()), "granularity='row'"),
        (lambda: sn.HardConcreteLinear(2, 2, granularity="weight", per_example=True, rngs=rngs()), "per_example"),
        (lambda: sn.HardConcreteConv(2, 2, (1,), drop_rate=0, rngs=rngs()), "drop_rate"),
        (lambda: sn.PowerpropLinear(2, 2, alpha=0.9, rngs=rngs()), "at least 1"),
        (lambda: sn.MaskedLinear(2, 3, mask=np.ones((3, 2)), rngs=rngs()), r"\(2, 3\), not \(3, 2\)"),
        (lambda: sn.MaskedLinear(2, 3, mask=np.full((2, 3), 0.5), rngs=rngs()), "exactly 0 or 1"),
        (lambda: sn.penalty(nnx.Linear(2, 2, rngs=rngs())), "no learned sparse layer"),
        (lambda: sn.harden(nnx.Linear(2, 2, rngs=rngs())), "no learned sparse layer"),
        (lambda: sn.set_beta(nnx.Linear(2, 2, rngs=rngs()), 2.0), "beta"),
        (lambda: sn.masked(nnx.Linear(2, 2, rngs=rngs()), {"kernel": None, "bias": np.ones(2, bool)}), "bias"),
        (lambda: sn.set_masks(nnx.Linear(2, 2, rngs=rngs()), {"kernel": np.ones((2, 2), bool)}), "masked layer"),
    ],
)
def test_bad_input(unchecked_types, call, message):
    with pytest.raises(ValueError, match=message):
        call()
