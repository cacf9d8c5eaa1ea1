"""The networks of the experiments, and how they are taken apart into parameters and a function of them."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

Activation = Callable[[Array], Array]


class MLP(nnx.Module):
    """Dense layers, the activation after all but the last; images are flattened.

    Weights start as the activation wants them: of variance 2 / inputs for ReLU, 1 / inputs for others.
    """

    def __init__(self, sizes: Sequence[int], activation: Activation, *, rngs: nnx.Rngs):
        gain = 2.0 if activation is nnx.relu else 1.0
        start = jax.nn.initializers.variance_scaling(gain, "fan_in", "truncated_normal")
        self.layers = nnx.List([nnx.Linear(a, b, kernel_init=start, rngs=rngs) for a, b in itertools.pairwise(sizes)])
        self.activation = activation

    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch outputs"]:
        h = x.reshape(len(x), -1)
        for layer in self.layers[:-1]:
            h = self.activation(layer(h))
        out: Array = self.layers[-1](h)
        return out


class CNN(nnx.Module):
    """Two 3x3 convolutions, each with ReLU and 2x2 maximum pooling, and two dense layers."""

    def __init__(self, size: int, channels: int, classes: int, *, widths: Sequence[int] = (16, 32, 64), rngs: nnx.Rngs):
        he = jax.nn.initializers.he_normal()
        self.conv1 = nnx.Conv(channels, widths[0], (3, 3), kernel_init=he, rngs=rngs)
        self.conv2 = nnx.Conv(widths[0], widths[1], (3, 3), kernel_init=he, rngs=rngs)
        self.hidden = nnx.Linear(widths[1] * (size // 4) ** 2, widths[2], kernel_init=he, rngs=rngs)
        self.out = nnx.Linear(widths[2], classes, rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch classes"]:
        for conv in (self.conv1, self.conv2):
            x = nnx.max_pool(nnx.relu(conv(x)), (2, 2), (2, 2))
        return self.out(nnx.relu(self.hidden(x.reshape(len(x), -1))))


class FixupBlock(nnx.Module):
    """A residual block without normalisation: scalar biases before and after each convolution, and one scale.

    The first convolution is scaled down by the number of blocks, the second starts at zero (Zhang, Dauphin and Ma,
    "Fixup initialization", 2019).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, blocks: int, dtype: Any, *, rngs: nnx.Rngs):
        he = jax.nn.initializers.variance_scaling(2.0 / blocks, "fan_out", "normal")
        self.conv1 = _conv(inputs, outputs, stride, he, dtype, rngs)
        self.conv2 = _conv(outputs, outputs, 1, jax.nn.initializers.zeros, dtype, rngs)
        self.biases = nnx.Param(jnp.zeros(4))
        self.scale = nnx.Param(jnp.ones(()))
        self.stride, self.extra = stride, outputs - inputs

    def __call__(self, x: Float[Array, "batch height width inputs"]) -> Array:
        before1, after1, before2, after2 = self.biases[...].astype(x.dtype)
        h = nnx.relu(self.conv1(x + before1) + after1)
        h = self.scale[...].astype(x.dtype) * self.conv2(h + before2) + after2
        window = (self.stride, self.stride)
        short = nnx.avg_pool(x + before1, window, window) if self.stride > 1 else x
        return nnx.relu(h + jnp.pad(short, ((0, 0), (0, 0), (0, 0), (0, self.extra))))


class FixupResNet(nnx.Module):
    """A residual network of depth 6 n + 2 for small images, weights only: no statistics of a batch anywhere.

    With a `dtype` such as bfloat16 the activations have it; weights and the last layer stay in float32.
    """

    def __init__(
        self, depth: int, classes: int, *, widths: Sequence[int] = (16, 32, 64), dtype: Any = None, rngs: nnx.Rngs
    ):
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 with n of at least 1, but is {depth}")
        blocks = (depth - 2) // 6
        he = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        self.stem = _conv(3, widths[0], 1, he, dtype, rngs)
        self.biases = nnx.Param(jnp.zeros(2))
        self.stages: Any = nnx.List([])
        inputs = widths[0]
        for number, width in enumerate(widths):
            stage = []
            for block in range(blocks):
                stride = 2 if number > 0 and block == 0 else 1
                stage.append(FixupBlock(inputs, width, stride, 3 * blocks, dtype, rngs=rngs))
                inputs = width
            self.stages.append(nnx.List(stage))
        self.out = nnx.Linear(inputs, classes, kernel_init=jax.nn.initializers.zeros, rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "batch classes"]:
        first, last = self.biases[...]
        h = self.stem(x)
        h = nnx.relu(h + first.astype(h.dtype))
        for stage in self.stages:
            for block in stage:
                h = block(h)
        return self.out(h.mean((1, 2)).astype(x.dtype) + last)


Init = Callable[[PRNGKeyArray], PyTree]
Apply = Callable[[PyTree, Array], Array]


def functional(build: Callable[[nnx.Rngs], nnx.Module]) -> tuple[Init, Apply]:
    """A network as `init(key) -> params` and `apply(params, x) -> outputs`, both pure: to be jitted and vmapped.

    Args:
        build: makes the network; all of its variables are parameters.
    """
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def init(key: PRNGKeyArray) -> PyTree:
        return nnx.state(build(nnx.Rngs(key)), nnx.Param)

    def apply(params: PyTree, x: Array) -> Array:
        network: Any = nnx.merge(graphdef, params)
        out: Array = network(x)
        return out

    return init, apply


def _conv(inputs: int, outputs: int, stride: int, start: Any, dtype: Any, rngs: nnx.Rngs) -> nnx.Conv:
    strides = (stride, stride)
    return nnx.Conv(inputs, outputs, (3, 3), strides=strides, use_bias=False, kernel_init=start, dtype=dtype, rngs=rngs)
