"""DenseNet-BC (Huang et al. 2017): bottlenecks, and half of the channels kept between dense blocks."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.moex._module import MoEx
from offprint.moex._plan import MixPlan
from offprint.moex.models._blocks import (
    BatchNorm,
    Classifier,
    average_pool,
    convolution,
    global_mean,
    linear,
    max_pool_3x3,
)


class Bottleneck(nnx.Module):
    """BN, ReLU, 1x1 convolution to 4k channels, BN, ReLU, 3x3 convolution to k, put behind the input's channels."""

    def __init__(self, inputs: int, growth: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        self.bn1 = BatchNorm(inputs, rngs=rngs)
        self.conv1 = convolution(inputs, 4 * growth, 1, dtype=dtype, rngs=rngs)
        self.bn2 = BatchNorm(4 * growth, rngs=rngs)
        self.conv2 = convolution(4 * growth, growth, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> Float[Array, "batch height width outputs"]:
        h = self.conv1(nnx.relu(self.bn1(x)))
        h = self.conv2(nnx.relu(self.bn2(h)))
        return jnp.concatenate([x, h.astype(x.dtype)], axis=-1)


class Transition(nnx.Module):
    """BN, ReLU, 1x1 convolution, 2x2 average pool."""

    def __init__(self, inputs: int, outputs: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        self.bn = BatchNorm(inputs, rngs=rngs)
        self.conv = convolution(inputs, outputs, 1, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> Float[Array, "batch rows columns outputs"]:
        return average_pool(self.conv(nnx.relu(self.bn(x))))


class DenseNet(Classifier):
    """DenseNet-BC with any number of dense blocks.

    `DenseNet.cifar(100, 12, 10)` is DenseNet-BC-100 (k = 12); `DenseNet((6, 12, 64, 48), 32, 1000, stem="imagenet")`
    is DenseNet-265. Moments are exchanged after the stem: the first convolution for small images, that convolution,
    BN, ReLU and the pool (`pool0`) for large ones.

    Args:
        layers: bottlenecks in each dense block.
        growth: channels k that a bottleneck adds.
        classes: number of logits.
        moex: the exchange, or None for a network without one.
        stem: "cifar" (3x3 convolution) or "imagenet" (7x7 at stride 2, BN, ReLU, 3x3 max-pool); 2k channels.
        in_channels: channels of the images.
        dtype: of the convolutions' arithmetic; that of images and parameters when None.
        rngs: where the parameters are drawn from.
    """

    def __init__(
        self,
        layers: Sequence[int],
        growth: int,
        classes: int,
        *,
        moex: MoEx | None = None,
        stem: Literal["cifar", "imagenet"] = "cifar",
        in_channels: int = 3,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        channels = 2 * growth
        kernel, stride = (3, 1) if stem == "cifar" else (7, 2)
        self.conv0 = convolution(in_channels, channels, kernel, stride, dtype=dtype, rngs=rngs)
        self.bn0 = None if stem == "cifar" else BatchNorm(channels, rngs=rngs)
        self.moex = moex
        self.layers: nnx.List[Bottleneck | Transition] = nnx.List([])
        for number, count in enumerate(layers):
            for _ in range(count):
                self.layers.append(Bottleneck(channels, growth, dtype=dtype, rngs=rngs))
                channels += growth
            if number < len(layers) - 1:
                self.layers.append(Transition(channels, channels // 2, dtype=dtype, rngs=rngs))
                channels //= 2
        self.bn_final = BatchNorm(channels, rngs=rngs)
        self.fc = linear(channels, classes, rngs=rngs)

    @classmethod
    def cifar(
        cls,
        depth: int,
        growth: int,
        classes: int,
        *,
        moex: MoEx | None = None,
        in_channels: int = 3,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ) -> "DenseNet":
        """DenseNet-BC-depth for small images: three dense blocks of (depth - 4) / 6 bottlenecks.

        Raises:
            ValueError: a depth that is not 6n + 4.
        """
        layers, left = divmod(depth - 4, 6)
        if left or layers < 1:
            raise ValueError(f"depth={depth}; a DenseNet-BC for small images has 6n + 4 layers: 40, 100, 190, ...")
        return cls((layers,) * 3, growth, classes, moex=moex, in_channels=in_channels, dtype=dtype, rngs=rngs)

    def stem(
        self, x: Float[Array, "batch height width channels"], plan: MixPlan | None = None
    ) -> Float[Array, "batch rows columns features"]:
        """What the exchange is applied to."""
        h = self.conv0(x)
        return h if self.bn0 is None else max_pool_3x3(nnx.relu(self.bn0(h)))

    def rest(self, h: Float[Array, "batch rows columns features"]) -> Float[Array, "batch classes"]:
        """Logits from the stem's features."""
        for layer in self.layers:
            h = layer(h)
        return self.fc(global_mean(nnx.relu(self.bn_final(h))))
