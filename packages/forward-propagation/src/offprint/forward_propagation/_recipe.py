"""How a network is set up and trained: recipes as data, the authors' among them."""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from offprint.forward_propagation._encode import encode_latency
from offprint.forward_propagation._modules import LIFDense, Sequential
from offprint.forward_propagation._spikes import SpikeTrain

Number = float | int
Features = Float[Array, "*batch d"] | Float[np.ndarray, "*batch d"]


@dataclass(frozen=True)
class Encoding:
    """How features become input spikes; see `encode_latency`."""

    t_first: float | int
    """Earliest time of a feature's spike."""
    t_last: float | int
    """Latest."""
    span: Literal["unit", "train", "all"] = "unit"
    """The range of the features: 0 to 1, the range of each in the training set, or in training and test set."""
    invert: bool = False
    """Large values fire early."""
    mirror: bool = False
    """The mirrored features as further inputs."""
    bias_time: float | int | None = None
    """Time of a further input that fires in every sample."""
    bias: Literal["append", "official"] = "append"
    """Where that input goes."""
    silent_below: float | int | None = None
    """Smaller features do not fire."""

    def __call__(self, x: Features, low: Any = 0.0, high: Any = 1.0) -> SpikeTrain:
        """Input spikes of features within `low` and `high`."""
        return encode_latency(
            x,
            self.t_first,
            self.t_last,
            low=low,
            high=high,
            invert=self.invert,
            bias_time=self.bias_time,
            mirror=self.mirror,
            bias=self.bias,
            silent_below=self.silent_below,
        )

    def channels(self, features: int) -> int:
        """Number of inputs of a network for so many features."""
        return features * (2 if self.mirror else 1) + (self.bias_time is not None)


@dataclass(frozen=True)
class Recipe:
    """A network of LIF layers with its encoding, loss, initial weights and optimiser."""

    sizes: tuple[int, ...]
    """Inputs, hidden neurons, ..., outputs."""
    tau_mem: float | int
    """Membrane time constant 1/β of all layers."""
    tau_syn: float | int
    """Synaptic time constant 1/α of all layers."""
    t_max: float | int
    """Horizon T."""
    max_spikes: tuple[int, ...]
    """Spikes kept of every neuron, for each layer."""
    encoding: Encoding
    """From features to input spikes."""
    tau0: float | int
    """Time scale of the softmax."""
    init: tuple[tuple[float | int, float | int], ...]
    """Mean and standard deviation of the weights into each layer."""
    learning_rate: float | int
    """Of Adam."""
    batch_size: int
    """Samples in a batch."""
    epochs: int
    """Epochs."""
    tau1: float | int = 1.0
    """Time scale of the regulariser."""
    gamma: float | int = 0.0
    """Its weight."""
    threshold: float | int = 1.0
    """θ of all layers."""
    shuffle: bool = True
    """A new order of the samples in every epoch."""
    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine`: the learning rate falls to 0 over the run."""
    silent: Literal["horizon", "skip"] = "horizon"
    """Samples with a silent label neuron; see `first_spike_cross_entropy`."""
    regulariser_sign: Literal[1, -1] = 1
    """-1 as in the authors' code."""
    reset_coupling: bool = True
    """False for the authors' incomplete gradient; see `lif_layer`."""
    slope_floor: float | int = 0.0
    """Least V' in the derivative; see `lif_layer`."""
    clip_norm: float | int | None = None
    """Largest norm of a gradient."""
    wake: float | int = 0.0
    """What an update adds to all input weights of neurons that fired in no sample of its batch; see `wake_silent`."""
    learn: tuple[str, ...] = ("kernel",)
    """What is learnt of every layer; see `LIFDense`."""
    provenance: str = "this package"
    """Where the settings come from."""

    def __post_init__(self) -> None:
        layers = len(self.sizes) - 1
        if layers < 1 or len(self.max_spikes) != layers or len(self.init) != layers:
            raise ValueError(
                f"{layers} layers (sizes {self.sizes}) need as many entries in max_spikes and init, "
                f"but these are {self.max_spikes} and {self.init}"
            )

    def for_data(self, features: int, classes: int, *, hidden: tuple[int, ...] | None = None) -> "Recipe":
        """The same recipe for data of another size, as in `recipe("iris-tuned").for_data(13, 2, hidden=(20,))`.

        Inputs follow from the encoding. Initial weights change with the number n of inputs of a layer, means like 1/n
        and deviations like 1/√n, so that neurons are driven as strongly as before; further layers are drawn as the
        last one.

        Args:
            features: number d of features.
            classes: number of outputs.
            hidden: numbers of hidden neurons; those of the recipe by default.

        Raises:
            ValueError: a number below 1.
        """
        inner = self.sizes[1:-1] if hidden is None else tuple(hidden)
        if min(features, classes, *inner) < 1:
            raise ValueError(
                f"{features} features, hidden layers of {inner} and {classes} classes; each must be 1 or more"
            )
        sizes = (self.encoding.channels(features), *inner, classes)
        init = []
        for layer, n_pre in enumerate(sizes[:-1]):
            own = 0 if layer == 0 else -1
            (mean, std), scale = self.init[own], self.sizes[:-1][own] / n_pre
            init.append((mean * scale, std * scale**0.5))
        max_spikes = (*[self.max_spikes[0]] * len(inner), self.max_spikes[-1])
        return replace(self, sizes=sizes, init=tuple(init), max_spikes=max_spikes)

    def model(self, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32) -> Sequential:
        """The network with newly drawn weights."""
        layers = [
            LIFDense(
                n_in,
                n_out,
                tau_mem=self.tau_mem,
                tau_syn=self.tau_syn,
                threshold=self.threshold,
                t_max=self.t_max,
                max_spikes=max_spikes,
                w_mean=mean,
                w_std=std,
                learn=self.learn,
                reset_coupling=self.reset_coupling,
                slope_floor=self.slope_floor,
                rngs=rngs,
                dtype=dtype,
            )
            for n_in, n_out, max_spikes, (mean, std) in zip(
                self.sizes[:-1], self.sizes[1:], self.max_spikes, self.init, strict=True
            )
        ]
        return Sequential(*layers)


@lru_cache(maxsize=64)
def optimiser(recipe: Recipe, num_steps: int) -> optax.GradientTransformation:
    """Adam as the recipe has it; the same object for the same arguments, so that compiled steps are found again."""
    rate: Any = recipe.learning_rate
    if recipe.schedule == "cosine":
        rate = optax.cosine_decay_schedule(recipe.learning_rate, num_steps)
    update = optax.adam(rate, b1=0.9, b2=0.999, eps=1e-8)
    return update if recipe.clip_norm is None else optax.chain(optax.clip_by_global_norm(recipe.clip_norm), update)


def recipe(name: str, **changes: Any) -> Recipe:
    """A recipe of `RECIPES`, with some settings changed, as in `recipe("yin-yang", sizes=(5, 200, 3), epochs=40)`.

    Raises:
        KeyError: no recipe of that name.
        ValueError: no setting of that name.
    """
    if name not in RECIPES:
        raise KeyError(f"recipe {name!r} is unknown; one of {', '.join(RECIPES)} is needed")
    known = [field.name for field in fields(Recipe)]
    if unknown := [key for key in changes if key not in known]:
        raise ValueError(f"a recipe has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    return replace(RECIPES[name], **changes)


def _yin_yang(hidden: int, alpha: Number, **changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "sizes": (5, hidden, 3),
        "tau_mem": 1.0,
        "tau_syn": 1 / alpha,
        "t_max": 2.0,
        "max_spikes": (4, 1),
        "encoding": Encoding(0.15, 2.0, bias_time=0.9),
        "tau0": 0.2,
        "gamma": 0.005,
        "init": ((1.5, 0.8), (2.0, 0.1)),
        "learning_rate": 5e-4,
        "batch_size": 150,
        "epochs": 300,
        "provenance": "the authors' code",
    }
    return Recipe(**{**settings, **changes})


def _official(settings: Recipe) -> Recipe:
    return replace(settings, regulariser_sign=-1, encoding=replace(settings.encoding, bias="official"))


_TUNED = "this package"
RECIPES: dict[str, Recipe] = {
    "xor": Recipe(
        sizes=(2, 4, 2),
        tau_mem=1 / 0.99,
        tau_syn=1.0,
        t_max=2.0,
        max_spikes=(6, 1),
        encoding=Encoding(0.0, 1.0),
        tau0=0.1,
        init=((3.0, 1.0), (2.0, 0.1)),
        learning_rate=0.1,
        batch_size=4,
        epochs=100,
        provenance="the authors' code",
    ),
    "iris": Recipe(
        sizes=(4, 10, 3),
        tau_mem=1 / 0.9,
        tau_syn=1.0,
        t_max=16.0,
        max_spikes=(12, 1),
        encoding=Encoding(0.0, 16.0, span="all", invert=True),
        tau0=1.0,
        init=((3.0, 1.0), (2.0, 0.1)),
        learning_rate=0.05,
        batch_size=30,
        epochs=50,
        provenance="the authors' code",
    ),
    "iris-tuned": Recipe(
        sizes=(9, 10, 3),
        tau_mem=1 / 0.9,
        tau_syn=1.0,
        t_max=4.0,
        max_spikes=(8, 1),
        encoding=Encoding(0.0, 2.0, span="train", invert=True, mirror=True, bias_time=0.0),
        tau0=0.2,
        gamma=0.05,
        init=((1.0, 0.6), (1.0, 0.3)),
        learning_rate=0.01,
        batch_size=30,
        epochs=60,
        provenance=_TUNED,
    ),
    "yin-yang": _yin_yang(150, 0.999),
    "yin-yang-120": _yin_yang(120, 0.99, shuffle=False),
    "yin-yang-official": _official(_yin_yang(150, 0.999)),
    "yin-yang-120-official": _official(_yin_yang(120, 0.99, shuffle=False)),
    "yin-yang-tuned": _yin_yang(
        120,
        0.99,
        max_spikes=(3, 1),
        learning_rate=5e-3,
        schedule="cosine",
        wake=0.1,  # without it two thirds of the hidden neurons fall silent for good
        epochs=40,
        provenance=_TUNED,
    ),
    "mnist": Recipe(
        sizes=(784, 350, 10),
        tau_mem=1.0,
        tau_syn=1.0,
        t_max=2.0,
        max_spikes=(1, 1),
        encoding=Encoding(0.0, 1.0, invert=True, silent_below=0.2),
        tau0=0.2,
        gamma=0.005,
        init=((0.06, 0.1), (0.17, 0.16)),
        learning_rate=3e-3,
        batch_size=32,
        epochs=20,
        schedule="cosine",
        wake=0.005,
        provenance=_TUNED,
    ),
}
"""Recipes by name. Those with `official` in their name also repeat the sign of the regulariser and the channel of the
bias spike of the authors' code; `yin-yang-120` is their setting for the comparison with surrogate gradients."""
