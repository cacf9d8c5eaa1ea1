"""ResNet-18 and ResNet-50 for large images (He et al. 2016), with a choice of where moments are exchanged."""

from collections.abc import Sequence
from typing import Literal

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.moex._module import MoEx
from offprint.moex._plan import MixPlan
from offprint.moex.models._blocks import BatchNorm, Classifier, convolution, global_mean, linear, max_pool_3x3

Position = Literal["stem", "C2", "C3", "C4", "C5"]
POSITIONS: tuple[Position, ...] = ("stem", "C2", "C3", "C4", "C5")


class ResidualBlock(nnx.Module):
    """Basic (3x3, 3x3) or bottleneck (1x1, 3x3 with the stride, 1x1 to four times the width) residual block."""

    def __init__(
        self, inputs: int, width: int, stride: int, *, bottleneck: bool, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        # Kernel, outputs and stride of every convolution.
        shapes = [(3, width, stride), (3, width, 1)]
        if bottleneck:
            shapes = [(1, width, 1), (3, width, stride), (1, 4 * width, 1)]
        self.convolutions: nnx.List = nnx.List([])
        self.norms: nnx.List = nnx.List([])
        outputs = inputs
        for kernel, channels, step in shapes:
            self.convolutions.append(convolution(outputs, channels, kernel, step, dtype=dtype, rngs=rngs))
            self.norms.append(BatchNorm(channels, rngs=rngs))
            outputs = channels
        same = stride == 1 and inputs == outputs
        self.project = None if same else convolution(inputs, outputs, 1, stride, dtype=dtype, rngs=rngs)
        self.project_bn = None if same else BatchNorm(outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> Float[Array, "batch rows columns outputs"]:
        h, last = x, len(self.convolutions) - 1
        for number, (conv, norm) in enumerate(zip(self.convolutions, self.norms)):
            h = norm(conv(h))
            h = nnx.relu(h) if number < last else h
        if self.project is None or self.project_bn is None:
            return nnx.relu(h + x)
        return nnx.relu(h + self.project_bn(self.project(x)))


class ResNet(Classifier):
    """7x7 convolution at stride 2, BN, ReLU, 3x3 max-pool, four stages of residual blocks (C2..C5), mean, linear.

    Args:
        blocks: residual blocks of the four stages: (2, 2, 2, 2) for ResNet-18, (3, 4, 6, 3) for ResNet-50.
        classes: number of logits.
        bottleneck: bottleneck blocks (ResNet-50) or basic ones (ResNet-18).
        moex: the exchange, or None for a network without one.
        position: where moments are exchanged: after the stem (default of the official code), or after a stage.
        in_channels: channels of the images.
        dtype: of the convolutions' arithmetic; that of images and parameters when None.
        rngs: where the parameters are drawn from.

    Raises:
        ValueError: an unknown position, or a number of stages other than four.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        classes: int,
        *,
        bottleneck: bool,
        moex: MoEx | None = None,
        position: Position = "stem",
        in_channels: int = 3,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        if position not in POSITIONS:
            raise ValueError(f"position={position!r}; moments are exchanged after one of {', '.join(POSITIONS)}")
        if len(blocks) != 4:
            raise ValueError(f"blocks={tuple(blocks)}; four numbers are needed, one for each stage")
        self.conv1 = convolution(in_channels, 64, 7, 2, dtype=dtype, rngs=rngs)
        self.bn1 = BatchNorm(64, rngs=rngs)
        self.moex = moex
        self.blocks: nnx.List = nnx.List([])
        inputs = 64
        for stage, count in enumerate(blocks):
            width = 64 * 2**stage
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                self.blocks.append(ResidualBlock(inputs, width, stride, bottleneck=bottleneck, dtype=dtype, rngs=rngs))
                inputs = 4 * width if bottleneck else width
        self.blocks_before = sum(blocks[: POSITIONS.index(position)])
        self.fc = linear(inputs, classes, rngs=rngs)

    def stem(
        self, x: Float[Array, "batch height width channels"], plan: MixPlan | None = None
    ) -> Float[Array, "batch rows columns features"]:
        """What the exchange is applied to, at the position that was chosen."""
        h = max_pool_3x3(nnx.relu(self.bn1(self.conv1(x))))
        for block in self.blocks[: self.blocks_before]:
            h = block(h)
        return h

    def rest(self, h: Float[Array, "batch rows columns features"]) -> Float[Array, "batch classes"]:
        """Logits from what `stem` returns."""
        for block in self.blocks[self.blocks_before :]:
            h = block(h)
        return self.fc(global_mean(h))


def resnet18(
    classes: int,
    *,
    moex: MoEx | None = None,
    position: Position = "stem",
    in_channels: int = 3,
    dtype: DTypeLike | None = None,
    rngs: nnx.Rngs,
) -> ResNet:
    """ResNet-18; see `ResNet`."""
    return ResNet(
        (2, 2, 2, 2),
        classes,
        bottleneck=False,
        moex=moex,
        position=position,
        in_channels=in_channels,
        dtype=dtype,
        rngs=rngs,
    )


def resnet50(
    classes: int,
    *,
    moex: MoEx | None = None,
    position: Position = "stem",
    in_channels: int = 3,
    dtype: DTypeLike | None = None,
    rngs: nnx.Rngs,
) -> ResNet:
    """ResNet-50; see `ResNet`."""
    return ResNet(
        (3, 4, 6, 3),
        classes,
        bottleneck=True,
        moex=moex,
        position=position,
        in_channels=in_channels,
        dtype=dtype,
        rngs=rngs,
    )
