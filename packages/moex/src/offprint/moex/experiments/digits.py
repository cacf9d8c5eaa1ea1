"""The weight λ and the probability p on scikit-learn's digits: needs no download."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from offprint.core.experiments import Claim, Run, at_least, between, equals, experiment
from offprint.core.train import fit
from offprint.moex import Mixing, MoEx, plots
from offprint.moex._recipe import Recipe
from offprint.moex._train import MixedBatches, Training
from offprint.moex.data import digits as load_digits
from offprint.moex.experiments._compare import compare, curves, error_points, ratios, sampling_error, values
from offprint.moex.models import CifarResNet


@dataclass(frozen=True)
class DigitsConfig:
    """Settings of the grid over λ and p."""

    train: int = 400
    """Training images of 8x8 grey pixels."""
    widths: tuple[int, int, int] = (16, 32, 64)
    """Channels of the ResNet-8."""
    epochs: int = 20
    """Epochs."""
    batch_size: int = 40
    """Images in a batch."""
    lams: tuple[float, ...] = (0.5, 0.9)
    """Weights of the content's label; the smallest is that of the claim on exposure."""
    ps: tuple[float, ...] = (0.5, 1.0)
    """Probabilities of an exchange in a batch."""
    seeds: int = 2
    """Of network, order and plans."""


@experiment(
    "digits",
    reproduces="Section 4, hyper-parameters, on scikit-learn's digits",
    paper=DigitsConfig(train=1000, epochs=60, lams=(0.2, 0.5, 0.7, 0.9), ps=(0.25, 0.5, 0.75, 1.0), seeds=5),
)
def digits(config: DigitsConfig, run: Run) -> Iterator[Claim]:
    """What λ and p do to error, likelihood and the use of moments; with p = 0 nothing is changed, to the last bit."""
    images = load_digits().first(config.train)
    training = digits_training(images, config.epochs, config.batch_size)
    ways = {"off": Mixing()} | {f"λ={lam:g}, p={p:g}": Mixing(p=p, lam=lam) for lam in config.lams for p in config.ps}

    def network(seed: int, moex: bool = True) -> nnx.Module:
        return digits_network(config.widths, "pono" if moex else None, seed)

    found = compare(training, network, ways, config.seeds, run)
    off = found["off"]
    grids = {
        title: np.reshape(
            [np.mean(values(found[f"λ={lam:g}, p={p:g}"], name, scale)) for lam in config.lams for p in config.ps],
            (len(config.lams), len(config.ps)),
        )
        for title, name, scale in (
            ("test error, %", "error", 100),
            ("test NLL", "nll", 1),
            ("probability of the donor's label", "exposure", 1),
        )
    }
    run.figure(
        "grid",
        plots.mixing_grid(grids, config.lams, config.ps),
        f"Means of {config.seeds} seeds. Without exchange: error {100 * np.mean(values(off, 'error')):.1f} %, NLL "
        f"{np.mean(values(off, 'nll')):.3f}, donor's label {np.mean(values(off, 'exposure')):.3f}.",
    )
    run.figure("curves", plots.training_curves(curves(found)), "The runs of the grid, a line for each seed.")
    yield Claim(
        f"largest difference of logits after training, network with MoEx and p = 0 against one without ({config.train} "
        "images, one epoch)",
        paper="0: an exchange that is off changes no bit",
        here=_difference_when_off(training, network),
        rule=equals(0.0),
    )
    lam = min(config.lams)
    strongest = found[f"λ={lam:g}, p={max(config.ps):g}"]
    yield Claim(
        f"probability of the donor's label on exchanged test pairs, λ = {lam:g}, p = {max(config.ps):g}, over that "
        "without exchange in training, each seed",
        paper="above 1.25 on CIFAR-10 (PyTorch script, λ = 0.5)",
        here=ratios(strongest, off, "exposure"),
        rule=at_least(1.25),
    )
    noise = sampling_error(off, len(images.test_labels))
    yield Claim(
        f"mean test error minus that without exchange, in points, λ >= 0.5 (sampling error of one run {noise:.1f})",
        paper="no gain can be seen on so easy a task, and no loss beyond noise",
        here={way: np.mean(error_points(found[way], off)) for way in ways if way != "off" and ways[way].lam >= 0.5},
        rule=between(-3, 3),
    )


def digits_training(images, epochs: int, batch_size: int) -> Training:
    """Training on digits: one-cycle SGD, no crops or flips."""
    recipe = Recipe(epochs, batch_size, 0.1, schedule="one-cycle", weight_decay=5e-4)
    return Training(
        (images.train_images, images.train_labels),
        (images.test_images, images.test_labels),
        images.classes,
        recipe,
        statistics=images.channel_statistics(),
    )


def digits_network(widths: tuple[int, int, int], norm: str | None, seed: int) -> CifarResNet:
    """A ResNet-8 for grey images."""
    moex = None if norm is None else MoEx(norm)
    return CifarResNet(8, 10, moex=moex, widths=widths, in_channels=1, rngs=nnx.Rngs(seed))


def _difference_when_off(training: Training, network) -> float:
    """Between two networks after an epoch with the same keys: with an exchange that is never on, and without one."""
    batches = MixedBatches(training.minibatches, Mixing(p=0.0, lam=0.5))
    x = training.standard(jnp.asarray(training.test.arrays[0][:100]))
    logits = []
    for moex in (True, False):
        steps = training.minibatches.steps_per_epoch
        result = fit(
            training.step, training.state(network(0, moex)), batches, num_steps=steps, key=jax.random.key(0),
            progress=False,
        )  # fmt: skip
        model = result.state.model
        model.eval()
        logits.append(nnx.jit(lambda model, x: model(x))(model, x))
    return float(jnp.abs(logits[0] - logits[1]).max())
