"""The convolutional network: blocks against golden ones, the depth table, and the loop against its unrolled form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.resnet_scaling import CONV_STAGES, ConvResNet, block_kernels, conv_block


@pytest.mark.parametrize("case", ["down_c4_c8", "id_c6"])
def test_golden_block(golden, case):
    arrays = golden(f"conv_block_{case}")
    kernels = [
        jnp.asarray(arrays[name]).transpose(2, 3, 1, 0) for name in ("conv1", "conv2", "shortcut") if name in arrays
    ]
    x, cotangent = (jnp.asarray(arrays[name]).transpose(0, 2, 3, 1) for name in ("x", "cotangent"))
    stride = int(arrays["stride"])

    @jax.jit
    def block(x, cotangent, *kernels):
        y, pull = jax.vjp(lambda x, *kernels: conv_block(x, *kernels, stride=stride), x, *kernels)
        return y, pull(cotangent)

    y, (grad_x, *grads) = block(x, cotangent, *kernels)
    np.testing.assert_allclose(y.transpose(0, 3, 1, 2), arrays["y"], atol=1e-5)
    np.testing.assert_allclose(grad_x.transpose(0, 3, 1, 2), arrays["grad_x"], atol=1e-5)
    for name, grad in zip(("conv1", "conv2", "shortcut"), grads):
        np.testing.assert_allclose(grad.transpose(3, 2, 0, 1), arrays[f"grad_{name}"], atol=1e-5)


def test_depth_table():
    assert len(CONV_STAGES) == 16
    for depth, stages in CONV_STAGES.items():
        assert sum(stages) == depth
        assert len(stages) == 4


@pytest.fixture(scope="module")
def small():
    """A network of two stages for 8x8 images, with images."""
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3), jnp.float32)
    return ConvResNet((3, 2), 4, rngs=nnx.Rngs(0)), images


def loss_and_gradient(model, images):
    graphdef, state = nnx.split(model)
    return jax.jit(jax.value_and_grad(lambda state: jnp.sum(nnx.merge(graphdef, state)(images) ** 2)))(state)


@pytest.mark.parametrize("options", [{"unroll": True}, {"remat": True}], ids=["unrolled", "rematerialised"])
def test_the_loop_changes_nothing(small, options):
    model, images = small
    other = ConvResNet((3, 2), 4, rngs=nnx.Rngs(0), **options)
    for one, two in zip(
        jax.tree.leaves(loss_and_gradient(model, images)), jax.tree.leaves(loss_and_gradient(other, images))
    ):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


def test_against_blocks_one_by_one(small):
    """The network is its blocks in the order of `block_kernels`, between a first convolution and a linear layer."""
    model, images = small
    assert model.depth == 5
    blocks = list(block_kernels(model))
    assert [block.stage for block in blocks] == [0, 0, 0, 1, 1]
    assert [block.grid1[0] for block in blocks] == [8, 8, 8, 8, 4]
    assert [block.grid2[0] for block in blocks] == [8, 8, 8, 4, 4]
    assert blocks[3].conv1.shape == (8, 4, 3, 3)

    @jax.jit
    def plain(images):
        x = jax.nn.relu(
            jax.lax.conv_general_dilated(
                images, model.stem[...], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        )
        for number, block in enumerate(blocks):
            shortcut = model.stages[1].shortcut[...] if number == 3 else None
            kernels = [kernel.transpose(2, 3, 1, 0) for kernel in (block.conv1, block.conv2)]
            x = conv_block(x, *kernels, shortcut, stride=2 if number == 3 else 1)
        return x.mean(axis=(1, 2)) @ model.kernel[...] + model.bias[...]

    np.testing.assert_allclose(jax.jit(model)(images), plain(images), atol=1e-6)


def test_half_precision_keeps_float32_parameters(small):
    model, images = small
    half = ConvResNet((3, 2), 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    out = jax.jit(half)(images)
    assert out.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(half)))
    np.testing.assert_allclose(out, jax.jit(model)(images), atol=0.02)


def test_initialisation(small):
    """U(±1/√fan_in), as in PyTorch: deviation 1/√(3 fan_in), no bias in the convolutions."""
    model = small[0]
    for kernel, fan_in in ((model.stages[0].conv1, 36), (model.stages[1].conv1, 72), (model.stages[1].first_conv1, 36)):
        values = np.asarray(kernel[...])
        assert np.abs(values).max() <= fan_in**-0.5
        np.testing.assert_allclose(values.std(), (3 * fan_in) ** -0.5, rtol=0.08)
    sizes = [np.size(leaf) for leaf in jax.tree.leaves(nnx.state(model))]
    blocks = 6 * 9 * 4**2 + 9 * 4 * 8 + 3 * 9 * 8**2 + 4 * 8
    assert sum(sizes) == 27 * 4 + blocks + 8 * 10 + 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ConvResNet((), rngs=nnx.Rngs(0)), r"at least one stage is needed, such as stages=\(2, 2, 2, 2\)"),
        (lambda: ConvResNet((2, 0), rngs=nnx.Rngs(0)), "sizes must be at least 1, got stage 1: 0"),
        (lambda: ConvResNet((1,), 0, rngs=nnx.Rngs(0)), "sizes must be at least 1, got width: 0"),
    ],
)
def test_bad_sizes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_images_of_another_size(small):
    with pytest.raises(ValueError, match="2 stages need images of 8x8, got 32x32: resize them"):
        small[0](jnp.zeros((1, 32, 32, 3)))
