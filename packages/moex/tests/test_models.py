"""The networks: shapes, published sizes, where moments are exchanged, what evaluation leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.moex import MixPlan, MoEx, moment_exchange
from offprint.moex.models import BatchNorm, CifarResNet, DenseNet, PyramidNet, WideResNet, resnet18, resnet50

KEY = jax.random.key(0)
PLAN = MixPlan(jnp.asarray(True), jnp.array([1, 2, 0], jnp.int32), jnp.asarray(0.5, jnp.float32))
OFF = MixPlan(jnp.asarray(False), jnp.arange(3, dtype=jnp.int32), jnp.asarray(1.0, jnp.float32))

SMALL = {
    "resnet8": lambda **kw: CifarResNet(8, 5, widths=(4, 6, 8), **kw),
    "resnet8 with convolutions": lambda **kw: CifarResNet(8, 5, widths=(4, 6, 8), shortcut="conv", **kw),
    "wide": lambda **kw: WideResNet(10, 1, 5, **kw),
    "dense": lambda **kw: DenseNet.cifar(10, 2, 5, **kw),
    "dense, imagenet stem": lambda **kw: DenseNet((1, 1), 2, 5, stem="imagenet", **kw),
    "pyramid": lambda **kw: PyramidNet(11, 3, 5, **kw),
}


def parameters(make):
    abstract = nnx.eval_shape(make)
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(abstract, nnx.Param)))


# Millions to the digits that are published; the whole numbers are those of the PyTorch implementations.
PUBLISHED = {
    "ResNet-110": (lambda: CifarResNet(110, 10, rngs=nnx.Rngs(0)), 1.7, 1_727_962),
    "DenseNet-BC-100": (lambda: DenseNet.cifar(100, 12, 10, rngs=nnx.Rngs(0)), 0.8, 769_162),
    "WRN-28-10": (lambda: WideResNet(28, 10, 10, rngs=nnx.Rngs(0)), 36.5, 36_479_194),
    "PyramidNet-200": (lambda: PyramidNet(200, 240, 100, rngs=nnx.Rngs(0)), 26.8, None),
    "ResNet-18": (lambda: resnet18(1000, rngs=nnx.Rngs(0)), 11.7, 11_689_512),
    "ResNet-50": (lambda: resnet50(1000, rngs=nnx.Rngs(0)), 25.6, 25_557_032),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    make, millions, exact = PUBLISHED[name]
    count = parameters(make)
    assert round(count / 1e6, 1) == millions
    assert exact in (None, count)


@pytest.fixture(scope="module", params=SMALL)
def case(request):
    """A small network, images, and its call in train and in eval mode as compiled functions of network, x and plan."""
    network = SMALL[request.param](moex=MoEx("pono"), rngs=nnx.Rngs(0))

    def call(training):
        def run(network, x, plan):
            network = nnx.clone(network)
            network.train() if training else network.eval()
            return network(x, plan)

        return jax.jit(run)

    return network, jax.random.normal(KEY, (3, 8, 8, 3), jnp.float32), call(True), call(False)


def test_moments_are_exchanged_in_training_alone(case):
    network, x, train, evaluate = case
    exchanged, plain = train(network, x, PLAN), train(network, x, OFF)
    assert exchanged.shape == (3, 5)
    assert np.isfinite(exchanged).all()
    assert np.abs(exchanged - plain).max() > 1e-3
    np.testing.assert_array_equal(evaluate(network, x, PLAN), evaluate(network, x, OFF))


def test_the_exchange_sits_between_stem_and_rest():
    network = SMALL["resnet8"](moex=MoEx("pono"), rngs=nnx.Rngs(0))
    x = jax.random.normal(KEY, (3, 8, 8, 3), jnp.float32)
    whole = jax.jit(lambda network, x, plan: nnx.clone(network)(x, plan))
    rest = jax.jit(lambda network, h: nnx.clone(network).rest(h))
    by_hand = rest(network, moment_exchange(nnx.clone(network).stem(x), PLAN.swap_index))
    np.testing.assert_allclose(whole(network, x, PLAN), by_hand, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("position", "channels", "size"), [("stem", 64, 8), ("C2", 64, 8), ("C3", 128, 4), ("C4", 256, 2), ("C5", 512, 1)]
)
def test_positions_of_resnet18(position, channels, size):
    make = lambda: resnet18(4, moex=MoEx("pono"), position=position, rngs=nnx.Rngs(0))  # noqa: E731
    network = nnx.eval_shape(make)
    features = jax.eval_shape(lambda network, x: network.stem(x), network, jnp.zeros((2, 32, 32, 3)))
    assert features.shape == (2, size, size, channels)
    logits = jax.eval_shape(lambda network, h: network.rest(h), network, features)
    assert logits.shape == (2, 4)


def test_stem_of_the_cifar_networks_is_before_the_relu():
    for name in ("resnet8", "pyramid"):
        network = SMALL[name](rngs=nnx.Rngs(0))
        assert float(network.stem(jax.random.normal(KEY, (2, 8, 8, 3), jnp.float32)).min()) < 0


def test_initialisation():
    """Kernels from N(0, 2 / (k² outputs)), the linear layer from U(-1/sqrt(inputs), 1/sqrt(inputs))."""
    network = CifarResNet(8, 400, widths=(64, 64, 64), rngs=nnx.Rngs(1))
    assert float(network.blocks[0].conv1.kernel[...].std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    for values in (network.fc.kernel[...], network.fc.bias[...]):
        assert 0.95 / 8 < float(jnp.abs(values).max()) <= 1 / 8
        assert float(values.std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.1)


def test_batch_norm_is_that_of_pytorch():
    """Biased variance for the batch, unbiased for the running average; momentum is the weight of the new value."""
    x = jax.random.normal(KEY, (4, 3, 2), jnp.float32) * 3 + 1
    norm = BatchNorm(2, rngs=nnx.Rngs(0))
    y = norm(x)
    flat = np.asarray(x).reshape(-1, 2)
    np.testing.assert_allclose(y.reshape(-1, 2), (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5), atol=1e-6)
    np.testing.assert_allclose(norm.mean[...], 0.1 * flat.mean(0), atol=1e-6)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * flat.var(0, ddof=1), atol=1e-5)
    norm(x, updates=2)
    np.testing.assert_allclose(norm.mean[...], 0.9**2 * 0.1 * flat.mean(0) + 0.19 * flat.mean(0), atol=1e-6)
    norm.eval()
    before = norm.mean[...]
    z = norm(x)
    np.testing.assert_array_equal(before, norm.mean[...])
    np.testing.assert_allclose(z, (x - norm.mean[...]) / np.sqrt(norm.var[...] + 1e-5), atol=1e-5)


def test_the_stems_batch_statistics_count_twice_on_request():
    x = jax.random.normal(KEY, (3, 8, 8, 3), jnp.float32) + 1
    means = {}
    for double in (False, True):
        network = CifarResNet(8, 5, widths=(4, 4, 4), double_bn_update=double, rngs=nnx.Rngs(0))
        network.stem(x, PLAN)
        means[double] = network.bn1.mean[...]
    np.testing.assert_allclose(means[True], 1.9 * means[False], rtol=1e-5)


def test_half_precision_convolutions():
    network = CifarResNet(8, 5, widths=(4, 4, 4), moex=MoEx("pono"), dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = jax.random.normal(KEY, (3, 8, 8, 3), jnp.float32)
    assert jax.eval_shape(lambda network, x: network.stem(x), network, x).dtype == jnp.bfloat16
    assert jax.eval_shape(lambda network, x, plan: network(x, plan), network, x, PLAN).dtype == jnp.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CifarResNet(9, 5, rngs=nnx.Rngs(0)), r"depth=9; a CIFAR ResNet has 6n \+ 2 layers"),
        (lambda: CifarResNet(8, 5, widths=(4, 4), rngs=nnx.Rngs(0)), r"widths=\(4, 4\); three are needed"),
        (lambda: WideResNet(20, 1, 5, rngs=nnx.Rngs(0)), r"depth=20; a wide ResNet has 6n \+ 4 layers"),
        (lambda: DenseNet.cifar(12, 2, 5, rngs=nnx.Rngs(0)), r"depth=12; a DenseNet-BC for small images"),
        (lambda: PyramidNet(12, 3, 5, rngs=nnx.Rngs(0)), r"depth=12; a PyramidNet with bottlenecks has 9n \+ 2"),
    ],
)
def test_wrong_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_position(unchecked_types):
    with pytest.raises(ValueError, match="position='C1'; moments are exchanged after one of stem, C2"):
        resnet18(4, position="C1", rngs=nnx.Rngs(0))
