"""What is lost when trained weights are replaced by their trend over the layers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Array, Float

from offprint.core.experiments import Claim, Run, at_least, experiment, ordered
from offprint.resnet_scaling import ResNetParams, SweepConfig, data, evaluate_loss, plots
from offprint.resnet_scaling._decompose import decompose_trend_noise, denoised_params
from offprint.resnet_scaling.experiments._sweeps import PUBLISHED, sweep_of, synthetic

_BETA = {"tanh": 0.2, "relu": 0.5}
"""β of the trend, as in the official code."""


@dataclass(frozen=True)
class DenoisedConfig:
    """Settings of the denoised networks."""

    tanh_depths: tuple[int, ...] = (8, 32, 128, 512)
    """Depths L of the tanh networks."""
    relu_depths: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512)
    """Depths L of the ReLU networks."""
    seeds: int = 3
    """Networks for each depth."""
    epochs: int = 60
    """At most."""
    n_times: int = 25
    """Intervals of the trend; only deeper networks are decomposed."""
    first: int = -3
    """The trend is averaged over the decomposed depths from this one on ..."""
    last: int | None = None
    """... up to this one, which is left out; positions in the list of depths, as in a slice."""


@experiment(
    "denoised",
    reproduces="Figures on trend and noise, and on the loss with denoised weights",
    paper=DenoisedConfig(
        tanh_depths=data.depth_grid(3, 10_321),
        relu_depths=data.depth_grid(3, 9100, 1.2),
        epochs=200,
        n_times=500,
        first=-8,
        last=-4,
    ),
)
def denoised(config: DenoisedConfig, run: Run) -> Iterator[Claim]:
    """The trend of tanh networks does what the networks do; that of ReLU networks does not, their noise matters."""
    kept: dict[str, dict[int, np.ndarray]] = {}
    for activation, delta, depths in (
        ("tanh", "shared", config.tanh_depths),
        ("relu", "multi", config.relu_depths),
    ):
        settings = replace(PUBLISHED, activation=activation, delta=delta, num_epochs=config.epochs)
        sweep = sweep_of(run, settings, synthetic, depths, config.seeds)
        params = {depth: one for depth, one in sweep.params.items() if depth > config.n_times}
        trend = denoised_params(
            params,
            _BETA[activation],
            delta=delta,
            activation=activation,
            n_times=config.n_times,
            depths_slice=slice(config.first, config.last),
        )
        losses = {"trained": _losses(settings, params), "denoised": _losses(settings, trend)}
        start = {record.depth: record.test_losses[:, 0] for record in sweep.records}
        kept[activation] = {
            depth: (start[depth] - losses["denoised"][depth]) / (start[depth] - losses["trained"][depth])
            for depth in params
        }
        run.log(
            activation=activation,
            losses={name: {depth: list(map(float, row)) for depth, row in by.items()} for name, by in losses.items()},
        )
        run.figure(
            f"losses-{activation}",
            plots.denoised_losses(losses["trained"], losses["denoised"]),
            f"Training loss of {activation} networks with trained and with denoised weights.",
        )
        deepest = max(params)
        parts = _one_entry(settings, params, config)
        run.figure(
            f"trend-{activation}",
            plots.trend_and_noise(*parts),
            f"One entry of the weights of a {activation} network of {deepest} layers: trend and noise.",
        )
    deepest = max(kept["tanh"])
    shares = {name: float(np.median(by[max(by)])) for name, by in kept.items()}
    yield Claim(
        f"share of the fall of the loss that the trend alone brings, tanh, L = {deepest}",
        paper="1: the noise does not matter",
        here=shares["tanh"],
        rule=at_least(0.9),
    )
    yield Claim(
        "the same for both activations, at the largest depth",
        paper="less for ReLU, whose noise matters",
        here=shares,
        rule=ordered("relu < tanh"),
    )


def _losses(settings: SweepConfig, params: dict[int, ResNetParams]) -> dict[int, Float[np.ndarray, " seeds"]]:
    """Training loss of every seed by depth."""
    x, y = synthetic()[:2]

    def one(params: ResNetParams) -> Array:
        return evaluate_loss(params, x, y, activation=settings.activation, delta=settings.delta)

    return {depth: np.asarray(jax.jit(jax.vmap(one))(stack)) for depth, stack in params.items()}


def _one_entry(
    settings: SweepConfig, params: dict[int, ResNetParams], config: DenoisedConfig
) -> tuple[Float[np.ndarray, " depth"], Float[np.ndarray, " depth"]]:
    """Trend and noise of the first entry of A in the deepest network of the first seed."""
    parts = decompose_trend_noise(
        {depth: one.A[0] for depth, one in params.items()},
        _BETA[str(settings.activation)],
        config.n_times,
        slice(config.first, config.last),
        delta={depth: one.delta[0] for depth, one in params.items()} if settings.delta == "multi" else None,
    )
    deepest = max(params)
    return np.asarray(parts.trend[deepest][:, 0, 0]), np.asarray(parts.noise[deepest][:, 0, 0])
