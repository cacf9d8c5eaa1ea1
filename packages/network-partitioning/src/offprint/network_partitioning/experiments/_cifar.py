"""What the experiments on CIFAR-10 share: the images, the residual network, and its published training settings."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from offprint.network_partitioning.data import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    ImageData,
    cifar10,
    cifar10_subset,
    rotated_set,
)
from offprint.network_partitioning.experiments._networks import FixupResNet
from offprint.network_partitioning.experiments._runs import available

Source = Literal["cifar10", "subset"]
"""All of CIFAR-10, which is downloaded, or the part of it in the folder that OFFPRINT_DATA names."""
TOO_MUCH = "it takes more than the quick profile has: add --profile paper, or --seeds 1"


def cifar(source: Source, train: int, *, rotated: bool = False, seed: int = 0) -> ImageData:
    """The first `train` training images and all test images, rotated or not, normalised."""
    images = available(cifar10 if source == "cifar10" else cifar10_subset)
    images = images.first(min(train, len(images.train_labels)))
    if rotated:
        images = rotated_set(images, jax.random.fold_in(jax.random.key(7), seed))
    return images.normalised(CIFAR10_MEAN, CIFAR10_STD)


def resnet(depth: int, widths: tuple[int, ...]) -> Any:
    """`build(rngs)` of a residual network; activations in bfloat16 where there is an accelerator."""
    dtype = None if jax.default_backend() == "cpu" else jnp.bfloat16
    return lambda rngs: FixupResNet(depth, 10, widths=widths, dtype=dtype, rngs=rngs)


def sgd(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Momentum 0.9, the rate falling along a cosine to 1e-5 of itself; the scalars of Fixup learn at a tenth of it."""
    schedule = optax.cosine_decay_schedule(learning_rate, steps, alpha=1e-5)
    return optax.chain(optax.sgd(schedule, momentum=0.9), optax.masked(optax.scale(0.1), _fixup_scalars))


def range_adam(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam whose rate falls to a tenth."""
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps, alpha=0.1))


def _fixup_scalars(params: PyTree) -> PyTree:
    def of(path: Any, _: Any) -> bool:
        name = jax.tree_util.keystr(path)
        return "biases" in name or "scale" in name

    return jax.tree_util.tree_map_with_path(of, params)
