"""Fits of a sharp initial condition: sinusoidal features against a plain MLP of as many weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from offprint.core.experiments import Claim, Run, at_least, experiment, holds_when
from offprint.neural_ivp import Box, Constrained, GaussNewtonFit, SinusoidalMLP, functional, ics, plots


@dataclass(frozen=True)
class EmbeddingConfig:
    """Settings of the study of the embedding."""

    widths: tuple[int, ...] = (4, 7, 10)
    """Units of each hidden layer of the networks with sinusoidal features."""
    n_freq: int = 3
    """Frequencies of the features."""
    sigma: float = 0.1
    """Width of the pulse that is fitted."""
    fit_steps: int = 100
    """Most Gauss-Newton steps."""
    points: int = 4000
    """Points of a step."""
    seed: int = 0
    """Of networks and points."""


class PlainMLP(nnx.Module):
    """Three hidden layers of tanh units on the coordinates themselves."""

    def __init__(self, dim: int, width: int, *, rngs: nnx.Rngs):
        sizes = [dim, width, width, width, 1]
        self.layers = nnx.List(
            nnx.Linear(n_in, n_out, param_dtype=jnp.float64, rngs=rngs) for n_in, n_out in pairwise(sizes)
        )

    def __call__(self, x: Float[Array, "d"]) -> Float[Array, "1"]:
        """u at one point."""
        *hidden, head = self.layers
        for layer in hidden:
            x = jnp.tanh(layer(x))
        return head(x)


def plain_width(weights: int, dim: int) -> int:
    """The width at which a `PlainMLP` has at least so many weights."""
    width = 1
    while 2 * width**2 + (dim + 4) * width + 1 < weights:
        width += 1
    return width


@experiment(
    "embedding",
    reproduces="Quality of the fit of the initial condition over the number of weights, with and without embedding",
    paper=EmbeddingConfig((10, 16, 25, 50), 5, fit_steps=200, points=10_000),
    x64=True,
)
def embedding(config: EmbeddingConfig, run: Run) -> Iterator[Claim]:
    """With sinusoidal features a network fits a sharp pulse far better than a plain one of as many weights."""
    domain, pulse = Box.cube(2), ics.gaussian(config.sigma, amp=1.0)
    fit, sizes = GaussNewtonFit(steps=config.fit_steps, points=config.points, start="given"), []
    found: dict[str, list[float]] = {"sinusoidal": [], "plain tanh": []}
    for width in config.widths:
        rngs = nnx.Rngs(config.seed)
        sinusoidal = SinusoidalMLP(domain, 1, width, n_freq=config.n_freq, rngs=rngs)
        weights = functional(sinusoidal)[0].num_params
        plain = Constrained(PlainMLP(2, plain_width(weights, 2), rngs=rngs), domain)
        for name, model in zip(found, (sinusoidal, plain)):
            apply, theta = functional(model)
            _, report = fit(apply, theta, pulse, jax.random.key(config.seed))
            found[name].append(report.relative)
            run.log(network=name, p=apply.num_params, relative=report.relative, steps=report.steps)
        sizes.append(weights)
    ratios = [plain / own for own, plain in zip(*found.values())]
    yield Claim(
        f"relative error of a plain tanh network over that with sinusoidal features, {sizes[-1]} weights "
        f"({found['plain tanh'][-1]:.2g} and {found['sinusoidal'][-1]:.2g})",
        paper="several digits",
        here=ratios[-1],
        rule=at_least(5),
    )
    yield Claim(
        f"errors with sinusoidal features for {', '.join(map(str, sizes))} weights",
        paper="falls with the number of weights",
        here=found["sinusoidal"],
        rule=holds_when("each is smaller than the one before", lambda here: bool((np.diff(here) < 0).all())),
    )
    curves = {name: (sizes, values) for name, values in found.items()}
    figure = plots.scaling(curves, "relative L2 error of the fit")
    run.figure("fits", figure, f"A pulse of width {config.sigma} in two dimensions.")
