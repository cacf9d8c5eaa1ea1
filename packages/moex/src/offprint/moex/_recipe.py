"""How a network is trained: recipes as data, the published ones among them."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import optax

from offprint.moex._schedules import Schedule, cifar300, cosine90, step90

Number = float | int
CIFAR_MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
CIFAR_STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)


@dataclass(frozen=True)
class Recipe:
    """Optimiser, length and augmentation of a training run."""

    epochs: int
    """Epochs."""
    batch_size: int
    """Examples in a batch."""
    learning_rate: float | int
    """The largest of the run."""
    schedule: Literal["steps", "one-cycle", "cosine", "imagenet-steps", "constant"] = "steps"
    """`steps`: x 0.1 at 1/2 and 3/4 of the epochs; `one-cycle`: cosine up over `warmup` of the run, from 1/25, and
    down to 1/250 000; `cosine`, `imagenet-steps`: the ImageNet recipes, with 5 epochs of linear warm-up."""
    optimiser: Literal["sgd", "adam"] = "sgd"
    """SGD with Nesterov momentum, or Adam."""
    momentum: float | int = 0.9
    """Of SGD."""
    nesterov: bool = True
    """Of SGD."""
    weight_decay: float | int = 0.0
    """L2 penalty added to the gradient of every parameter, as PyTorch's optimisers do."""
    warmup: float | int = 0.2
    """Share of the steps in which the one-cycle schedule rises."""
    pad: int = 0
    """Zeros around an image before a random crop."""
    flip: bool = False
    """Mirror images at random."""
    provenance: str = "this package"
    """Where the settings come from."""


CIFAR = Recipe(
    epochs=300,
    batch_size=64,
    learning_rate=0.25,
    weight_decay=1e-4,
    pad=4,
    flip=True,
    provenance="official code, PyramidNet on CIFAR",
)
IMAGENET = Recipe(
    epochs=90,
    batch_size=256,
    learning_rate=0.1,
    schedule="cosine",
    nesterov=False,
    weight_decay=1e-4,
    flip=True,
    provenance="official code, ImageNet (0.1 for each 256 images of a batch)",
)
MODELNET = Recipe(
    epochs=200,
    batch_size=32,
    learning_rate=1e-3,
    schedule="constant",
    optimiser="adam",
    provenance="official code, PointNet++ on ModelNet",
)
REDUCED = Recipe(
    epochs=80,
    batch_size=128,
    learning_rate=0.2,
    schedule="one-cycle",
    weight_decay=5e-4,
    pad=4,
    flip=True,
    provenance="this package: ResNet-8 on a part of CIFAR-10",
)


@lru_cache(maxsize=32)
def optimiser(recipe: Recipe, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimiser of a recipe; the same object for the same arguments, so that compiled steps are found again."""
    rate = learning_rate(recipe, steps_per_epoch)
    update = (
        optax.adam(rate) if recipe.optimiser == "adam" else optax.sgd(rate, recipe.momentum, nesterov=recipe.nesterov)
    )
    decay = (optax.add_decayed_weights(recipe.weight_decay),) if recipe.weight_decay else ()
    return optax.chain(*decay, update)


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> Schedule | optax.Schedule:
    """The learning rate as a function of the steps done.

    Raises:
        ValueError: an unknown schedule; the warm-up of an ImageNet schedule is longer than the run.
    """
    base, epochs = recipe.learning_rate, recipe.epochs
    match recipe.schedule:
        case "steps":
            return cifar300(steps_per_epoch, base=base, epochs=epochs)
        case "one-cycle":
            return optax.cosine_onecycle_schedule(
                epochs * steps_per_epoch, base, pct_start=recipe.warmup, div_factor=25, final_div_factor=1e4
            )
        case "cosine":
            return cosine90(steps_per_epoch, base=base, minimum=base * 1e-8, epochs=epochs)
        case "imagenet-steps":
            return step90(steps_per_epoch, base=base, epochs=epochs)
        case "constant":
            return optax.constant_schedule(base)
    raise ValueError(f"schedule={recipe.schedule!r} is unknown")


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with another number of epochs."""
    return replace(recipe, epochs=epochs)
