"""The paper's main experiment: exponents of networks trained on the synthetic task."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from offprint.core.experiments import Claim, Run, at_least, at_most, between, equals, experiment, holds_when, near
from offprint.resnet_scaling import data, plots
from offprint.resnet_scaling.experiments._sweeps import PUBLISHED, report_of, sweep_of, synthetic


@dataclass(frozen=True)
class TanhConfig:
    """Settings of the tanh sweep."""

    depths: tuple[int, ...] = (8, 32, 128, 512)
    """Depths L."""
    seeds: int = 3
    """Networks for each depth."""
    epochs: int = 60
    """At most."""


@experiment(
    "tanh",
    reproduces="Figures on tanh networks with a shared δ, synthetic data",
    paper=TanhConfig(depths=data.depth_grid(3, 10_321), epochs=200),
)
def tanh(config: TanhConfig, run: Run) -> Iterator[Claim]:
    """A smooth activation ends in smooth weights: δ ~ L^-0.7, A ~ L^-0.2, and a linear ODE in the limit."""
    sweep = sweep_of(run, replace(PUBLISHED, num_epochs=config.epochs), synthetic, config.depths, config.seeds)
    report = report_of(run, sweep, "tanh, shared δ, synthetic data")
    full = config.depths[-1] > 10_000
    slope = report.slopes["scaled_increment"].slope
    yield Claim("α of δ ~ L^-α", 0.7, report.alpha, near(0.7, 0.05) if full else between(0.62, 0.75))
    yield Claim("β of max |A_k| ~ L^-β", 0.2, report.beta, near(0.2, 0.05) if full else between(0.15, 0.32))
    yield Claim("α + β", "about 1", report.alpha + report.beta, between(0.85, 1.02))
    yield Claim("slope of L^β max |A_{k+1} - A_k|", "clearly negative: Hypothesis 1", slope, at_most(-0.45))
    yield Claim("verdict", "smooth (Hypothesis 1)", report.regime, equals("smooth"))


@dataclass(frozen=True)
class ReluConfig:
    """Settings of the ReLU sweep."""

    depths: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512)
    """Depths L."""
    seeds: int = 3
    """Networks for each depth."""
    epochs: int = 60
    """At most."""


@experiment(
    "relu",
    reproduces="Figures on ReLU networks with a δ_k for each layer, synthetic data",
    paper=ReluConfig(depths=data.depth_grid(3, 9100, 1.2), epochs=200),
)
def relu(config: ReluConfig, run: Run) -> Iterator[Claim]:
    """ReLU networks end in rough weights, with δ_k of alternating sign: no smooth limit, but about Hypothesis 2."""
    settings = replace(PUBLISHED, activation="relu", delta="multi", num_epochs=config.epochs)
    sweep = sweep_of(run, settings, synthetic, config.depths, config.seeds)
    report = report_of(run, sweep, "ReLU, a δ for each layer, synthetic data")
    deepest = sweep.records[-1]
    run.figure(
        "delta",
        plots.layer_multipliers(deepest.params.delta[0]),
        f"Trained δ_k against the layer, L = {deepest.depth}, first seed.",
    )
    yield Claim(
        "slope of L^β max |A_{k+1} - A_k|",
        "0: increments do not vanish",
        report.slopes["scaled_increment"].slope,
        at_least(-0.25),
    )
    yield Claim("slope of the root of Σ|A_k|²", 0, report.slopes["root_sum_squares"].slope, between(-0.3, 0.3))
    yield Claim("RMS exponent", 0.5, report.hurst, between(0.5, 0.8))
    yield Claim(
        "verdict",
        "not smooth (Hypothesis 2)",
        report.regime,
        holds_when("anything but smooth", lambda regime: regime != "smooth"),
    )
