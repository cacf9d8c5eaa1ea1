"""Exponents of networks trained on 25 features of MNIST."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import jax

from offprint.core.experiments import Claim, Run, between, experiment
from offprint.resnet_scaling import data
from offprint.resnet_scaling.experiments._sweeps import PUBLISHED, report_of, sweep_of


@dataclass(frozen=True)
class MnistConfig:
    """Settings of a sweep on MNIST."""

    depths: tuple[int, ...] = (8, 20, 50, 128)
    """Depths L."""
    seeds: int = 3
    """Networks for each depth."""
    images: int = 10_240
    """Training images, of 60 000."""
    epochs: int = 4
    """Epochs; the loss does not come near ε."""


_PAPER = MnistConfig(depths=data.depth_grid(3, 1000, 1.2), images=60_000, epochs=20)


@experiment("mnist-tanh", reproduces="Figures on tanh networks with a shared δ, MNIST", paper=_PAPER)
def mnist_tanh(config: MnistConfig, run: Run) -> Iterator[Claim]:
    """On MNIST the weights of tanh networks do not shrink with the depth: A ~ L^0, δ ~ 1/L."""
    sweep = sweep_of(run, replace(PUBLISHED, num_epochs=config.epochs), _task(config), config.depths, config.seeds)
    report = report_of(run, sweep, f"tanh, shared δ, {config.images} images of MNIST")
    yield Claim("β of max |A_k| ~ L^-β", 0, report.beta, between(-0.05, 0.15))
    yield Claim("α of δ ~ L^-α", "about 1 - β", report.alpha, between(0.8, 1.0))


@experiment("mnist-relu", reproduces="Figures on ReLU networks with a δ_k for each layer, MNIST", paper=_PAPER)
def mnist_relu(config: MnistConfig, run: Run) -> Iterator[Claim]:
    """On MNIST the weights of ReLU networks have a sum of squares that does not depend on the depth."""
    settings = replace(PUBLISHED, activation="relu", delta="multi", num_epochs=config.epochs)
    sweep = sweep_of(run, settings, _task(config), config.depths, config.seeds)
    report = report_of(run, sweep, f"ReLU, a δ for each layer, {config.images} images of MNIST")
    yield Claim("slope of the root of Σ|A_k|²", 0, report.slopes["root_sum_squares"].slope, between(-0.15, 0.15))


def _task(config: MnistConfig) -> partial:
    return partial(data.mnist25, jax.random.key(0), config.images, 2000)
