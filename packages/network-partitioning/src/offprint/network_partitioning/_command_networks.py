"""The networks that the program `offprint-network-partitioning` trains, and what their hyperparameters are called."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.program import UsageError
from offprint.network_partitioning._affine import GENERATORS
from offprint.network_partitioning._hyper import AffineAugmentation, ConcreteDropout, ConcreteMask, LearnedScale

BASIS = "softplus_half"
DROPOUT = 0.1
"""Rate of dropout at the start."""


class Classifier(nnx.Module):
    """Dense layers with ReLU, for images behind convolutions, each with ReLU and 2x2 maximum pooling.

    Args:
        shape: of one example, (features,) or (height, width, channels).
        hidden: widths; for images all but the last are convolutions.
        outputs: logits; 0 for one value.
        dropout: with a learned rate behind every hidden layer.
        rngs: of the initial weights.
    """

    def __init__(self, shape: Sequence[int], hidden: Sequence[int], outputs: int, dropout: bool, *, rngs: nnx.Rngs):
        start: dict[str, Any] = {"kernel_init": jax.nn.initializers.he_normal(), "rngs": rngs}
        convolutions = len(hidden) - 1 if len(shape) == 3 else 0
        channels = (shape[-1], *hidden[:convolutions])
        self.convolutions = nnx.List([nnx.Conv(a, b, (3, 3), **start) for a, b in itertools.pairwise(channels)])
        size = [side // 2**convolutions for side in shape[:-1]]
        widths = (int(np.prod(size)) * channels[-1], *hidden[convolutions:])
        self.layers = nnx.List([nnx.Linear(a, b, **start) for a, b in itertools.pairwise(widths)])
        self.out = nnx.Linear(widths[-1], max(outputs, 1), rngs=rngs)
        self.dropouts = nnx.List([ConcreteDropout(DROPOUT) for _ in hidden if dropout])
        self.values = outputs == 0

    def __call__(self, x: Float[Array, "batch ..."], key: PRNGKeyArray) -> Float[Array, "batch *outputs"]:
        drops = iter(self.dropouts)
        keys = iter(jax.random.split(key, max(len(self.dropouts), 1)))

        def dropped(h: Array) -> Array:
            drop = next(drops, None)
            return h if drop is None else drop(h, next(keys))

        for convolution in self.convolutions:
            x = dropped(nnx.max_pool(nnx.relu(convolution(x)), (2, 2), (2, 2)))
        x = x.reshape(len(x), -1)
        for layer in self.layers:
            x = dropped(nnx.relu(layer(x)))
        out: Array = self.out(x)
        return out[:, 0] if self.values else out


def check_hidden(shape: Sequence[int], hidden: Sequence[int]) -> None:
    """Refuse widths that make no network for these examples."""
    images = len(shape) == 3
    if min(hidden) < 1 or (images and min(shape[:-1]) < 2 ** (len(hidden) - 1)):
        widths = " ".join(map(str, hidden))
        raise UsageError(
            f"--hidden {widths}: positive widths are needed"
            + (f", and the convolutions, all but the last, each halve images of {shape[0]}x{shape[1]}" * images)
        )


def input_module(family: str, shape: Sequence[int], generators: Sequence[str]) -> nnx.Module | None:
    """What changes the inputs: a mask, an augmentation, or nothing."""
    if family == "mask":
        return ConcreteMask(shape[0])
    return AffineAugmentation(generators=tuple(generators) or None) if family == "affine" else None


def learned_noise(outputs: int) -> float | LearnedScale:
    """The likelihood's scale: σ, which is learned, for values; 1 for classes."""
    return 1.0 if outputs else LearnedScale(1.0)


def readable(raw: Mapping[str, Any], columns: Sequence[str], generators: Sequence[str], std: float) -> dict[str, float]:
    """Hyperparameters by name from the raw ones by path, as the history has them."""
    named: dict[str, float] = {}
    rates = 0
    for path, given in raw.items():
        values = np.asarray(given, np.float64)
        if path == "hyper/inputs/phi":
            named |= {f"keep {name}": float(p) for name, p in zip(columns, 1 / (1 + np.exp(-values)), strict=True)}
        elif path == "hyper/inputs/raw":
            active = generators or GENERATORS[BASIS]
            named |= {f"range {name}": float(r) for name, r in zip(active, np.logaddexp(0, values), strict=True)}
        elif path == "hyper/scale/raw":
            named["sigma"] = float(np.logaddexp(0, values)) * std
        elif path.startswith("hyper/model/"):
            rates += 1
            named[f"dropout {rates}"] = float(1 / (1 + np.exp(values)))
    return named
