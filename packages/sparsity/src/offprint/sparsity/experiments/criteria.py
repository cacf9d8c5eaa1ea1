"""What the criteria say of the same network, and the identities that they must satisfy."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment
from offprint.sparsity import data, plots, scores
from offprint.sparsity._apply import apply
from offprint.sparsity._gradient_rows import per_example_grads
from offprint.sparsity._mask import make_masks
from offprint.sparsity._metrics import mask_overlap
from offprint.sparsity._obs import obd_prune, obs_prune
from offprint.sparsity._tree import named_leaves
from offprint.sparsity._woodfisher import WoodFisher
from offprint.sparsity.experiments._lenet import Lab, Recipe
from offprint.sparsity.experiments._mlp import accuracy, apply_mlp, cross_entropy, init_mlp


@dataclass(frozen=True)
class CriteriaConfig:
    """Settings of the comparison of criteria on scikit-learn's digits."""

    hidden: tuple[int, int] = (100, 50)
    """Units of the hidden layers."""
    epochs: int = 40
    """Of the dense training."""
    percents: tuple[int, ...] = (50, 80, 90, 95)
    """Sparsities; that of 80 is needed for the claims."""
    gradients: int = 500
    """Training images for the Fisher matrices."""
    seeds: int = 2
    """Networks."""
    quadratic: int = 60
    """Weights of the random quadratic loss."""


@experiment("criteria", reproduces="Criteria compared: one-shot pruning of a trained network, and identities", x64=True)
def criteria(config: CriteriaConfig, run: Run) -> Iterator[Claim]:
    """Data-free, first- and second-order scores prune one network; conservation laws hold to rounding."""
    yield from _identities(config)
    yield from _quadratic(config)
    split = data.flat(data.digits(test=797))
    lab = Lab(split, Recipe((split.x.shape[1], *config.hidden, 10), config.epochs, 50))
    found: dict[str, dict[int, list[float]]] = {}
    for seed in range(config.seeds):
        dense = lab.masked(lab.initial(seed), lab.full_masks(lab.initial(seed)), lab.order(seed))
        run.log(seed=seed, method="dense", accuracy=lab.accuracy(dense))
        pruned = _pruned(lab, dense, seed, config)
        for name, by_percent in pruned.items():
            for percent, params in by_percent.items():
                value = lab.accuracy(params)
                found.setdefault(name, {}).setdefault(percent, []).append(value)
                run.log(seed=seed, method=name, percent=percent, accuracy=value)
    _figures(found, pruned, dense, float(accuracy(dense, *lab.test)), run)
    mean = {name: float(np.mean(values[80])) for name, values in found.items()}
    yield Claim(
        f"accuracy at 80 % above that of random pruning, points, one-shot, mean of {config.seeds} networks",
        paper="every criterion that looks at the network is far better than chance",
        here={name: value - mean["random"] for name, value in mean.items() if name != "random"},
        rule=at_least(20),
    )
    last = max(config.percents)
    yield Claim(
        f"WoodFisher minus diagonal Fisher at {last} %, points, one-shot, mean of {config.seeds} networks",
        paper="correcting the weights that stay is better",
        here=float(np.mean(found["WoodFisher"][last]) - np.mean(found["OBD, Fisher"][last])),
        rule=at_least(0),
    )


def _pruned(lab: Lab, dense: PyTree, seed: int, config: CriteriaConfig) -> dict[str, dict[int, PyTree]]:
    """Criterion -> percent -> pruned params; all rank over all layers."""
    batch = lab.probe(config.gradients)
    ranked = _ranked(dense, batch, jax.random.key(seed))
    params: dict[str, dict[int, PyTree]] = {
        name: {percent: apply(dense, make_masks(score, percent / 100, scope="global")) for percent in config.percents}
        for name, score in ranked.items()
    }
    woodfisher = WoodFisher.fit(per_example_grads(cross_entropy, dense, batch, microbatch=100), damp=1e-5)
    params["WoodFisher"] = {percent: woodfisher.prune(dense, percent / 100)[0] for percent in config.percents}
    return params


@jax.jit
def _ranked(params: PyTree, batch: tuple[Array, Array], key: PRNGKeyArray) -> dict[str, PyTree]:
    """The scores, in one program."""
    fisher = scores.fisher_diag(cross_entropy, params, batch, microbatch=100)
    return {
        "random": scores.random(key, params),
        "magnitude": scores.magnitude(params),
        "LAMP": scores.lamp(params),
        "OBD, Fisher": scores.obd(params, fisher),
    }


def _identities(config: CriteriaConfig) -> Iterator[Claim]:
    """Of a network of ReLUs without biases, in float64."""
    params = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64), init_mlp(jax.random.key(1), (64, *config.hidden, 10), bias=False)
    )
    x = jax.random.normal(jax.random.key(2), (50, 64), jnp.float64)
    batch = x, jnp.arange(50) % 10
    gradient, flow, shares = jax.jit(_conserved)(params, batch)
    yield Claim(
        "Σ w dL/dw of the layers of a bias-free ReLU network, largest relative difference",
        paper="0: scaling any layer scales the output alike",
        here=_spread(gradient),
        rule=at_most(1e-9),
    )
    yield Claim(
        "SynFlow's total of the layers, largest relative difference",
        paper="0: what flows into a layer flows out of it (Tanaka et al., 2020)",
        here=_spread(flow),
        rule=at_most(1e-9),
    )
    yield Claim(
        "sum of SNIP's scores minus 1",
        paper="0: they are shares (Lee et al., 2019)",
        here=abs(float(shares.sum()) - 1),
        rule=at_most(1e-12),
    )


def _conserved(params: PyTree, batch: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    """Totals of the layers: of weight times gradient, of SynFlow's scores, of SNIP's."""
    grads = jax.grad(cross_entropy)(params, batch)
    return (
        _totals(jax.tree.map(jnp.multiply, params, grads)),
        _totals(scores.synflow(apply_mlp, params, batch[0].shape[1:])),
        _totals(scores.snip(cross_entropy, params, batch)),
    )


def _quadratic(config: CriteriaConfig) -> Iterator[Claim]:
    """Of ½ (v - w)ᵀ H (v - w), whose rise second-order criteria predict exactly."""
    rng = np.random.default_rng(0)
    n = config.quadratic
    half = rng.normal(size=(n, n))
    hessian, w = half @ half.T / n + 0.05 * np.eye(n), rng.normal(size=n)
    count = 2 * n // 3
    surgeon = obs_prune(w, np.linalg.inv(hessian), count)
    damage = obd_prune(w, hessian, count)
    change = np.asarray(surgeon.weights) - w
    true = 0.5 * np.einsum("ki,ij,kj->k", change, hessian, change)
    yield Claim(
        f"OBS on a quadratic of {n} weights: sum of predicted rises against the true loss, largest relative error "
        f"over {count} removals",
        paper="0: exact for a quadratic",
        here=float(np.abs(np.cumsum(surgeon.dloss) / true - 1).max()),
        rule=at_most(1e-8),
    )
    change = np.asarray(damage.weights) - w
    diagonal = 0.5 * np.einsum("ki,ij,kj->k", change, hessian, change)
    yield Claim(
        "loss after OBD over loss after OBS, smallest ratio over all removals but the first",
        paper="above 1: weights that stay make up for those that go",
        here=float((diagonal / true)[1:].min()),
        rule=at_least(1),
    )


def _figures(found: dict, pruned: dict[str, dict[int, PyTree]], dense: PyTree, best: float, run: Run) -> None:
    """`pruned`, `dense` and `best`, the dense accuracy, are those of the last seed."""
    run.figure(
        "accuracy",
        plots.tradeoff(
            {name: ([percent / 100 for percent in values], list(values.values())) for name, values in found.items()},
            dense=best,
        ),
        "Test accuracy after one-shot pruning, digits, no fine-tuning; the band spans the networks.",
    )
    masks = {name: jax.tree.map(lambda leaf: leaf != 0, _kernels(one[80])) for name, one in pruned.items()}
    overlap = np.array([[float(mask_overlap(a, b)) for b in masks.values()] for a in masks.values()])
    run.figure("overlap", plots.mask_overlap(overlap, list(masks)), "Intersection over union of the masks at 80 %.")
    score = scores.magnitude(dense)
    run.figure(
        "scores",
        plots.score_hist(score, make_masks(score, 0.8, scope="global")),
        "Magnitudes of the weights of each layer; one threshold over all layers keeps the blue ones.",
    )


def _kernels(params: PyTree) -> dict[str, Array]:
    return {path: leaf for path, leaf in named_leaves(params) if path.endswith("kernel")}


def _totals(tree: PyTree) -> Float[Array, " leaves"]:
    return jnp.stack([leaf.sum() for _, leaf in named_leaves(tree) if leaf is not None])


def _spread(values: Float[Array, " leaves"]) -> float:
    return float(np.ptp(values) / np.abs(values).max())
