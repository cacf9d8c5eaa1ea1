"""The layers that the networks share, with the conventions of the recipes' PyTorch code, channels last."""

import abc
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.moex._module import MoEx
from offprint.moex._plan import MixPlan

Number = float | int
Initializer = Callable[..., Array]

he_normal_fan_out: Initializer = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
"""N(0, 2 / (k² outputs)): kernels of every convolution in the recipes."""

uniform_fan_in: Initializer = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""U(-1/sqrt(inputs), 1/sqrt(inputs)): kernels of PyTorch's linear layers."""


class BatchNorm(nnx.Module):
    """Batch normalisation over all axes but the last, as PyTorch does it.

    The batch is normalised by its biased variance, and the running variance takes up the unbiased one:
    `running = (1 - momentum) running + momentum batch`. `train()` and `eval()` choose which of the two is used.
    Statistics are computed in float32 at least; the output has the dtype of the input.

    Args:
        features: channels C.
        momentum: weight of the batch in the running averages.
        epsilon: added to the variance, inside the square root.
        rngs: as every NNX layer takes it; nothing is drawn.
    """

    def __init__(self, features: int, *, momentum: Number = 0.1, epsilon: Number = 1e-5, rngs: nnx.Rngs):
        self.momentum, self.epsilon = momentum, epsilon
        self.use_running_average = False
        self.scale = nnx.Param(jnp.ones(features, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(features, jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros(features, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(features, jnp.float32))

    def __call__(
        self, x: Float[Array, "*batch channels"], updates: int | Int[Array, ""] = 1
    ) -> Float[Array, "*batch channels"]:
        """Normalise x; in train mode, count its statistics `updates` times in the running averages."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            axes = tuple(range(x.ndim - 1))
            mean = wide.mean(axes)
            var = jnp.square(wide - mean).mean(axes)
            count = x.size // x.shape[-1]
            keep = (1 - self.momentum) ** updates
            self._remember(mean, var * (count / max(count - 1, 1)), keep)
        factor = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
        return ((wide - mean) * factor + self.bias[...]).astype(x.dtype)

    def _remember(self, mean: Array, var: Array, keep: Number | Array) -> None:
        for running, batch in ((self.mean, mean), (self.var, var)):
            old = running[...]
            running[...] = (keep * old + (1 - keep) * jax.lax.stop_gradient(batch)).astype(old.dtype)


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs
) -> nnx.Conv:
    """A square convolution without bias, padded by kernel // 2 on both sides (as PyTorch pads, not "SAME")."""
    padding = kernel // 2
    return nnx.Conv(
        inputs,
        outputs,
        (kernel, kernel),
        strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        use_bias=False,
        kernel_init=he_normal_fan_out,
        dtype=dtype,
        rngs=rngs,
    )


def linear(inputs: int, outputs: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer with PyTorch's initialisation: weights and biases from U(-1/sqrt(inputs), 1/sqrt(inputs))."""
    bound = inputs**-0.5

    def bias(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32, **_: object) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nnx.Linear(inputs, outputs, kernel_init=uniform_fan_in, bias_init=bias, rngs=rngs)


def global_mean(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch channels"]:
    """Mean over the positions, in float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2))


def average_pool(
    x: Float[Array, "batch height width channels"], size: int = 2
) -> Float[Array, "batch rows columns channels"]:
    """Means of size x size squares; what does not fill one at the lower and right edge is left out."""
    return nnx.avg_pool(x, (size, size), strides=(size, size))


def max_pool_3x3(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns channels"]:
    """Maxima of 3x3 squares at stride 2, padded by one on every side."""
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def widen(x: Float[Array, "batch height width channels"], channels: int) -> Float[Array, "batch height width wider"]:
    """x with channels of zeros behind its own, `channels` in all."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))


def stem_updates(double: bool, plan: MixPlan | None) -> int | Int[Array, ""]:
    """How often the stem's batch statistics count: twice where moments are exchanged and the official code is followed.

    The official CIFAR code runs the stem on x and once more on x[pi], so that its running averages move twice in such
    a step: with momentum 0.1, new = 0.81 old + 0.19 batch.
    """
    if not double or plan is None:
        return 1
    return jnp.where(jnp.any(plan.on), 2, 1)


def exchange(moex: MoEx | None, h: Array, plan: MixPlan | None) -> Array:
    """h after moment exchange, where the network has one."""
    return h if moex is None else moex(h, plan)


class Classifier(nnx.Module):
    """A network of images in two parts, between which moments are exchanged."""

    moex: MoEx | None

    @abc.abstractmethod
    def stem(
        self, x: Float[Array, "batch height width channels"], plan: MixPlan | None = None
    ) -> Float[Array, "batch rows columns features"]:
        """The features whose moments are exchanged; `plan` for stems whose statistics depend on it."""

    @abc.abstractmethod
    def rest(self, h: Float[Array, "batch rows columns features"]) -> Float[Array, "batch classes"]:
        """Logits from what `stem` returns."""

    def __call__(
        self, x: Float[Array, "batch height width channels"], plan: MixPlan | None = None
    ) -> Float[Array, "batch classes"]:
        """Logits of images (B, H, W, C); moments are exchanged by `plan` in train mode."""
        return self.rest(exchange(self.moex, self.stem(x, plan), plan))
