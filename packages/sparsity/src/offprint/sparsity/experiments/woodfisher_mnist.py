"""WoodFisher on the network and the data of its authors' own test, at full size."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from offprint.core.data import DataError
from offprint.core.experiments import (
    Claim,
    Run,
    Unavailable,
    at_least,
    at_most,
    between,
    equals,
    experiment,
    near,
    ordered,
)
from offprint.sparsity import data, plots, scores
from offprint.sparsity._apply import apply
from offprint.sparsity._mask import make_masks
from offprint.sparsity._woodfisher import WoodFisher
from offprint.sparsity.experiments._mlp import accuracy, cross_entropy

_MAGNITUDE = {
    "global": {50: 93.93, 80: 92.88, 90: 90.28, 95: 83.64, 98: 32.25},
    "local": {50: 89.74, 80: 56.02, 90: 46.01, 95: 29.19, 98: 15.61},
}
"""Accuracy after one-shot magnitude pruning of this network: nothing is drawn, so these are exact to rounding."""


@dataclass(frozen=True)
class WoodfisherMnistConfig:
    """Settings of the one-shot pruning of the MNIST network; nothing is trained."""

    seeds: int = 5
    """Sets of training images that gradients are taken of."""
    gradients: int = 100
    """Images in a set, one gradient each."""
    damp: float = 1e-5
    """λ."""
    diagonal: int = 4096
    """Images for the diagonal Fisher matrix."""
    steps: int = 4
    """Sub-steps at 98 %, with gradients taken anew."""
    recomputed: int = 2
    """Seeds for these."""


@experiment("woodfisher-mnist", reproduces="WoodFisher's one-shot test: MLPNet on MNIST without fine-tuning")
def woodfisher_mnist(config: WoodfisherMnistConfig, run: Run) -> Iterator[Claim]:
    """Inverse Fisher matrices of 100 gradients prune better than magnitude and than a diagonal of 4096 gradients."""
    params, digits = _loaded()
    task = _Task(params, digits, run)
    yield Claim("accuracy of the dense network, percent", 93.97, round(task.accuracy(params), 4), equals(93.97))
    magnitude = jax.tree.map(jnp.abs, params)
    found: dict[str, dict[int, list[float]]] = {}
    for scope, table in _MAGNITUDE.items():
        found[f"magnitude, {scope}"] = {
            percent: [task.masked(f"magnitude, {scope}", magnitude, percent, scope)] for percent in table
        }
        yield Claim(
            f"one-shot magnitude, {scope} ranking: distance from the accuracies known, points",
            paper=", ".join(f"{percent} %: {value}" for percent, value in table.items()),
            here={
                f"{percent} %": round(abs(found[f"magnitude, {scope}"][percent][0] - table[percent]), 3)
                for percent in table
            },
            rule=near(0, 0.02),
        )
    fisher = [task.fit(seed, config) for seed in range(config.seeds)]
    found["WoodFisher"] = {
        percent: [task.woodfisher(one, percent) for one in fisher] for percent in (50, 80, 90, 95, 98)
    }
    yield from _woodfisher_claims(found, fisher[0], config)
    found["diagonal Fisher, global"], layerwise = _diagonal(task, config)
    yield from _diagonal_claims(found, layerwise, config)
    several = [
        task.woodfisher(fisher[seed], 98, steps=config.steps, seed=seed, config=config)
        for seed in range(config.recomputed)
    ]
    yield Claim(
        f"WoodFisher at 98 % in {config.steps} steps, mean of {config.recomputed} sets ({_listing(several)}); in one "
        f"step {np.mean(found['WoodFisher'][98]):.1f}",
        paper="54 in four steps against 31 in one; above 45 is asked for",
        here={"steps": np.mean(several), "one": np.mean(found["WoodFisher"][98])},
        rule=ordered("steps > 45", "one < steps"),
    )
    curves = {name: ([percent / 100 for percent in values], list(values.values())) for name, values in found.items()}
    curves[f"WoodFisher, {config.steps} steps"] = ([0.98], [several])
    run.figure(
        "accuracy",
        plots.tradeoff(curves, dense=93.97),
        "Test accuracy after one-shot pruning of the MNIST network, no fine-tuning; the band spans the seeds.",
    )


def _woodfisher_claims(found: dict, fisher: WoodFisher, config: WoodfisherMnistConfig) -> Iterator[Claim]:
    values = found["WoodFisher"]
    who = f"{config.gradients} single gradients, {config.seeds} sets"
    yield Claim(
        f"WoodFisher at 95 %, global ranking, {who} (mean {np.mean(values[95]):.2f}), every set",
        paper="84.18 in the authors' table",
        here=values[95],
        rule=between(83.5, 86),
    )
    yield Claim(f"WoodFisher at 90 %, {who}, mean", 90.98, np.mean(values[90]), near(90.98, 0.5))
    yield Claim(f"WoodFisher at 80 %, {who}, mean", 93.14, np.mean(values[80]), near(93.14, 0.2))
    size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(fisher)) / 1e6
    yield Claim(
        "megabytes that the inverse of all three layers takes",
        paper="3900 for the block of the first layer in the authors' code",
        here=size,
        rule=at_most(60),
    )


def _diagonal(task: "_Task", config: WoodfisherMnistConfig) -> tuple[dict[int, list[float]], list[float]]:
    """Accuracy with the diagonal Fisher matrix: ranked over all layers for each sparsity, and in layers at 95 %."""
    whole: dict[int, list[float]] = {50: [], 80: [], 90: [], 95: [], 98: []}
    layerwise = []
    for seed in range(config.seeds):
        saliency = task.saliency(task.params, task.images(seed, config.diagonal))
        for percent, values in whole.items():
            values.append(task.masked("diagonal Fisher, global", saliency, percent, "global"))
        layerwise.append(task.masked("diagonal Fisher, local", saliency, 95, "local"))
    return whole, layerwise


def _diagonal_claims(found: dict, layerwise: list[float], config: WoodfisherMnistConfig) -> Iterator[Claim]:
    diagonal = found["diagonal Fisher, global"][95]
    yield Claim(
        f"diagonal Fisher of {config.diagonal} gradients, ranked in each layer, 95 % ({_listing(layerwise)}), mean",
        paper="19.88 in the authors' table: ranked in layers, unlike their WoodFisher",
        here=np.mean(layerwise),
        rule=between(15, 22),
    )
    yield Claim(
        f"diagonal Fisher of {config.diagonal} gradients, ranked over all layers, 95 % ({_listing(diagonal)}), mean",
        paper="79.4: the ranking was most of the difference",
        here=np.mean(diagonal),
        rule=near(79.4, 1.5),
    )
    yield Claim(
        "order at 95 %, all ranked over all layers",
        paper="WoodFisher above magnitude above the diagonal",
        here={
            "WoodFisher": np.mean(found["WoodFisher"][95]),
            "magnitude": found["magnitude, global"][95][0],
            "diagonal": np.mean(diagonal),
        },
        rule=ordered("WoodFisher > magnitude > diagonal"),
    )
    gap = np.mean(found["WoodFisher"][98]) - np.mean(found["diagonal Fisher, global"][98])
    yield Claim(
        "WoodFisher minus diagonal Fisher at 98 %, one step, points",
        paper="correlations matter more, the sparser",
        here=gap,
        rule=at_least(0),
    )


class _Task:
    """The trained network with its data, jitted once."""

    def __init__(self, params: PyTree, digits: data.Split, run: Run):
        self.params, self.run = params, run
        self.x, self.y = digits.x, digits.y
        self.test = jnp.asarray(digits.test_x), jnp.asarray(digits.test_y)
        self.rows = jax.jit(jax.vmap(jax.grad(cross_entropy), in_axes=(None, 0)))
        self.saliency = jax.jit(_obd)

    def accuracy(self, params: PyTree) -> float:
        return float(accuracy(params, *self.test))

    def images(self, seed: int, count: int) -> tuple[Array, Array]:
        chosen = np.random.default_rng(seed).choice(len(self.y), count, replace=False)
        return jnp.asarray(self.x[chosen]), jnp.asarray(self.y[chosen])

    def fit(self, seed: int, config: WoodfisherMnistConfig) -> WoodFisher:
        return WoodFisher.fit(self.rows(self.params, self.images(seed, config.gradients)), damp=config.damp)

    def woodfisher(
        self,
        fisher: WoodFisher,
        percent: int,
        *,
        steps: int = 1,
        seed: int = 0,
        config: WoodfisherMnistConfig | None = None,
    ) -> float:
        grads_fn = None
        if config is not None:
            batch = self.images(seed, config.gradients)

            def grads_fn(params: PyTree) -> PyTree:
                return self.rows(params, batch)

        pruned, _ = fisher.prune(self.params, percent / 100, scope="global", steps=steps, grads_fn=grads_fn)
        value = self.accuracy(pruned)
        self.run.log(method="WoodFisher", percent=percent, steps=steps, seed=seed, accuracy=value)
        return value

    def masked(self, method: str, score: PyTree, percent: int, scope: str) -> float:
        masks = make_masks(score, percent / 100, scope=scope)
        value = self.accuracy(apply(self.params, masks))
        self.run.log(method=method, percent=percent, accuracy=value)
        return value


def _obd(params: PyTree, batch: tuple[Array, Array]) -> PyTree:
    """½ w² F with the diagonal of the empirical Fisher matrix."""
    return scores.obd(params, scores.fisher_diag(cross_entropy, params, batch, microbatch=512))


def _loaded() -> tuple[PyTree, data.Split]:
    try:
        params = jax.tree.map(jnp.asarray, data.mlpnet())
        return params, data.flat(data.mnist(), mean=0.1307, std=0.3081)
    except DataError as error:
        raise Unavailable(f"the network or MNIST cannot be had: {error}") from error


def _listing(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)
