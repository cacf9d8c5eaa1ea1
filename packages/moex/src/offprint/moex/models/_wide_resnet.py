"""Wide residual networks (Zagoruyko and Komodakis 2016)."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.moex._module import MoEx
from offprint.moex._plan import MixPlan
from offprint.moex.models._blocks import BatchNorm, Classifier, Number, convolution, global_mean, linear


class WideBlock(nnx.Module):
    """BN, ReLU, 3x3 convolution, twice, added to the input; where the shape changes, to a 1x1 convolution of it."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, *, dropout: Number, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        self.bn1 = BatchNorm(inputs, rngs=rngs)
        self.conv1 = convolution(inputs, outputs, 3, stride, dtype=dtype, rngs=rngs)
        self.bn2 = BatchNorm(outputs, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.conv2 = convolution(outputs, outputs, 3, dtype=dtype, rngs=rngs)
        same = stride == 1 and inputs == outputs
        self.project = None if same else convolution(inputs, outputs, 1, stride, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> Float[Array, "batch rows columns outputs"]:
        active = nnx.relu(self.bn1(x))
        h = nnx.relu(self.bn2(self.conv1(active)))
        h = self.conv2(self.dropout(h))
        return h + (x if self.project is None else self.project(active))


class WideResNet(Classifier):
    """WRN-depth-width: a 3x3 convolution, three stages of (depth - 4) / 6 pre-activated blocks, BN, ReLU, mean, linear.

    Moments are exchanged after the first convolution.

    Args:
        depth: 6n + 4: 16, 28, 40.
        width: factor of the channels 16, 32, 64.
        classes: number of logits.
        moex: the exchange, or None for a network without one.
        dropout: rate of the dropout inside the blocks.
        in_channels: channels of the images.
        dtype: of the convolutions' arithmetic; that of images and parameters when None.
        rngs: where the parameters (and dropout) are drawn from.

    Raises:
        ValueError: a depth that is not 6n + 4.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        classes: int,
        *,
        moex: MoEx | None = None,
        dropout: Number = 0.0,
        in_channels: int = 3,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        blocks, left = divmod(depth - 4, 6)
        if left or blocks < 1:
            raise ValueError(f"depth={depth}; a wide ResNet has 6n + 4 layers: 10, 16, 22, 28, ...")
        self.conv1 = convolution(in_channels, 16, 3, dtype=dtype, rngs=rngs)
        self.moex = moex
        self.blocks: nnx.List = nnx.List([])
        inputs = 16
        for stage, base in enumerate((16, 32, 64)):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                self.blocks.append(WideBlock(inputs, base * width, stride, dropout=dropout, dtype=dtype, rngs=rngs))
                inputs = base * width
        self.bn_final = BatchNorm(inputs, rngs=rngs)
        self.fc = linear(inputs, classes, rngs=rngs)

    def stem(
        self, x: Float[Array, "batch height width channels"], plan: MixPlan | None = None
    ) -> Float[Array, "batch height width features"]:
        """What the exchange is applied to: the first convolution's output."""
        return self.conv1(x)

    def rest(self, h: Float[Array, "batch height width features"]) -> Float[Array, "batch classes"]:
        """Logits from the stem's features."""
        for block in self.blocks:
            h = block(h)
        return self.fc(global_mean(nnx.relu(self.bn_final(h))))
