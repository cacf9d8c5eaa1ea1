"""How the program `offprint-gaug` makes classifiers and settings, and trains one run of a method."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import jax
from flax import nnx

from offprint.core.program import UsageError
from offprint.core.train import Checkpoint, Interrupted
from offprint.gaug._adaedge import AdaEdgeConfig, adaedge
from offprint.gaug._appnp import APPNP
from offprint.gaug._cheb import ChebNet
from offprint.gaug._config import GAugMConfig, GAugOConfig, NodeConfig
from offprint.gaug._diffusion import gdc
from offprint.gaug._edge_predictor import EdgePredictor
from offprint.gaug._gat import GAT
from offprint.gaug._gaug_o import fit_gaug_o
from offprint.gaug._gcn import GCN
from offprint.gaug._gin import GIN
from offprint.gaug._jknet import JKNet
from offprint.gaug._methods import fit_method, make_classifier, preset
from offprint.gaug._published import GNNS, METHODS, paper_config
from offprint.gaug._result import Result
from offprint.gaug._sage import GraphSAGE
from offprint.gaug.data import NodeData

CLASSIFIERS: dict[str, Any] = {
    "gcn": GCN,
    "gsage": GraphSAGE,
    "gat": GAT,
    "jknet": JKNet,
    "cheb": ChebNet,
    "appnp": APPNP,
    "gin": GIN,
}
TITLES = {
    "original": "original",
    "dropedge": "DropEdge",
    "gdc": "GDC",
    "adaedge": "AdaEdge",
    "m": "GAug-M",
    "o": "GAug-O",
}
_NODE = ("epochs", "lr", "weight_decay", "patience")
_OF_METHOD: dict[str, tuple[str, ...]] = {
    "original": _NODE,
    "dropedge": (*_NODE, "drop_edge"),
    "gdc": (*_NODE, "gdc_alpha", "gdc_top_k"),
    "adaedge": _NODE,
    "m": (*_NODE, "remove", "add", "score", "draw", "edge_epochs", "autoencoder"),
    "o": (
        *_NODE,
        *("alpha", "beta", "temperature", "pretrain_edge", "pretrain_nodes", "warmup"),
        *("backend", "estimator", "score_map", "autoencoder"),
    ),
}
"""Flags that say something to a method."""


class Stopped(Exception):
    """A training that was asked to end."""


@dataclass(frozen=True)
class Plan:
    """A method with all of its settings and the classifier that it trains."""

    method: str
    gnn: str
    classifier: dict[str, Any]
    """Arguments of the classifier beside its input and output."""
    config: Any
    """`NodeConfig`, `GAugMConfig`, `GAugOConfig` or `AdaEdgeConfig`."""
    autoencoder: str | None = None
    """gae or vgae, where GAug-O was asked for one."""
    diffusion: tuple[float, int] | None = None
    """alpha and top_k of GDC."""

    @property
    def title(self) -> str:
        """For tables and figures."""
        return f"{TITLES[self.method]}, {CLASSIFIERS[self.gnn].__name__}"

    def as_dict(self) -> dict[str, Any]:
        """For the configuration of a run folder."""
        return asdict(self)

    def make_classifier(self, data: NodeData, rngs: nnx.Rngs) -> nnx.Module:
        """A fresh classifier."""
        sizes = data.num_features, data.num_classes
        if self.gnn in GNNS and set(self.classifier) <= {"hidden", "compat"}:
            return make_classifier(self.gnn, *sizes, rngs=rngs, **self.classifier)
        return CLASSIFIERS[self.gnn](sizes[0], out_dim=sizes[1], rngs=rngs, **self.classifier)

    def make_models(self, data: NodeData, rngs: nnx.Rngs) -> tuple[nnx.Module, Any]:
        """A fresh classifier, and for GAug-O a fresh edge predictor; GAug-M makes its own from None."""
        node = self.make_classifier(data, rngs)
        if self.method != "o":
            return node, None
        return node, EdgePredictor(data.num_features, variational=self.autoencoder == "vgae", rngs=rngs)


def check_flags(methods: Iterable[str], settings: Any) -> None:
    """Refuse a flag that none of the methods knows: its value would be lost."""
    methods = tuple(methods)
    for name, value in asdict(settings).items():
        owners = [method for method, names in _OF_METHOD.items() if name in names]
        if value is not None and not set(owners) & set(methods):
            flag, wanted = name.replace("_", "-"), " and ".join(owners)
            raise UsageError(f"--{flag} {value} is a setting of {wanted}, not of {', '.join(methods)}")


def plan_of(method: str, classifier: Any, settings: Any, paper: str | None) -> Plan:
    """The published settings or the defaults, with the flags that were given in their place."""
    given = {
        name: value for name, value in asdict(settings).items() if value is not None and name in _OF_METHOD[method]
    }
    diffusion = (given.pop("gdc_alpha", 0.1), given.pop("gdc_top_k", 64)) if method == "gdc" else None
    config = _published(paper, classifier.gnn, method) if paper else _default(method)
    autoencoder = given.pop("autoencoder", None)
    if method == "m" and autoencoder is not None:
        given["variational"] = autoencoder == "vgae"
    if method in ("m", "adaedge"):
        of_node = {name: given.pop(name) for name in _NODE if name in given}
        given["node"] = replace(config.node, **of_node)
    return Plan(
        method, classifier.gnn, _arguments(classifier, method, paper), replace(config, **given), autoencoder, diffusion
    )


def _default(method: str) -> Any:
    if method == "dropedge":
        return NodeConfig(drop_edge=0.1)
    return {"m": GAugMConfig, "o": GAugOConfig, "adaedge": AdaEdgeConfig}.get(method, NodeConfig)()


def _published(paper: str, gnn: str, method: str) -> Any:
    try:
        config = paper_config(paper, gnn, method if method in METHODS else "original")
    except KeyError as error:
        raise UsageError(f"--paper-config {paper}: {error.args[0]}") from None
    return AdaEdgeConfig(node=config) if method == "adaedge" and isinstance(config, NodeConfig) else config


def _arguments(classifier: Any, method: str, paper: str | None) -> dict[str, Any]:
    """Of the classifier's constructor; with published settings the authors' own variant is the default."""
    arguments: dict[str, Any] = {"hidden": classifier.hidden}
    if classifier.layers is not None:
        arguments["n_layers"] = classifier.layers
    if classifier.dropout is not None:
        arguments["dropout"] = classifier.dropout
    compat = classifier.compat
    if compat is None and paper is not None:
        compat = preset(_default(method if method == "o" else "original"))
    if compat in (None, "none"):
        return arguments
    if classifier.gnn not in GNNS:
        raise UsageError(f"--compat {compat}: the authors' code has {', '.join(GNNS)} only")
    return arguments | {"compat": compat}


def train(
    plan: Plan, data: NodeData, seed: int, checkpoint: Checkpoint | None = None, progress: bool = False
) -> Result:
    """One run of a method.

    Raises:
        Stopped: the run was asked to end; what was saved is there to go on from.
    """
    try:
        return _train(plan, data, seed, checkpoint, progress)
    except Interrupted as stop:
        raise Stopped(str(stop)) from None


def _train(plan: Plan, data: NodeData, seed: int, checkpoint: Checkpoint | None, progress: bool) -> Result:
    """Classifier, edge predictor and samples start as in the experiments of the same seed."""
    key, graph, problem = jax.random.key(seed), data.graph, (data.x, data.y, data.split)
    if plan.method == "adaedge":
        return adaedge(lambda rngs: plan.make_classifier(data, rngs), graph, *problem, plan.config, key=key)
    node = plan.make_classifier(data, nnx.Rngs(seed))
    if plan.autoencoder == "vgae" and plan.method == "o":
        edge = EdgePredictor(data.num_features, variational=True, rngs=nnx.Rngs(jax.random.fold_in(key, 1)))
        how: dict[str, Any] = {"key": key, "checkpoint": checkpoint, "progress": progress}
        return fit_gaug_o(node, edge, graph, *problem, plan.config, **how)
    if plan.diffusion is not None:
        graph = gdc(graph, alpha=plan.diffusion[0], top_k=plan.diffusion[1])
    return fit_method(node, graph, *problem, plan.config, seed=seed, checkpoint=checkpoint, progress=progress)


def flags_of(config: Any) -> str:
    """The flags of `fit` that lead from the defaults to these settings."""
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in _changed(config))


def _changed(config: Any) -> Iterator[tuple[str, Any]]:
    base = type(config)()
    for field in fields(config):
        value = getattr(config, field.name)
        if value == getattr(base, field.name):
            continue
        if field.name == "node":
            yield from _changed(value)
        else:
            yield ("autoencoder", "vgae" if value else "gae") if field.name == "variational" else (field.name, value)
