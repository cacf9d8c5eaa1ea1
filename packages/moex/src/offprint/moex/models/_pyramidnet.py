"""PyramidNet with bottlenecks (Han et al. 2017), whose channels grow by the same amount from block to block."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.moex._module import MoEx
from offprint.moex._plan import MixPlan
from offprint.moex.models._blocks import (
    BatchNorm,
    Classifier,
    Number,
    average_pool,
    convolution,
    global_mean,
    linear,
    stem_updates,
    widen,
)

EXPANSION = 4


class PyramidBlock(nnx.Module):
    """BN, 1x1, BN, ReLU, 3x3, BN, ReLU, 1x1, BN; added to the input, pooled if need be, with channels of zeros."""

    def __init__(self, inputs: int, width: int, stride: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        self.bn1 = BatchNorm(inputs, rngs=rngs)
        self.conv1 = convolution(inputs, width, 1, dtype=dtype, rngs=rngs)
        self.bn2 = BatchNorm(width, rngs=rngs)
        self.conv2 = convolution(width, width, 3, stride, dtype=dtype, rngs=rngs)
        self.bn3 = BatchNorm(width, rngs=rngs)
        self.conv3 = convolution(width, EXPANSION * width, 1, dtype=dtype, rngs=rngs)
        self.bn4 = BatchNorm(EXPANSION * width, rngs=rngs)
        self.stride = stride

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> Float[Array, "batch rows columns outputs"]:
        h = self.conv1(self.bn1(x))
        h = self.conv2(nnx.relu(self.bn2(h)))
        h = self.bn4(self.conv3(nnx.relu(self.bn3(h))))
        shortcut = x if self.stride == 1 else average_pool(x, self.stride)
        return h + widen(shortcut, h.shape[-1])


class PyramidNet(Classifier):
    """PyramidNet-depth (alpha): a 3x3 convolution, three stages of (depth - 2) / 9 bottlenecks, BN, ReLU, mean, linear.

    The width of a bottleneck is 16 + alpha b / (3n) for the b-th of 3n, rounded; its output has four times as many
    channels. Moments are exchanged after the first convolution and its batch normalisation, before any ReLU.

    Args:
        depth: 9n + 2: 11, 110, 164, 200, 272.
        alpha: channels that the widths grow by in all.
        classes: number of logits.
        moex: the exchange, or None for a network without one.
        in_channels: channels of the images.
        double_bn_update: count the stem's batch statistics twice where moments are exchanged, as the official code.
        dtype: of the convolutions' arithmetic; that of images and parameters when None.
        rngs: where the parameters are drawn from.

    Raises:
        ValueError: a depth that is not 9n + 2.
    """

    def __init__(
        self,
        depth: int,
        alpha: Number,
        classes: int,
        *,
        moex: MoEx | None = None,
        in_channels: int = 3,
        double_bn_update: bool = False,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        blocks, left = divmod(depth - 2, 9)
        if left or blocks < 1:
            raise ValueError(f"depth={depth}; a PyramidNet with bottlenecks has 9n + 2 layers: 11, 20, ..., 110, 200")
        self.conv1 = convolution(in_channels, 16, 3, dtype=dtype, rngs=rngs)
        self.bn1 = BatchNorm(16, rngs=rngs)
        self.moex = moex
        self.double_bn_update = double_bn_update
        self.blocks: nnx.List = nnx.List([])
        inputs, width = 16, 16.0
        for number in range(3 * blocks):
            width += alpha / (3 * blocks)  # a running sum: rounding of halves then falls as in the official code
            stride = 2 if number in (blocks, 2 * blocks) else 1
            self.blocks.append(PyramidBlock(inputs, round(width), stride, dtype=dtype, rngs=rngs))
            inputs = EXPANSION * round(width)
        self.bn_final = BatchNorm(inputs, rngs=rngs)
        self.fc = linear(inputs, classes, rngs=rngs)

    def stem(
        self, x: Float[Array, "batch height width channels"], plan: MixPlan | None = None
    ) -> Float[Array, "batch height width features"]:
        """What the exchange is applied to: the first convolution's normalised output."""
        return self.bn1(self.conv1(x), stem_updates(self.double_bn_update, plan))

    def rest(self, h: Float[Array, "batch height width features"]) -> Float[Array, "batch classes"]:
        """Logits from the stem's features."""
        for block in self.blocks:
            h = block(h)
        return self.fc(global_mean(nnx.relu(self.bn_final(h))))
