"""The layers of ResNet-50 by their shapes alone: nothing is allocated."""

from typing import Any

import jax
import jax.numpy as jnp


def resnet50_shapes(side: int = 224) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """The kernels of ResNet-50 (stride in the 3x3 convolutions) and how often each is applied to an image.

    Returns:
        `{layer: {"kernel": a shape}}`, convolutions as HWIO and the last layer as (in, out); and output positions by
        layer: multiply-adds are these times the size of the kernel.
    """
    shapes: dict[str, tuple[int, ...]] = {"conv1": (7, 7, 3, 64)}
    side //= 2
    positions = {"conv1": side * side}
    side //= 2
    inputs = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            before = side
            if stage > 1 and block == 0:
                side //= 2
            found = {"conv1": ((1, 1, inputs, width), before), "conv2": ((3, 3, width, width), side)}
            found["conv3"] = ((1, 1, width, 4 * width), side)
            if block == 0:
                found["downsample"] = ((1, 1, inputs, 4 * width), side)
            for part, (shape, size) in found.items():
                shapes[f"{name}.{part}"] = shape
                positions[f"{name}.{part}"] = size * size
            inputs = 4 * width
    shapes["fc"] = (2048, 1000)
    positions["fc"] = 1
    kernels = {name: {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)} for name, shape in shapes.items()}
    return kernels, positions
