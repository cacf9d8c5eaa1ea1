"""The program `offprint-moex`: train a network with moment exchange, compare ways of training, look at moments."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from offprint.core.program import UsageError, check_output, print_table, run_program, write_rows


@dataclass(frozen=True)
class Task:
    """Data, network and recipe."""

    data: str = "digits"
    """digits, cifar10, cifar100, mnist, cifar10-subset, or your own .npz (train_images, train_labels, test_images,
    test_labels; intensities 0 to 255)."""
    arch: str = "resnet8"
    """resnet8, resnet20, resnet110, densenet-bc-100, wrn-28-10, densenet-bc-190 or pyramidnet-200."""
    norm: str = "pono"
    """Whose moments are exchanged: pono, in, ln, gn<G>, gn-d<D>, gpono<G>, gpono-d<D>."""
    train: int | None = None
    """Use the first so many training images only."""
    epochs: int = 20
    """Epochs."""
    batch_size: int = 64
    """Images in a batch."""
    lr: float = 0.1
    """Largest learning rate."""
    schedule: Literal["one-cycle", "steps", "constant"] = "one-cycle"
    """Learning rate over the run; steps: x 0.1 at 1/2 and 3/4."""
    weight_decay: float = 5e-4
    """L2 penalty."""
    augment: bool = True
    """Random crops and flips, for colour images."""
    seed: int = 0
    """Of network, order and mixing."""

    def training(self) -> tuple[Any, Any]:
        """The data and what all runs share."""
        from offprint.moex._recipe import Recipe
        from offprint.moex._train import Training

        images = _images(self.data)
        images = images if self.train is None else images.first(self.train)
        colour = images.train_images.shape[-1] == 3 and self.augment
        for name, value, least in (("epochs", self.epochs, 1), ("batch_size", self.batch_size, 2)):
            if value < least:
                raise UsageError(f"--{name.replace('_', '-')} {value}: at least {least} is needed")
        recipe = Recipe(
            self.epochs,
            min(self.batch_size, len(images.train_labels)),
            self.lr,
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            pad=images.train_images.shape[1] // 8 if colour else 0,
            flip=colour,
        )
        sets = (images.train_images, images.train_labels), (images.test_images, images.test_labels)
        return images, Training(*sets, images.classes, recipe, statistics=_statistics(images))

    def network(self, images: Any, seed: int | None = None) -> Any:
        """The network with its exchange."""
        from offprint.moex.experiments._networks import build

        channels = images.train_images.shape[-1]
        return build(
            self.arch, images.classes, norm=self.norm, seed=self.seed if seed is None else seed, in_channels=channels
        )


@dataclass(frozen=True)
class Mix:
    """What is mixed in a batch."""

    p: float = 0.25
    """Probability of a moment exchange in a batch."""
    lam: float = 0.5
    """Weight of the content's label."""
    cutmix: float | None = None
    """alpha of CutMix, such as 1.0; no CutMix by default."""
    cutmix_p: float = 0.5
    """Probability of CutMix in a batch, with --cutmix."""
    smoothing: float = 0.0
    """Label smoothing."""

    def mixing(self) -> Any:
        """As the library has it."""
        from offprint.moex import Mixing

        cutmix_p = 0.0 if self.cutmix is None else self.cutmix_p
        return Mixing(self.p, self.lam, self.smoothing, cutmix_p=cutmix_p, cutmix_alpha=self.cutmix)


@dataclass(frozen=True)
class Train:
    """Train one network and test it."""

    task: Annotated[Task, tyro.conf.arg(name="")]
    mix: Annotated[Mix, tyro.conf.arg(name="")]
    evaluations: int = 5
    """Test errors measured in the run."""
    checkpoint: Path | None = None
    """Folder to save in; the same command goes on from there."""
    out: Path | None = None
    """Write the history to this .csv file."""
    plot: Path | None = None
    """Draw loss and test error to this image file."""


@dataclass(frozen=True)
class Compare:
    """The same network without exchange, with it, and with as much label smoothing; with --cutmix also CutMix."""

    task: Annotated[Task, tyro.conf.arg(name="")]
    mix: Annotated[Mix, tyro.conf.arg(name="")]
    seeds: int = 2
    """Runs of each way of training."""
    out: Path | None = None
    """Write the table to this .csv file."""
    plot: Path | None = None
    """Draw the runs to this image file."""


@dataclass(frozen=True)
class Plot:
    """Images rebuilt with each other's moments, or the PONO maps of an untrained network's stem."""

    task: Annotated[Task, tyro.conf.arg(name="")]
    what: Literal["images", "maps"] = "images"
    """images: pixels with exchanged moments; maps: mean and standard deviation at the stem."""
    count: int = 5
    """Number of test images."""
    out: Path = Path("moments.png")
    """Image file."""


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0, or 2 for input that it can't work with."""
    return run_program(
        "offprint-moex", "Moment exchange: data augmentation in feature space.", Command, _RUN, arguments
    )


def _train(command: Train) -> None:
    import jax

    check_output(command.out, (".csv",))
    mixing = command.mix.mixing()
    images, training = command.task.training()
    outcome = training.run(
        command.task.network(images),
        mixing,
        jax.random.key(command.task.seed),
        evaluations=max(1, min(command.evaluations, command.task.epochs)),
        checkpoint=command.checkpoint,
    )
    rows = [row for row in outcome.result.history if "error" in row]
    print_table(
        f"{command.task.arch} on {images.name}",
        [
            {
                "step": row["step"],
                "training loss": row["loss"],
                "test error, %": 100 * row["error"],
                "test NLL": row["nll"],
            }
            for row in rows
        ],
    )
    print_table("", [_summary("last epoch", outcome)])
    write_rows(command.out, outcome.result.history)
    _draw(command.plot, {"run": [outcome]})


def _compare(command: Compare) -> None:
    from offprint.moex import Mixing
    from offprint.moex.experiments._compare import compare

    check_output(command.out, (".csv",))
    mixing = command.mix.mixing()
    images, training = command.task.training()
    smooth = max(mixing.smoothing, mixing.p * (1 - mixing.lam))
    ways = {
        "off": Mixing(smoothing=mixing.smoothing),
        "MoEx": replace(mixing, cutmix_p=0.0, cutmix_alpha=None),
        "label smoothing": Mixing(smoothing=smooth),
    }
    if command.mix.cutmix is not None:
        ways |= {"CutMix": replace(mixing, p=0.0), "CutMix + MoEx": mixing}
    found = compare(training, lambda seed: command.task.network(images, command.task.seed + seed), ways, command.seeds)
    rows = [
        _summary(way, outcome) | {"seed": seed}
        for way, outcomes in found.items()
        for seed, outcome in enumerate(outcomes)
    ]
    print_table(f"{command.task.arch} on {images.name}, λ = {mixing.lam:g}, p = {mixing.p:g}", rows)
    write_rows(command.out, rows)
    _draw(command.plot, found)


def _plot(command: Plot) -> None:
    import jax.numpy as jnp

    from offprint.moex import plots
    from offprint.moex._augment import standardise

    images = _images(command.task.data)
    if not 1 <= command.count <= len(images.test_labels):
        raise UsageError(f"--count {command.count}: 1 to {len(images.test_labels)} images are needed")
    shown = np.asarray(images.test_images[: command.count] / 255, np.float32)
    if command.what == "images":
        figure = plots.exchanged_images(shown, command.task.norm)
    else:
        x = standardise(images.test_images[: command.count], *_statistics(images))
        figure = plots.moment_maps(shown, command.task.network(images).stem(jnp.asarray(x)))
    figure.savefig(command.out)


_RUN: dict[type, Any] = {Train: _train, Compare: _compare, Plot: _plot}


def _images(name: str) -> Any:
    from offprint.moex import data

    known: dict[str, Callable[[], Any]] = {
        "digits": data.digits,
        "cifar10": data.cifar10,
        "cifar100": data.cifar100,
        "mnist": data.mnist,
        "cifar10-subset": data.cifar10_subset,
    }
    if name in known:
        return known[name]()
    path = Path(name)
    if path.suffix != ".npz":
        raise UsageError(f"--data {name!r} is neither one of {', '.join(known)} nor an .npz file")
    if not path.is_file():
        raise UsageError(f"{path} is not there")
    return data.load_images(path)


def _statistics(images: Any) -> tuple[Any, Any]:
    mean, std = images.channel_statistics()
    return mean, np.maximum(std, 1e-6)


def _summary(name: str, outcome: Any) -> dict[str, Any]:
    return {
        "way": name,
        "test error, %": 100 * outcome.error,
        "best": 100 * outcome.best_error,
        "test NLL": outcome.nll,
        "donor's label": outcome.exposure,
        "training loss": outcome.train_loss,
    }


def _draw(path: Path | None, outcomes: dict[str, Any]) -> None:
    if path is None:
        return
    from offprint.moex import plots
    from offprint.moex.experiments._compare import curves

    plots.training_curves(curves(outcomes)).savefig(path)


if __name__ == "__main__":
    sys.exit(main())
