"""ResNet-(6n+2) for small images (He et al. 2016, section 4.2)."""

from collections.abc import Sequence
from typing import Literal

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.moex._module import MoEx
from offprint.moex._plan import MixPlan
from offprint.moex.models._blocks import BatchNorm, Classifier, convolution, global_mean, linear, stem_updates, widen

Shortcut = Literal["pad", "conv"]


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions with batch normalisation, added to the input; ReLU behind the sum."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, *, shortcut: Shortcut, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        self.conv1 = convolution(inputs, outputs, 3, stride, dtype=dtype, rngs=rngs)
        self.bn1 = BatchNorm(outputs, rngs=rngs)
        self.conv2 = convolution(outputs, outputs, 3, dtype=dtype, rngs=rngs)
        self.bn2 = BatchNorm(outputs, rngs=rngs)
        self.stride, self.outputs = stride, outputs
        projects = shortcut == "conv" and (stride != 1 or inputs != outputs)
        self.project = convolution(inputs, outputs, 1, stride, dtype=dtype, rngs=rngs) if projects else None
        self.project_bn = BatchNorm(outputs, rngs=rngs) if projects else None

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> Float[Array, "batch rows columns outputs"]:
        h = nnx.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        if self.project is not None and self.project_bn is not None:
            return nnx.relu(h + self.project_bn(self.project(x)))
        return nnx.relu(h + widen(x[:, :: self.stride, :: self.stride], self.outputs))


class CifarResNet(Classifier):
    """ResNet-(6n+2): a 3x3 convolution, three stages of n basic blocks with strides 1, 2, 2, global mean, linear.

    Moments are exchanged after the first convolution and its batch normalisation, before the ReLU, as in the official
    CIFAR code.

    Args:
        depth: 6n + 2: 8, 20, 56, 110, ...
        classes: number of logits.
        moex: the exchange, or None for a network without one.
        widths: channels of the three stages.
        in_channels: channels of the images.
        shortcut: what adapts the input of a stage: "pad" (zero channels, no parameters; option A of He et al.) or
            "conv" (1x1 convolution and batch normalisation).
        double_bn_update: count the stem's batch statistics twice where moments are exchanged, as the official code.
        dtype: of the convolutions' arithmetic; that of images and parameters when None.
        rngs: where the parameters are drawn from.

    Raises:
        ValueError: a depth that is not 6n + 2, or a number of widths other than three.
    """

    def __init__(
        self,
        depth: int,
        classes: int,
        *,
        moex: MoEx | None = None,
        widths: Sequence[int] = (16, 32, 64),
        in_channels: int = 3,
        shortcut: Shortcut = "pad",
        double_bn_update: bool = False,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        blocks, left = divmod(depth - 2, 6)
        if left or blocks < 1:
            raise ValueError(f"depth={depth}; a CIFAR ResNet has 6n + 2 layers: 8, 14, 20, ..., 110")
        if len(widths) != 3:
            raise ValueError(f"widths={tuple(widths)}; three are needed, one for each stage")
        self.conv1 = convolution(in_channels, widths[0], 3, dtype=dtype, rngs=rngs)
        self.bn1 = BatchNorm(widths[0], rngs=rngs)
        self.moex = moex
        self.double_bn_update = double_bn_update
        self.blocks: nnx.List = nnx.List([])
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                self.blocks.append(BasicBlock(inputs, outputs, stride, shortcut=shortcut, dtype=dtype, rngs=rngs))
                inputs = outputs
        self.fc = linear(inputs, classes, rngs=rngs)

    def stem(
        self, x: Float[Array, "batch height width channels"], plan: MixPlan | None = None
    ) -> Float[Array, "batch height width features"]:
        """What the exchange is applied to: the first convolution's normalised output."""
        return self.bn1(self.conv1(x), stem_updates(self.double_bn_update, plan))

    def rest(self, h: Float[Array, "batch height width features"]) -> Float[Array, "batch classes"]:
        """Logits from the stem's features."""
        h = nnx.relu(h)
        for block in self.blocks:
            h = block(h)
        return self.fc(global_mean(h))
