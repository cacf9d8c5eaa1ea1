"""L0 regularisation of LeNet-300-100: gates on its input units."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
import optax
from flax import nnx

from offprint.core.experiments import Claim, Run, Unavailable, at_least, at_most, experiment
from offprint.sparsity import data, plots
from offprint.sparsity.experiments._gates import Net, train
from offprint.sparsity.experiments._lenet import mnist
from offprint.sparsity.nnx import HardConcreteLinear


@dataclass(frozen=True)
class L0Config:
    """Settings of L0 regularisation on MNIST."""

    epochs: int = 0
    """Of training; 0: none, since it takes minutes."""
    batch_size: int = 100
    """Images in a batch."""
    learning_rate: float = 1e-3
    """Of Adam."""
    strengths: tuple[float, float, float] = (0.1, 0.1, 0.1)
    """λ of every layer, of the sum over the examples."""
    drop_rates: tuple[float, float, float] = (0.2, 0.5, 0.5)
    """Share of the gates of every layer that are closed at the start."""
    train: int = 60_000
    """Training images, the first ones."""
    hidden: tuple[int, int] = (300, 100)
    """Units of the hidden layers."""


@experiment(
    "l0",
    reproduces="Learning Sparse Neural Networks through L0 Regularization, LeNet-300-100 on MNIST",
    paper=L0Config(epochs=200),
    long=True,
)
def l0(config: L0Config, run: Run) -> Iterator[Claim]:
    """Gates that gradients close remove pixels and hidden units while the network learns."""
    if not config.epochs:
        raise Unavailable("training on all of MNIST takes minutes: add --profile paper, or --epochs 30")
    split = data.flat(mnist().first(config.train))
    count = len(split.y)
    rates = iter(config.drop_rates)

    def layer(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return HardConcreteLinear(inputs, outputs, drop_rate=next(rates), rngs=rngs)

    def objective(model: Net, entropy: jax.Array, step: jax.Array) -> jax.Array:
        del step
        penalties = sum(strength * one.penalty() for strength, one in zip(config.strengths, model.layers))
        return entropy + penalties / count

    net = Net((784, *config.hidden, 10), layer, nnx.Rngs(0))
    found = train(net, objective, split, optax.adam(config.learning_rate), config.epochs, config.batch_size, run)
    kernels = [np.asarray(one.kernel[...]) for one in found.model.layers]
    units = [int((kernel != 0).any(1).sum()) for kernel in kernels]
    shares = {f"layer {number}": left / len(kernel) for number, (left, kernel) in enumerate(zip(units, kernels), 1)}
    architecture = "-".join(map(str, units))
    run.figure(
        "units",
        plots.layer_density({"open gates": shares}),
        f"Input units of each layer that stay: {architecture}, error {found.error:.2f} %.",
    )
    run.figure(
        "training",
        plots.schedule({"sparsity": (found.epochs, found.sparsities)}, xlabel="epoch"),
        "Share of the weights behind closed gates while the network is trained.",
    )
    closed = 100 * (1 - shares["layer 1"])
    yield Claim(
        f"percent of the pixels whose gates are closed ({architecture} units are left)",
        paper="72 or 66: 219-214-100 and 266-88-33 units, as recalled from the literature",
        here=closed,
        rule=at_least(66),
    )
    yield Claim(
        "the same, by the stricter rule that was set for this package",
        paper="90, which is more than the literature's own networks have",
        here=closed,
        rule=at_least(90),
    )
    yield Claim("test error of the hardened network, percent", "1.4 to 1.8", found.error, at_most(2))
