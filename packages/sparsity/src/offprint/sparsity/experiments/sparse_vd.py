"""Sparse variational dropout on LeNet-300-100."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
import optax
from flax import nnx

from offprint.core.experiments import Claim, Run, Unavailable, at_least, at_most, experiment
from offprint.sparsity import data, plots
from offprint.sparsity._variational import kl_ramp, variational_loss
from offprint.sparsity.experiments._gates import Net, train
from offprint.sparsity.experiments._lenet import mnist
from offprint.sparsity.nnx import VariationalLinear, penalty


@dataclass(frozen=True)
class SparseVdConfig:
    """Settings of sparse variational dropout on MNIST."""

    epochs: int = 0
    """Of training; 0: none, since it takes minutes."""
    batch_size: int = 100
    """Images in a batch."""
    learning_rate: float = 1e-3
    """Of Adam, falling linearly to 0."""
    ramp: tuple[float, float] = (0.05, 0.2)
    """Shares of the training between which the KL's weight grows from 0 to 1."""
    log_sigma2: float = -10.0
    """Initial log σ² of every weight."""
    train: int = 60_000
    """Training images, the first ones."""
    hidden: tuple[int, int] = (300, 100)
    """Units of the hidden layers."""


@experiment(
    "sparse-vd",
    reproduces="Variational Dropout Sparsifies Deep Neural Networks, LeNet-300-100 on MNIST",
    paper=SparseVdConfig(epochs=60),
    long=True,
)
def sparse_vd(config: SparseVdConfig, run: Run) -> Iterator[Claim]:
    """A dropout rate for each weight removes almost all of them, with nothing to tune but the training."""
    if not config.epochs:
        raise Unavailable("training on all of MNIST takes minutes: add --profile paper, or --epochs 30")
    split = data.flat(mnist().first(config.train))
    count, steps = len(split.y), config.epochs * (config.train // config.batch_size)

    def layer(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return VariationalLinear(inputs, outputs, log_sigma2_init=config.log_sigma2, rngs=rngs)

    def objective(model: Net, entropy: jax.Array, step: jax.Array) -> jax.Array:
        weight = kl_ramp(step, config.ramp[0] * steps, config.ramp[1] * steps)
        return variational_loss(entropy, penalty(model), count, weight)

    net = Net((784, *config.hidden, 10), layer, nnx.Rngs(0))
    tx = optax.adam(optax.linear_schedule(config.learning_rate, 0.0, steps))
    found = train(net, objective, split, tx, config.epochs, config.batch_size, run)
    kept = [np.asarray(mask) for mask in jax.tree.leaves(found.masks)]
    sparsity = 1 - sum(mask.sum() for mask in kept) / sum(mask.size for mask in kept)
    run.figure(
        "layers",
        plots.layer_density({"kept": {f"layer {number}": mask.mean() for number, mask in enumerate(kept, 1)}}),
        f"Share of the weights kept in each layer: {100 * (1 - sparsity):.2f} % in all, error {found.error:.2f} %.",
    )
    run.figure(
        "training",
        plots.schedule({"sparsity": (found.epochs, found.sparsities)}, xlabel="epoch"),
        "Sparsity of the hardened network while it is trained.",
    )
    yield Claim(
        "percent of the weights with log α above 3, which are removed",
        paper="98.5 (compression 68)",
        here=100 * sparsity,
        rule=at_least(97),
    )
    yield Claim("test error of the hardened network, percent", paper=1.92, here=found.error, rule=at_most(2.1))
