"""The paper's convolutional residual network: no biases in the convolutions, no batch normalisation."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

Kernel = Float[Array, "height width in out"]

CONV_STAGES: dict[int, tuple[int, ...]] = {
    8: (2, 2, 2, 2),
    11: (2, 3, 4, 2),
    12: (2, 3, 5, 2),
    14: (3, 3, 5, 3),
    16: (3, 4, 6, 3),
    18: (3, 4, 8, 3),
    20: (3, 4, 10, 3),
    24: (3, 4, 14, 3),
    28: (3, 4, 18, 3),
    33: (3, 4, 23, 3),
    42: (3, 8, 28, 3),
    50: (3, 8, 36, 3),
    65: (3, 8, 51, 3),
    80: (4, 12, 60, 4),
    100: (4, 18, 74, 4),
    121: (4, 31, 82, 4),
}
"""Blocks of the four stages for every depth of the paper; the depth L is the number of blocks."""


def conv_block(
    x: Float[Array, "batch height width in"],
    conv1: Float[Array, "3 3 in out"],
    conv2: Float[Array, "3 3 out out"],
    shortcut: Float[Array, "1 1 in out"] | None = None,
    *,
    stride: int = 1,
) -> Float[Array, "batch rows columns out"]:
    """One residual block: ReLU(conv2 * ReLU(conv1 * x) + shortcut(x)), NHWC images and HWIO kernels.

    Args:
        x: images.
        conv1: first kernel, applied with `stride`; the paper's A_k.
        conv2: second kernel; the paper's Δ_k.
        shortcut: kernel of the 1x1 convolution, with `stride`, where shapes change; the identity when None.
        stride: of the block.
    """
    y = _conv(jax.nn.relu(_conv(x, conv1, stride, 1)), conv2, 1, 1)
    return jax.nn.relu(y + (x if shortcut is None else _conv(x, shortcut, stride, 0)))


class ConvStage(nnx.Module):
    """Blocks of one width: the first alone, which may change the shape, the others stacked along a leading axis."""

    def __init__(self, key: PRNGKeyArray, blocks: int, inputs: int, outputs: int, stride: int):
        keys = jax.random.split(key, 5)
        self.stride = stride
        self.first_conv1 = nnx.Param(_uniform(keys[0], (3, 3, inputs, outputs)))
        self.first_conv2 = nnx.Param(_uniform(keys[1], (3, 3, outputs, outputs)))
        changes = stride != 1 or inputs != outputs
        self.shortcut = nnx.Param(_uniform(keys[2], (1, 1, inputs, outputs))) if changes else None
        rest = (blocks - 1, 3, 3, outputs, outputs)
        self.conv1 = nnx.Param(_uniform(keys[3], rest)) if blocks > 1 else None
        self.conv2 = nnx.Param(_uniform(keys[4], rest)) if blocks > 1 else None

    def __call__(
        self, x: Float[Array, "batch height width in"], *, dtype: DTypeLike, remat: bool, unroll: int | bool
    ) -> Float[Array, "batch rows columns out"]:
        """The stage's output, computed in `dtype`."""

        def first(x: Array, *kernels: Array) -> Array:
            return conv_block(x, *kernels, stride=self.stride)

        def step(x: Array, kernels: tuple[Array, Array]) -> tuple[Array, None]:
            return conv_block(x, *kernels), None

        if remat:  # prevent_cse is for code outside loops, which the first block is
            first, step = jax.checkpoint(first), jax.checkpoint(step, prevent_cse=False)
        alone = (self.first_conv1, self.first_conv2, self.shortcut)
        kernels = [one[...].astype(dtype) for one in alone if one is not None]
        x = first(x, *kernels)
        if self.conv1 is None or self.conv2 is None:
            return x
        return jax.lax.scan(step, x, (self.conv1[...].astype(dtype), self.conv2[...].astype(dtype)), unroll=unroll)[0]


class ConvResNet(nnx.Module):
    """3x3 convolution and ReLU, four stages of residual blocks, 4x4 average pooling, a linear layer.

    Convolutions have no bias and there is no normalisation; kernels, weights and bias start as U(±1/√fan_in), which
    is what PyTorch does. Within a stage all blocks but the first run in one scan, so that compile time depends on the
    number of stages alone.

    Args:
        stages: blocks of each stage; `CONV_STAGES[L]` for a depth L of the paper. Widths double from stage to stage,
            strides are 1, 2, 2, ...
        width: channels of the first stage.
        classes: outputs.
        channels: of the images.
        dtype: in which to compute, such as `jnp.bfloat16`; parameters stay float32, and so do the outputs.
        remat: compute the inside of every block again in the backward pass, to keep only the blocks' inputs.
        unroll: as in `jax.lax.scan`. On the CPU a convolution that is trained inside a loop is 40 to 80 times slower
            than on its own: use True there, at the price of a compile time that grows with the depth.
        rngs: stream `params`.

    Raises:
        ValueError: no stage, or a stage, width, classes or channels below 1.

    Source: Cohen et al. 2021, section on CIFAR-10, and its code.
    """

    def __init__(
        self,
        stages: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        *,
        classes: int = 10,
        channels: int = 3,
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
        unroll: int | bool = 1,
        rngs: nnx.Rngs,
    ):
        sizes = {"width": width, "classes": classes, "channels": channels}
        sizes |= {f"stage {number}": blocks for number, blocks in enumerate(stages)}
        if bad := [f"{name}: {size}" for name, size in sizes.items() if size < 1]:
            raise ValueError(f"sizes must be at least 1, got {', '.join(bad)}")
        if not stages:
            raise ValueError("at least one stage is needed, such as stages=(2, 2, 2, 2)")
        self.blocks = tuple(stages)
        self.dtype, self.remat, self.unroll = jnp.dtype(dtype), remat, unroll
        self.stem = nnx.Param(_uniform(rngs.params(), (3, 3, channels, width)))
        outputs = [width * 2**number for number in range(len(stages))]
        self.stages = nnx.List(
            ConvStage(rngs.params(), blocks, inputs, out, 1 if number == 0 else 2)
            for number, (blocks, inputs, out) in enumerate(zip(stages, [width, *outputs], outputs))
        )
        self.kernel = nnx.Param(_uniform(rngs.params(), (outputs[-1], classes)))
        bound = 1 / math.sqrt(outputs[-1])
        self.bias = nnx.Param(jax.random.uniform(rngs.params(), (classes,), jnp.float32, -bound, bound))

    @property
    def depth(self) -> int:
        """L, the number of residual blocks."""
        return sum(self.blocks)

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch classes"]:
        """Logits, float32 or wider.

        Raises:
            ValueError: images whose size the stages' strides and the 4x4 pooling do not bring to 1x1, such as other
                than 32x32 for four stages.
        """
        side = 4 * 2 ** (len(self.blocks) - 1)
        if images.shape[1:3] != (side, side):
            raise ValueError(
                f"{len(self.blocks)} stages need images of {side}x{side}, got {images.shape[1]}x{images.shape[2]}: "
                "resize them, or change the number of stages"
            )
        x = jax.nn.relu(_conv(images.astype(self.dtype), self.stem[...].astype(self.dtype), 1, 1))
        for stage in self.stages:
            x = stage(x, dtype=self.dtype, remat=self.remat, unroll=self.unroll)
        pooled = x.mean(axis=(1, 2), dtype=self.kernel.dtype)
        return pooled @ self.kernel[...] + self.bias[...]


class BlockKernels(NamedTuple):
    """Kernels of one block, (out, in, 3, 3) as `conv_singular_values` takes them, and the images that they act on."""

    stage: int
    conv1: Float[Array, "out in 3 3"]
    conv2: Float[Array, "out out 3 3"]
    grid1: tuple[int, int]
    grid2: tuple[int, int]


def block_kernels(model: ConvResNet) -> Iterator[BlockKernels]:
    """The kernels of every block in the order of depth."""
    size = 4 * 2 ** (len(model.blocks) - 1)
    for number, stage in enumerate(model.stages):
        inner = size // stage.stride
        first = _oihw(stage.first_conv1[...]), _oihw(stage.first_conv2[...])
        yield BlockKernels(number, first[0], first[1], (size, size), (inner, inner))
        size = inner
        if stage.conv1 is not None and stage.conv2 is not None:
            for conv1, conv2 in zip(stage.conv1[...], stage.conv2[...]):
                yield BlockKernels(number, _oihw(conv1), _oihw(conv2), (size, size), (size, size))


def _oihw(kernel: Array) -> Array:
    return kernel.transpose(3, 2, 0, 1)


def _conv(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _uniform(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    """U(±1/√fan_in) for a kernel whose last axis holds the outputs; a leading fifth axis stacks blocks."""
    bound = 1 / math.sqrt(math.prod(shape[-4:-1]))
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
