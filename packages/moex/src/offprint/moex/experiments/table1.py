"""Table 1: the networks of the paper on CIFAR-10 and CIFAR-100, with and without moment exchange."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from offprint.core.data import DataError
from offprint.core.experiments import Claim, Run, Unavailable, at_least, at_most, experiment, holds_when
from offprint.moex import Mixing, plots
from offprint.moex._recipe import CIFAR
from offprint.moex._train import Training
from offprint.moex.data import ImageData, cifar10, cifar100
from offprint.moex.experiments._compare import Outcomes, compare, curves, values
from offprint.moex.experiments._networks import NETWORKS, build


@dataclass(frozen=True)
class Table1Config:
    """Settings of Table 1. The quick profile counts parameters; training needs a GPU and CIFAR."""

    networks: tuple[str, ...] = ("resnet110", "densenet-bc-100", "wrn-28-10")
    """Networks: resnet110, densenet-bc-100, wrn-28-10, densenet-bc-190, pyramidnet-200."""
    dataset: Literal["none", "cifar10", "cifar100"] = "none"
    """What they are trained on; "none" trains nothing. Downloaded if it is not here (170 MB)."""
    epochs: int = 300
    """Epochs of the official recipe."""
    p: float = 0.25
    """Probability of an exchange: the official PyramidNet script's; the paper's for other networks is not known."""
    lam: float = 0.5
    """Weight of the content's label: likewise."""
    cutmix: bool = False
    """Also CutMix with p = 0.5, and CutMix + MoEx."""
    bfloat16: bool = True
    """Convolutions in bfloat16, all else in float32; where there is an accelerator."""
    seeds: int = 3
    """Runs of each way of training."""


@experiment(
    "table1",
    reproduces="Table 1",
    paper=Table1Config(networks=("resnet110", "wrn-28-10"), dataset="cifar100", cutmix=True),
)
def table1(config: Table1Config, run: Run) -> Iterator[Claim]:
    """The networks have the published sizes; on CIFAR, moment exchange lowers the error."""
    for name in config.networks:
        published = NETWORKS[name].parameters
        if published is None:
            continue
        yield Claim(
            f"parameters of {name}, millions",
            paper=published,
            here=_parameters(name) / 1e6,
            rule=holds_when(f"rounds to {published}", lambda here, wanted=published: round(here, 1) == wanted),
        )
    if config.dataset == "none":
        return
    images = _images(config.dataset)
    training = Training(
        (images.train_images, images.train_labels),
        (images.test_images, images.test_labels),
        images.classes,
        replace(CIFAR, epochs=config.epochs),
    )
    for name in config.networks:
        found = _train(name, images, training, config, run)
        run.figure(f"curves-{name}", plots.training_curves(curves(found)), f"{name} on {config.dataset}.")
        yield from _claims(name, found, config)


def _train(name: str, images: ImageData, training: Training, config: Table1Config, run: Run) -> Outcomes:
    ways = {"off": Mixing(), "MoEx": Mixing(p=config.p, lam=config.lam)}
    if config.cutmix:
        ways["CutMix"] = Mixing(cutmix_p=0.5, cutmix_alpha=1.0)
        ways["CutMix + MoEx"] = replace(ways["CutMix"], p=config.p, lam=config.lam)
    dtype = jnp.bfloat16 if config.bfloat16 and jax.default_backend() != "cpu" else None
    devices = jax.devices()
    mesh = jax.make_mesh((len(devices),), ("batch",)) if len(devices) > 1 else None

    def network(seed: int) -> nnx.Module:
        return build(name, images.classes, seed=seed, dtype=dtype)

    return compare(
        training,
        network,
        ways,
        config.seeds,
        run,
        evaluations=30,
        checkpoints=run.checkpoints / name,
        mesh=mesh,
    )


def _claims(name: str, found: Outcomes, config: Table1Config) -> Iterator[Claim]:
    """Last-epoch errors decide; the official code reports the best of all epochs, which is shown beside them."""
    last = {way: float(np.mean(values(outcomes, "error", 100))) for way, outcomes in found.items()}
    best = {way: float(np.mean(values(outcomes, "best_error", 100))) for way, outcomes in found.items()}
    reported = getattr(NETWORKS[name], config.dataset)
    paper = "not in the paper"
    if reported is not None:
        paper = f"{reported[0]:.2f} to {reported[1]:.2f} % (as reported, unchecked)"
    here = ", ".join(f"{way} {last[way]:.2f} (best epoch {best[way]:.2f})" for way in last)
    gain = 0.4 if (name, config.dataset) == ("wrn-28-10", "cifar100") else 0.0
    yield Claim(
        f"{name} on {config.dataset}: points of test error gained by MoEx, last epoch, mean of {config.seeds}: {here}",
        paper=paper,
        here=last["off"] - last["MoEx"],
        rule=at_least(gain),
    )
    if config.cutmix:
        yield Claim(
            f"{name} on {config.dataset}: test error of CutMix + MoEx minus that of CutMix, points",
            paper="-0.5 with PyramidNet-200 on CIFAR-100 (as reported, unchecked)",
            here=last["CutMix + MoEx"] - last["CutMix"],
            rule=at_most(0.1),
        )


def _parameters(name: str) -> int:
    """Number of parameters, without allocating them."""
    abstract = nnx.eval_shape(lambda: build(name, 10))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(abstract, nnx.Param)))


def _images(dataset: str) -> ImageData:
    try:
        return {"cifar10": cifar10, "cifar100": cifar100}[dataset]()
    except DataError as error:
        raise Unavailable(f"{dataset} cannot be had: {error}") from error
