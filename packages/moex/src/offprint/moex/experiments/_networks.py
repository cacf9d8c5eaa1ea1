"""The networks of the paper's tables by name, with what is published of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx
from jax.typing import DTypeLike

from offprint.moex import MoEx
from offprint.moex.models import CifarResNet, DenseNet, PyramidNet, WideResNet

Build = Callable[..., nnx.Module]


class Network(NamedTuple):
    """A network for small images."""

    build: Build
    """Called as build(classes, moex=..., in_channels=..., dtype=..., rngs=...)."""
    parameters: float | None = None
    """Millions of parameters, as published; None for networks that are not of the paper."""
    cifar10: tuple[float, float] | None = None
    """Test error in % of baseline and MoEx on CIFAR-10, as reported in Table 1, unchecked."""
    cifar100: tuple[float, float] | None = None
    """Likewise on CIFAR-100."""


def _resnet(depth: int, **fixed: Any) -> Build:
    return lambda classes, **options: CifarResNet(depth, classes, **fixed, **options)


NETWORKS = {
    "resnet8": Network(_resnet(8)),
    "resnet20": Network(_resnet(20)),
    "resnet110": Network(_resnet(110), 1.7, (6.82, 6.03), (26.28, 25.47)),
    "densenet-bc-100": Network(
        lambda classes, **options: DenseNet.cifar(100, 12, classes, **options), 0.8, (4.67, 4.58), (22.61, 21.38)
    ),
    "wrn-28-10": Network(
        lambda classes, **options: WideResNet(28, 10, classes, **options), 36.5, (3.85, 3.31), (18.67, 17.69)
    ),
    "densenet-bc-190": Network(
        lambda classes, **options: DenseNet.cifar(190, 40, classes, **options), 25.6, (3.31, 2.87), (17.10, 16.09)
    ),
    "pyramidnet-200": Network(
        lambda classes, **options: PyramidNet(200, 240, classes, **options), 26.8, (3.65, 3.44), (16.51, 15.50)
    ),
}


def build(
    name: str,
    classes: int,
    *,
    norm: str = "pono",
    seed: int = 0,
    in_channels: int = 3,
    dtype: DTypeLike | None = None,
    **options: Any,
) -> nnx.Module:
    """A network of that name with a moment exchange in it.

    Raises:
        ValueError: an unknown name; see the network.
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is unknown; there are {', '.join(NETWORKS)}")
    return NETWORKS[name].build(
        classes, moex=MoEx(norm), in_channels=in_channels, dtype=dtype, rngs=nnx.Rngs(seed), **options
    )
