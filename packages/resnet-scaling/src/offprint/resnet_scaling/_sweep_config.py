"""Settings of a depth sweep."""

from dataclasses import dataclass

import numpy as np

from offprint.resnet_scaling._forward import Activation, Remat, remat_chunk, sigma_of
from offprint.resnet_scaling._network import Delta, delta_kind, one_of
from offprint.resnet_scaling._train import OPTIMIZERS, Network

SHUFFLES = ("samples", "batches", "official", "none")
MOST_PADDED = 512
"""Above it the program of a longer stack is a third slower, which costs more than it saves."""


@dataclass(frozen=True)
class SweepConfig:
    """Settings of a sweep. The defaults are DEFAULT_PARAMS of the official code; `SHIPPED` is its shipped experiment.

    Raises:
        ValueError: an unknown option or a number out of its range.
    """

    delta: Delta = "none"
    """"shared", "multi", "none", or a fixed number; see `init_params`."""
    init: str = "xavier"
    initial_sd: float = 1e-4
    hurst: float = 0.7
    """Of init "fbm"."""
    activation: Activation = "tanh"
    alpha: float | None = None
    """Multiplies every layer by L^{-alpha}."""
    optimizer: str = "adam"
    """"adam", "sgd" or "rmsprop"."""
    learning_rate: float | tuple[float, ...] = 1e-3
    """A tuple trains every seed with each of them and puts an axis before that of the seeds."""
    batch_size: int = 50
    """Samples that do not fill a batch are left out of the epoch."""
    num_epochs: int = 200
    """At most."""
    epsilon: float = 1e-3
    """Training stops when the epoch's mean loss is below this."""
    shuffle: str = "samples"
    """"samples": a permutation of all samples in every epoch; "batches": batches of fixed composition in a new order;
    "official": what the official code does instead, which duplicates batches; "none"."""
    remat: Remat = None
    unroll: int = 1
    mode: str = "scan"
    padded: bool | None = None
    """Store networks in longer stacks, so that all depths up to 8, 64, 512, 4096, ... share one compiled program that
    is told how many layers to run; `remat` and `unroll` have no effect then. None does so up to 512 layers, where
    compilation takes longer than training."""

    def __post_init__(self) -> None:
        delta_kind(self.delta)
        sigma_of(self.activation)
        remat_chunk(self.remat, 1)
        one_of("optimizer", self.optimizer, tuple(OPTIMIZERS))
        one_of("shuffle", self.shuffle, SHUFFLES)
        one_of("mode", self.mode, ("scan", "parallel"))
        if not self.rates or not all(0 < rate < np.inf for rate in self.rates):
            raise ValueError(f"learning_rate={self.learning_rate!r}; a positive number, or some of them, is needed")
        for name in ("batch_size", "num_epochs", "unroll"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates."""
        return self.learning_rate if isinstance(self.learning_rate, tuple) else (self.learning_rate,)

    @property
    def network(self) -> Network:
        """What of it a network is made of."""
        return Network(self.activation, self.delta, self.alpha, self.remat, self.unroll, self.mode)

    def pads(self, depth: int) -> bool:
        """Whether networks of this depth are stored in longer stacks."""
        return depth <= MOST_PADDED and self.mode == "scan" if self.padded is None else self.padded


SHIPPED = SweepConfig(
    delta="shared", init="xavier-depth", initial_sd=0.01, learning_rate=1e-2, batch_size=32, num_epochs=10
)
