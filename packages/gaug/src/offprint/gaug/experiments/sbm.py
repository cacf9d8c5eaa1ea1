"""Graphs that need no file: a block model and Zachary's karate club, changed by guess, by scores and to the ideal."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.core.experiments import Claim, Run, at_most, equals, experiment, ordered
from offprint.gaug import (
    GAugMConfig,
    Graph,
    NodeConfig,
    aggregate,
    fit_edge_predictor,
    homophily,
    intra_inter_counts,
    plots,
)
from offprint.gaug.data import NodeData, karate
from offprint.gaug.data import sbm as block_model
from offprint.gaug.experiments._grid import changed, f1_grid, random_scores
from offprint.gaug.experiments._runs import mean, percent, train


@dataclass(frozen=True)
class SBMConfig:
    """Settings of the experiment on generated graphs."""

    graphs: int = 3
    """Block models of 400 nodes, two classes, 5 labels of each, and noisy features."""
    add: float = 0.5
    """Edges added over all edges, where homophily is looked at."""
    remove: float = 0.2
    """Share of the edges removed, likewise."""
    adds: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    """Of the columns of the F1 map."""
    removes: tuple[float, ...] = (0.0, 0.2, 0.4)
    """Of its rows."""
    edge_epochs: int = 200
    """Updates of the edge predictors."""
    epochs: int = 100
    """Updates of the classifiers."""
    hidden: int = 16
    """Width of the classifiers."""
    draws: int = 20
    """Random weights, for the separability of the classes."""
    seeds: int = 30
    """Classifiers and edge predictors on the karate club."""
    club_add: float = 0.3
    """Edges added to the karate club, over all edges."""
    club_remove: float = 0.1
    """Share of its edges removed."""


@experiment(
    "sbm",
    reproduces="Section Motivation: theory and the karate club; F1 over added and removed edges, on generated graphs",
    paper=SBMConfig(graphs=10, draws=200, seeds=100),
)
def sbm(config: SBMConfig, run: Run) -> Iterator[Claim]:
    """Edges chosen by scores raise homophily and F1, random ones lower them; the ideal graph separates the classes."""
    problems = [block_model(seed) for seed in range(config.graphs)]
    embeddings = [_embedding(problem, seed, config) for seed, problem in enumerate(problems)]
    yield from _homophily(config, run, problems, embeddings)
    yield from _f1(config, run, problems, embeddings)
    yield from _ideal(config, run)
    yield from _club(config, run)


def _embedding(problem: NodeData, seed: int, config: SBMConfig) -> Float[Array, "nodes embed"]:
    cfg = GAugMConfig(variational=False, edge_epochs=config.edge_epochs)
    return fit_edge_predictor(problem.graph, problem.x, cfg, key=jax.random.key(seed)).z


def _homophily(config: SBMConfig, run: Run, problems: list[NodeData], embeddings: list[Any]) -> Iterator[Claim]:
    gains: dict[str, list[float]] = {"guided": [], "random": []}
    of_removed: dict[str, list[float]] = {"removed": [], "every": []}
    for seed, (problem, z) in enumerate(zip(problems, embeddings)):
        before = float(homophily(problem.graph, problem.y))
        for way, scores in (("guided", z), ("random", random_scores(problem.graph.num_nodes, seed))):
            graph = changed(problem, scores, 0.0, config.add).graph
            gains[way].append(float(homophily(graph, problem.y)) - before)
        counts = intra_inter_counts(problem.graph, changed(problem, z, config.remove, 0.0).graph, problem.y)
        of_removed["removed"].append(counts.intra_removed / (counts.intra_removed + counts.inter_removed))
        of_removed["every"].append(before)
    run.log(homophily_gains=gains, intra_class=of_removed)
    yield Claim(
        f"homophily gained by {100 * config.add:g} % more edges: smallest by scores, largest at random, of "
        f"{len(problems)} graphs",
        paper="scores raise it, random edges lower it",
        here={"guided": min(gains["guided"]), "random": max(gains["random"])},
        rule=ordered("random < 0 < guided"),
    )
    yield Claim(
        f"intra-class share of the {100 * config.remove:g} % of edges with the lowest scores, and of every edge, means",
        paper="edges to remove join different classes more often",
        here={name: mean(values) for name, values in of_removed.items()},
        rule=ordered("removed < every"),
    )


def _f1(config: SBMConfig, run: Run, problems: list[NodeData], embeddings: list[Any]) -> Iterator[Claim]:
    cfg = NodeConfig(epochs=config.epochs)
    grids: dict[str, list[Any]] = {"edge predictor": [], "random": []}
    for seed, (problem, z) in enumerate(zip(problems, embeddings)):
        for way, scores in (("edge predictor", z), ("random", random_scores(problem.graph.num_nodes, seed))):
            grid = f1_grid(problem, scores, config.removes, config.adds, cfg, hidden=config.hidden)
            grids[way].append(grid)
            run.log(graph=seed, way=way, f1=grid)
    means = {way: np.mean(found, axis=0) for way, found in grids.items()}
    run.figure(
        "f1",
        plots.heat_maps(means, config.removes, config.adds),
        f"Test F1 in % of a GCN on {len(problems)} block models, edges changed by a predictor's scores or at random.",
    )
    changes = np.add.outer(config.removes, config.adds) > 0
    yield Claim(
        "mean test F1 in % over all changes of the graph",
        paper="changes by scores stay above random ones",
        here={"guided": means["edge predictor"][changes].mean(), "random": means["random"][changes].mean()},
        rule=ordered("random < guided"),
    )


def ideal(problem: NodeData, pad_to: int | None = None) -> Graph:
    """The graph in which exactly the nodes of one class are joined, each with each."""
    alike = problem.y[:, None] == problem.y[None]
    return Graph.from_edges(np.argwhere(np.triu(alike, 1)), problem.graph.num_nodes, pad_to=pad_to)


def _ideal(config: SBMConfig, run: Run) -> Iterator[Claim]:
    """One round of message passing with random weights, on the ideal graph and on the given one."""
    problem = block_model(0, num_classes=4, num_nodes=200)
    graphs = {"ideal": ideal(problem), "given": problem.graph}
    deviations: list[float] = []
    separated: dict[str, list[float]] = {name: [] for name in graphs}
    for seed in range(config.draws):
        weights = jax.random.normal(jax.random.key(seed), (problem.num_features, 8))
        for name, graph in graphs.items():
            h = np.asarray(aggregate(graph, jnp.asarray(problem.x) @ weights, "sym"), np.float64)
            separated[name].append(_separated(h, problem.y))
            if name == "ideal":
                deviations.append(_within(h, problem.y))
    run.log(separated=separated, deviations=deviations)
    yield Claim(
        "ideal graph: largest distance of two embeddings in a class, over the smallest between classes, "
        f"{config.draws} random weights",
        paper="one round of message passing gives all nodes of a class the same embedding",
        here=max(deviations),
        rule=at_most(1e-4),
    )
    yield Claim(
        f"ideal graph: share of random weights with which the classes are linearly separable (on the given graph "
        f"{100 * mean(separated['given']):.1f} % of the nodes are told by least squares)",
        paper="separable with probability 1",
        here=float(np.mean(np.array(separated["ideal"]) == 1)),
        rule=equals(1.0),
    )


def _within(h: Float[np.ndarray, "nodes d"], y: np.ndarray) -> float:
    centres = np.stack([h[y == label].mean(0) for label in np.unique(y)])
    between = np.linalg.norm(centres[:, None] - centres, axis=-1)
    width = max(np.linalg.norm(h[y == label] - centres[label], axis=1).max() for label in np.unique(y))
    return 2 * width / between[~np.eye(len(centres), dtype=bool)].min()


def _separated(h: Float[np.ndarray, "nodes d"], y: np.ndarray) -> float:
    """Share of the nodes that a linear map, fitted by least squares to all of them, puts into their class."""
    columns = np.concatenate([(h - h.mean(0)) / (h.std() + 1e-30), np.ones((len(h), 1))], axis=1)
    fitted = np.linalg.lstsq(columns, np.eye(y.max() + 1)[y], rcond=1e-6)[0]
    return float(np.mean((columns @ fitted).argmax(1) == y))


def _club(config: SBMConfig, run: Run) -> Iterator[Claim]:
    club = karate()
    n, room = club.graph.num_nodes, 2 * ideal(club).num_edges
    found: dict[str, list[float]] = {"random": [], "original": [], "guided": [], "ideal": []}
    for seed in range(config.seeds):
        scores: dict[str, Any] = {"random": random_scores(n, seed), "guided": _embedding(club, seed, config)}
        graphs = {
            way: changed(club, given, config.club_remove, config.club_add).graph for way, given in scores.items()
        } | {"original": club.graph, "ideal": ideal(club)}
        for way, graph in graphs.items():
            padded = Graph.from_edges(graph.edges(), n, pad_to=room)
            there = NodeData("karate", padded, club.x, club.y, club.split)
            found[way] += percent(train(there, "gcn", NodeConfig(epochs=config.epochs), [seed], hidden=config.hidden))
    run.log(club=found)
    run.figure("karate", plots.bars({"test F1, %": found}), f"Zachary's karate club, a GCN, {config.seeds} seeds.")
    yield Claim(
        f"karate club: mean test F1 in % of {config.seeds} seeds",
        paper="random changes below the original graph, that below GAug, the ideal graph above all",
        here={way: mean(values) for way, values in found.items()},
        rule=ordered("random < original <= guided <= ideal"),
    )
