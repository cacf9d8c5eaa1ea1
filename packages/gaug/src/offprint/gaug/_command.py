"""The program `offprint-gaug`: classify the nodes of a graph with augmented edges, clean a graph, compare methods."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from offprint.core.program import run_program
from offprint.core.train import CheckpointError
from offprint.gaug import _command_actions as actions
from offprint.gaug._config import Backend
from offprint.gaug._draw import Estimator, ScoreMap
from offprint.gaug._modify import Units
from offprint.gaug._scores import Score
from offprint.gaug.data._read import Scale

Method = Literal["original", "dropedge", "gdc", "adaedge", "m", "o"]
Gnn = Literal["gcn", "gsage", "gat", "jknet", "cheb", "appnp", "gin"]
Autoencoder = Literal["gae", "vgae"]
File = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class Classifier:
    """The network that classifies nodes."""

    gnn: Gnn = "gcn"
    """GCN, GraphSAGE, GAT, JK-Net, ChebNet, APPNP or GIN."""
    hidden: int = 128
    """Width of the hidden layers."""
    layers: int | None = None
    """Hidden layers; 1, for jknet 3."""
    dropout: float | None = None
    """Rate; 0.5, for gat 0.6."""
    compat: Literal["none", "gaug_joint", "gaug_dgl"] | None = None
    """The authors' variants of gcn, gsage, gat and jknet; with --paper-config that of the method."""


@dataclass(frozen=True)
class Settings:
    """Settings that replace the defaults or the published ones."""

    epochs: int | None = None
    """Epochs: 200."""
    lr: float | None = None
    """Learning rate: 0.01."""
    weight_decay: float | None = None
    """Penalty of the classifier: 5e-4."""
    patience: int | None = None
    """Epochs without a better validation score that end the training: 100 for o, otherwise none."""
    drop_edge: float | None = None
    """dropedge: share of the edges that each epoch goes without: 0.1."""
    gdc_alpha: float | None = None
    """gdc: probability to return: 0.1."""
    gdc_top_k: int | None = None
    """gdc: links of a node that are kept: 64."""
    remove: float | None = None
    """m: share of the edges that go: 0.02."""
    add: float | None = None
    """m: edges that come, as a share: 0.57."""
    score: Score | None = None
    """m: how a pair is scored: inner."""
    draw: int | None = None
    """m: which draw of the vgae: 0."""
    edge_epochs: int | None = None
    """m: epochs of the edge predictor: 200."""
    autoencoder: Autoencoder | None = None
    """m, o: edge predictor: vgae for m, gae for o."""
    alpha: float | None = None
    """o: share of the predicted edges against the given graph: 0.5."""
    beta: float | None = None
    """o: weight of the edge predictor's loss: 1."""
    temperature: float | None = None
    """o: of the relaxed samples: 1."""
    pretrain_edge: int | None = None
    """o: epochs of the edge predictor alone: 100."""
    pretrain_nodes: int | None = None
    """o: epochs of the classifier alone: 30."""
    warmup: float | None = None
    """o: of the edge predictor's learning rate: 0, none."""
    backend: Backend | None = None
    """o: dense and blockwise give the same, candidate and subgraph are approximations for large graphs: auto."""
    estimator: Estimator | None = None
    """o: how a graph is sampled: binary_concrete."""
    score_map: ScoreMap | None = None
    """o: from scores to probabilities: max."""


@dataclass(frozen=True)
class Fit:
    """Train a classifier by one method, over several seeds; the same command goes on where it was stopped."""

    classifier: Annotated[Classifier, tyro.conf.arg(name="")]
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    data: str
    """.npz that convert wrote, or cora, citeseer, air-usa, blogcatalog, flickr, karate, sbm."""
    out: Path
    """Folder of the run: results.csv, predictions.csv, and everything of each seed."""
    method: Method = "o"
    """original: the graph as it is; dropedge, gdc, adaedge; m: GAug-M, change the graph once; o: GAug-O."""
    paper_config: str | None = None
    """Start from the authors' settings for this data set."""
    seeds: int = 1
    """Runs."""
    seed: int = 0
    """The first of them."""
    scale: Scale | None = None
    """Of the features in a file: row (bags of words), column (standardise) or none."""


@dataclass(frozen=True)
class Modify:
    """Clean a graph: remove unlikely edges, add likely ones, say what changed. Labels are not used for it."""

    data: str
    """As in fit."""
    out: Path
    """Write the changed graph, with features, labels and split, to this .npz file."""
    remove: float | None = None
    """Share of the edges that go: 0.02."""
    add: float | None = None
    """Edges that come, as a share of those there are: 0.57."""
    units: Units = "fraction"
    """count: --remove and --add are numbers of edges, by default 0."""
    score: Score = "inner"
    """How a pair is scored; cosine does not prefer hubs."""
    autoencoder: Autoencoder = "gae"
    """Edge predictor; the authors drew from a vgae."""
    draw: int = 0
    """Which draw of the vgae."""
    edge_epochs: int = 200
    """Epochs of the edge predictor."""
    edge_lr: float = 0.01
    """Its learning rate."""
    seed: int = 0
    """Of the edge predictor."""
    scale: Scale | None = None
    """As in fit."""
    edges: Path | None = None
    """Write every edge, kept, added or removed, with its score to this .csv file."""


@dataclass(frozen=True)
class Compare:
    """Train the same classifier by several methods, on the same seeds."""

    classifier: Annotated[Classifier, tyro.conf.arg(name="")]
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    data: str
    """As in fit."""
    methods: str = "original,dropedge,m,o"
    """Methods, separated by commas; also gdc and adaedge."""
    paper_config: str | None = None
    """As in fit."""
    seeds: int = 3
    """Runs of each."""
    seed: int = 0
    """The first of them."""
    scale: Scale | None = None
    """As in fit."""
    out: Path | None = None
    """Write every run to this .csv file."""
    plot: Path | None = None
    """Draw the scores to this image file."""


@dataclass(frozen=True)
class Tune:
    """Search at random for settings of GAug-M or GAug-O; the validation nodes choose, the test nodes do not."""

    classifier: Annotated[Classifier, tyro.conf.arg(name="")]
    settings: Annotated[Settings, tyro.conf.arg(name="")]
    data: str
    """As in fit."""
    method: Literal["m", "o"] = "o"
    """GAug-M or GAug-O."""
    paper_config: str | None = None
    """The first trial, instead of the defaults."""
    trials: int = 20
    """Settings that are tried."""
    seeds: int = 1
    """Runs of each."""
    seed: int = 0
    """Of the search and the runs."""
    scale: Scale | None = None
    """As in fit."""
    out: Path | None = None
    """Write every trial to this .csv file."""


@dataclass(frozen=True)
class Plot:
    """Figures of a run."""

    run: File
    """Folder that fit wrote."""
    what: Literal["curves", "degrees", "scores"] = "curves"
    """Scores over the epochs; degrees before and after; scores of edges and of other pairs."""
    data: str | None = None
    """Where the data set is now, if it was moved."""
    out: Path | None = None
    """Image file; by default in the folder of the run."""


@dataclass(frozen=True)
class Convert:
    """Make one .npz file of tables or arrays."""

    edges: File
    """.csv with the columns source, target and, if you like, weight; or an .npy array (E, 2)."""
    out: Path
    """Write to this .npz file."""
    nodes: Path | None = None
    """.csv with the columns id, label, if you like split (train, val, test or empty), and one for each feature."""
    features: Path | None = None
    """Instead of --nodes: .npy array (N, F), or .csv with a column for each feature, a row for each node from 0."""
    labels: Path | None = None
    """With --features: .csv with the column label (empty: not known) and, if you like, split; or .npy, (N,), (N, C)."""
    scale: Scale = "none"
    """row: divide by the row's sum, for bags of words; column: standardise."""
    seed: int = 0
    """Of the split into 10 % training, 20 % validation and 70 % test nodes, where no column gives it."""
    symmetrize: bool = False
    """Take links of a directed graph as edges."""


Command = (
    Annotated[Fit, tyro.conf.subcommand("fit")]
    | Annotated[Modify, tyro.conf.subcommand("modify")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Tune, tyro.conf.subcommand("tune")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
)

_RUN: dict[type, Any] = {
    Fit: actions.fit,
    Modify: actions.modify,
    Compare: actions.compare,
    Tune: actions.tune_settings,
    Plot: actions.plot,
    Convert: actions.convert,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status: 0, 1 for a training that broke off, 2 for input of no use."""
    return run_program(
        "offprint-gaug",
        "GAug: classify the nodes of a graph better by adding and removing edges.",
        Command,
        _RUN,
        arguments,
        failures=(FloatingPointError, CheckpointError, actions.Stopped),
    )


if __name__ == "__main__":
    sys.exit(main())
