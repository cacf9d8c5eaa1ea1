"""Sampled graphs: how often pairs are drawn, what gradient they have, and that blocks of pairs give the same."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from offprint.core.experiments import Claim, Run, at_most, equals, experiment
from offprint.gaug import GCN, EdgePredictor, GAugOConfig, Graph, expected_edges, gaug_o_loss, plots, sample_adjacency
from offprint.gaug._draw import Estimator
from offprint.gaug._network import Network
from offprint.gaug.data import sbm

Number = Float[Array, ""] | float | int


@dataclass(frozen=True)
class SamplingConfig:
    """Settings of the experiment on sampled graphs."""

    num_nodes: int = 634
    """Nodes, so that there are 200661 pairs."""
    probabilities: tuple[float, ...] = (0.01, 0.3, 0.9)
    """P of the pairs."""
    temperatures: tuple[float, ...] = (0.1, 1.0, 5.0)
    """τ of the relaxed samples."""
    blocks: tuple[int, ...] = (64,)
    """Block sizes that are compared with the whole matrix."""
    seed: int = 0
    """Of every draw."""


@experiment(
    "sampling",
    reproduces="Section GAug-O, sampling of edges",
    paper=SamplingConfig(temperatures=(0.1, 0.3, 1.0, 2.1, 5.0), blocks=(64, 634, 1000)),
)
def sampling(config: SamplingConfig, run: Run) -> Iterator[Claim]:
    """Edges are drawn with their probabilities whatever the temperature, and gradients are those of relaxed samples."""
    key, n = jax.random.key(config.seed), config.num_nodes
    p = np.array(config.probabilities)
    pairs = n * (n - 1) // 2
    expected: dict[Estimator, np.ndarray] = {"binary_concrete": p, "gumbel_paper": 1 - np.exp(-p)}
    measured: dict[Estimator, np.ndarray] = {}
    proper = []
    for number, (estimator, wanted) in enumerate(expected.items()):
        shares = np.zeros((len(config.temperatures), len(p)))
        for (row, column), _ in np.ndenumerate(shares):
            drawing = jax.random.fold_in(key, 1000 * number + 100 * row + column)
            sample = np.asarray(_draw(drawing, n, float(p[column]), config.temperatures[row], estimator))
            shares[row, column] = np.triu(sample, 1).sum() / pairs
            proper.append(bool((sample == sample.T).all() and np.isin(sample, (0, 1)).all() and sample.trace() == n))
        run.log(estimator=estimator, p=p, temperatures=config.temperatures, shares=shares)
        measured[estimator] = shares.mean(0)
        bound = 4 * np.sqrt(wanted * (1 - wanted) / pairs)
        yield Claim(
            f"{estimator}: largest distance of a frequency from its probability, in four standard errors, {pairs} "
            f"pairs for each P of {config.probabilities} and τ of {config.temperatures}",
            paper="drawn with probability " + ("P" if estimator == "binary_concrete" else "1 - exp(-P)"),
            here=np.abs((shares - wanted) / bound).max(),
            rule=at_most(1),
        )
    curves = ({str(name): values for name, values in found.items()} for found in (measured, expected))
    run.figure("frequencies", plots.sampling_frequencies(p, *curves), f"Means over τ, {pairs} pairs each.")
    yield Claim(
        "samples that are symmetric, of zeros and ones, with a diagonal of ones", "all", all(proper), equals(True)
    )
    yield from _identities(config, run)


@partial(jax.jit, static_argnames=("n", "estimator"))
def _draw(key: PRNGKeyArray, n: int, p: Number, temperature: Number, estimator: Estimator) -> Float[Array, "n n"]:
    """A sample in which every pair has the probability P: the largest logit, 1, is on the diagonal."""
    logits = jnp.full((n, n), p).at[jnp.arange(n), jnp.arange(n)].set(1.0)
    nothing = jnp.zeros((n, n))
    return sample_adjacency(key, logits, nothing, alpha=1.0, temperature=temperature, estimator=estimator)


def _identities(config: SamplingConfig, run: Run) -> Iterator[Claim]:
    key = jax.random.key(config.seed)
    problem = sbm(config.seed, num_nodes=config.num_nodes, p_in=0.03, p_out=0.01, signal=1.0)
    changed = [int(_flips(key, problem.graph, tau)) for tau in config.temperatures]
    yield Claim("pairs in which samples with α = 0 differ from the graph, for each τ", "none", changed, at_most(2))
    node = GCN(problem.num_features, 32, problem.num_classes, dropout=0.0, rngs=nnx.Rngs(0))
    edge = EdgePredictor(problem.num_features, 32, 16, rngs=nnx.Rngs(1))
    z, largest, longest = _embedded(Network.of(edge), problem.graph, problem.x)
    yield Claim(
        "relative difference of the largest entry of Z Zᵀ and the largest squared length",
        paper=0,
        here=abs(float(largest / longest) - 1),
        rule=at_most(1e-5),
    )
    hard, soft = (_slope(z, key, problem.graph, estimator) for estimator in ("binary_concrete", "soft"))
    yield Claim(
        "largest difference of the straight-through gradient from that of the relaxed sample, over its largest entry",
        paper=0,
        here=_difference(hard, soft),
        rule=at_most(1e-5),
    )
    given = Network.of(node), Network.of(edge), problem.graph, problem.x, problem.y, problem.split.train, key
    capacity = 2 * int(expected_edges(z, problem.graph, alpha=0.5))
    cfg = GAugOConfig(alpha=0.5, beta=0.8, temperature=1.2, backend="dense")
    dense = _gradient(*given, cfg, capacity)
    blocks = [replace(cfg, backend="blockwise", block_size=size) for size in config.blocks]
    found = [_difference(_gradient(*given, cfg, capacity), dense) for cfg in blocks]
    run.log(blocks=config.blocks, differences=found)
    yield Claim(
        f"largest difference of the joint loss's gradient by blocks of {' and '.join(map(str, config.blocks))} nodes "
        "from that by matrices, over its largest entry",
        paper=0,
        here=found,
        rule=at_most(1e-4),
    )


@jax.jit
def _flips(key: PRNGKeyArray, g: Graph, temperature: Number) -> Int[Array, ""]:
    """Pairs in which a sample that keeps the graph (α = 0) differs from it."""
    sample = sample_adjacency(key, jnp.ones((g.num_nodes, 1)), g, alpha=0.0, temperature=temperature)
    kept = g.to_dense() + jnp.eye(g.num_nodes)
    return (sample != kept).sum() // 2


@jax.jit
def _embedded(edge: Network, g: Graph, x: Array) -> tuple[Array, Array, Array]:
    """Z, the largest entry of Z Zᵀ, the largest squared length of a row of Z."""
    z = edge.evaluate(g, x).z
    return z, (z @ z.T).max(), (z * z).sum(1).max()


@partial(jax.jit, static_argnames="estimator")
def _slope(z: Array, key: PRNGKeyArray, g: Graph, estimator: Estimator) -> Array:
    """Gradient of a random linear function of a sample."""
    cotangent = jax.random.normal(key, (g.num_nodes, g.num_nodes))

    def of_sample(z: Array) -> Array:
        return (cotangent * sample_adjacency(key, z, g, alpha=0.5, temperature=1.2, estimator=estimator)).sum()

    return jax.grad(of_sample)(z)


@partial(jax.jit, static_argnames=("cfg", "capacity"))
def _gradient(
    node: Network,
    edge: Network,
    g: Graph,
    x: Array,
    y: Array,
    train: Array,
    key: PRNGKeyArray,
    cfg: GAugOConfig,
    capacity: int,
) -> tuple[PyTree, PyTree]:
    """Of the joint loss with respect to the parameters of both networks."""

    def loss(params: tuple[PyTree, PyTree]) -> Array:
        return gaug_o_loss(node.live(params[0]), edge.live(params[1]), g, x, y, train, key, cfg, capacity=capacity)[0]

    return jax.grad(loss)((node.params, edge.params))


def _difference(one: PyTree, other: PyTree) -> float:
    """Largest difference of two gradients, array by array, over the largest entry of the array."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(jnp.abs(a - b).max() / jnp.maximum(jnp.abs(b).max(), 1e-30)) for a, b in pairs)
