"""Convolutional networks: spectral norms of their kernels against the depth."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from offprint.core.experiments import Claim, Run, at_most, between, experiment, near
from offprint.core.train import Checkpoint, Minibatches, TrainState, fit, supervised_step
from offprint.resnet_scaling import CONV_STAGES, BlockKernels, ConvResNet, block_kernels, data, plots
from offprint.resnet_scaling._conv_spectrum import conv_layer_norms, conv_singular_values
from offprint.resnet_scaling._exponents import Fit, fit_exponent

_STATISTICS = ("max_norm", "root_sum_squares", "max_increment")


@dataclass(frozen=True)
class ConvConfig:
    """Settings of the convolutional networks."""

    depths: tuple[int, ...] = (8, 16, 33)
    """Depths L of the paper, in `CONV_STAGES`."""
    width: int = 8
    """Channels of the first stage."""
    epochs: int = 0
    """Epochs of training on CIFAR-10; with 0 the networks are looked at as they are drawn, and no data is needed."""
    images: str = ""
    """An archive of images, see `offprint.resnet_scaling.data.cifar10`; found or downloaded by default."""
    batch_size: int = 128
    """Images in a batch."""
    learning_rate: float = 0.1
    """Of SGD with momentum 0.9 and weight decay 5e-4, falling to 0 by a cosine."""
    bfloat16: bool = False
    """Compute in bfloat16."""
    seed: int = 0
    """Of networks and batches."""


@experiment(
    "conv",
    reproduces="Figures on CIFAR-10",
    paper=ConvConfig(depths=(8, 16, 28, 50), width=64, epochs=200, bfloat16=True),
)
def conv(config: ConvConfig, run: Run) -> Iterator[Claim]:
    """Spectral norms of convolutions: exact and flat in L as drawn; trained, neither hypothesis holds."""
    models = {depth: _network(config, depth, run) for depth in config.depths}
    kernels = {depth: list(block_kernels(model)) for depth, model in models.items()}
    state = f"after {config.epochs} epochs on CIFAR-10" if config.epochs else "as drawn"
    fits = {}
    for which, name in (("A", "conv1"), ("Δ", "conv2")):
        norms = _norms(kernels, which)
        rows = [_statistics(*pair) for pair in norms.values()]
        fits[which] = {key: fit_exponent(config.depths, [row[key] for row in rows]) for key in _STATISTICS}
        slopes = {key: one.slope for key, one in fits[which].items()}
        run.log(kernels=which, depths=list(config.depths), statistics=rows, slopes=slopes)
        run.figure(
            f"norms-{name}",
            plots.conv_norms({depth: pair[0] for depth, pair in norms.items()}),
            f"Largest singular values of the convolutions {which} of every block, {state} (width {config.width}).",
        )
    block = kernels[config.depths[0]][-1]
    yield Claim(
        "relative error of the largest singular value by FFT, against power iteration on the convolution",
        paper=0,
        here=_fft_error(block),
        rule=at_most(1e-4),
    )
    yield from _trained_claims(fits) if config.epochs else _drawn_claims(fits)


def _drawn_claims(fits: dict[str, dict[str, Fit]]) -> Iterator[Claim]:
    """Independent kernels of one size: what training would have to change for the paper's exponents."""
    for which in ("A", "Δ"):
        yield Claim(f"untrained {which}: slope of the largest norm", "0", fits[which]["max_norm"].slope, near(0, 0.15))
        yield Claim(
            f"untrained {which}: slope of the root of Σ of squared norms",
            "½, where trained networks have 0",
            fits[which]["root_sum_squares"].slope,
            near(0.5, 0.1),
        )


def _trained_claims(fits: dict[str, dict[str, Fit]]) -> Iterator[Claim]:
    expected = {
        "A": {"max_norm": 0.0, "root_sum_squares": 0.0, "max_increment": 0.0},
        "Δ": {"max_norm": -0.1, "root_sum_squares": 0.0, "max_increment": 0.0},
    }
    for which, by_name in expected.items():
        for name, slope in by_name.items():
            yield Claim(
                f"trained {which}: slope of {name}",
                slope,
                fits[which][name].slope,
                between(-0.15, 0.15) if slope == 0 else near(slope, 0.15),
            )


def _network(config: ConvConfig, depth: int, run: Run) -> ConvResNet:
    """The network of a depth, trained where the settings say so."""
    model = ConvResNet(
        CONV_STAGES[depth],
        config.width,
        dtype=jnp.bfloat16 if config.bfloat16 else jnp.float32,
        remat=True,
        unroll=jax.default_backend() == "cpu",
        rngs=nnx.Rngs(config.seed + depth),
    )
    if not config.epochs:
        return model
    images = data.cifar10(config.images or None)
    batches = Minibatches((images.x_train, images.y_train), config.batch_size)
    steps = config.epochs * batches.steps_per_epoch
    optimizer = optax.chain(
        optax.add_decayed_weights(5e-4),
        optax.sgd(optax.cosine_decay_schedule(config.learning_rate, steps), momentum=0.9),
    )
    result = fit(
        supervised_step(_loss),
        TrainState.create(model, optimizer),
        batches,
        num_steps=steps,
        key=jax.random.key(config.seed),
        log_every=batches.steps_per_epoch,
        checkpoint=Checkpoint(run.checkpoints / f"depth-{depth}", every=5 * batches.steps_per_epoch),
    )
    trained = result.state.model
    assert isinstance(trained, ConvResNet)
    run.log(depth=depth, test_accuracy=_accuracy(trained, images), history=result.history[-1])
    return trained


def _loss(model: ConvResNet, batch: tuple[Array, Array], key: Array) -> Array:
    images, labels = batch
    logits = model(data.normalise_images(data.augment(key, images)))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _accuracy(model: ConvResNet, images: data.TrainTest) -> float:
    graphdef, state = nnx.split(model)

    @jax.jit
    def right(state: Any, x: Array, y: Array) -> Array:
        return jnp.sum(jnp.argmax(nnx.merge(graphdef, state)(data.normalise_images(x)), axis=-1) == y)

    count = len(images.y_test)
    parts = [slice(i, min(i + 1000, count)) for i in range(0, count, 1000)]
    return sum(int(right(state, images.x_test[part], images.y_test[part])) for part in parts) / count


def _of(block: BlockKernels, which: str) -> tuple[Array, tuple[int, int]]:
    return (block.conv1, block.grid1) if which == "A" else (block.conv2, block.grid2)


def _norms(
    networks: dict[int, list[BlockKernels]], which: str
) -> dict[int, tuple[Float[np.ndarray, " depth"], Float[np.ndarray, " pairs"]]]:
    """By depth, the largest singular values of the convolutions and of the differences of neighbours of one shape.

    All networks go through one call, which compiles a program for every shape and not for every network. The last
    kernel of one network and the first of the next differ in shape, so that no difference is taken between them.
    """
    each = {depth: [_of(block, which) for block in blocks] for depth, blocks in networks.items()}
    kernels, grids = zip(*(pair for pairs in each.values() for pair in pairs))
    with warnings.catch_warnings():  # that pairs across stages have no increment is known
        warnings.simplefilter("ignore")
        norms, increments = conv_layer_norms(kernels, grids)
    found = {}
    for depth, pairs in each.items():
        shapes = [kernel.shape for kernel, _ in pairs]
        count = sum(one == two for one, two in pairwise(shapes))
        found[depth] = norms[: len(pairs)], increments[:count]
        norms, increments = norms[len(pairs) :], increments[count:]
    return found


def _statistics(norms: Float[np.ndarray, " depth"], increments: Float[np.ndarray, " pairs"]) -> dict[str, float]:
    return {
        "max_norm": float(norms.max()),
        "root_sum_squares": float(np.sqrt(np.sum(norms**2))),
        "max_increment": float(increments.max()),
    }


def _fft_error(block: BlockKernels) -> float:
    """Against the norm of the linear map itself: power iteration with circular convolutions and their transpose."""
    kernel, grid = _of(block, "Δ")
    by_fft = float(conv_singular_values(kernel, grid, k=1)[-1])
    by_power = float(_operator_norm(kernel, grid))
    return abs(by_fft / by_power - 1)


@partial(jax.jit, static_argnames="grid")
def _operator_norm(kernel: Array, grid: tuple[int, int]) -> Array:
    def forward(x: Array) -> Array:
        wrapped = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="wrap")
        return jax.lax.conv(wrapped, kernel, (1, 1), "VALID")

    def step(x: Array, _: None) -> tuple[Array, Array]:
        y, transpose = jax.vjp(forward, x)
        (back,) = transpose(y)
        return back / jnp.linalg.norm(back), jnp.linalg.norm(y)

    x = jax.random.normal(jax.random.key(0), (1, kernel.shape[1], *grid), kernel.dtype)
    return jax.lax.scan(step, x / jnp.linalg.norm(x), None, length=500)[1][-1]
