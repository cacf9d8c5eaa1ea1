"""What the experiments share: published data sets, and runs of several seeds."""

import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
from flax import nnx

from offprint.core.data import DataError
from offprint.core.experiments import Run, Unavailable
from offprint.gaug import Result, data
from offprint.gaug._convolution import Compat
from offprint.gaug._methods import MethodConfig, fit_method, make_classifier, preset
from offprint.gaug.data import NodeData

DatasetName = Literal["cora", "citeseer", "air-usa", "blogcatalog", "flickr"]
Gnn = Literal["gcn", "gsage", "gat", "jknet"]

TITLES = {"gcn": "GCN", "gsage": "GraphSAGE", "gat": "GAT", "jknet": "JK-Net"}
_LOADERS = {
    "cora": data.cora,
    "citeseer": data.citeseer,
    "air-usa": data.air_usa,
    "blogcatalog": data.blogcatalog,
    "flickr": data.flickr,
}


def published(name: DatasetName) -> NodeData:
    """A data set of the paper.

    Raises:
        Unavailable: it is not on this machine; the message says what to do.
    """
    try:
        return _LOADERS[name]()
    except DataError as error:
        raise Unavailable(str(error)) from error


def train(
    problem: NodeData,
    gnn: Gnn,
    cfg: MethodConfig,
    seeds: Sequence[int],
    run: Run | None = None,
    way: str = "",
    *,
    compat: Compat | None = None,
    hidden: int = 128,
) -> list[Result]:
    """Runs of one method, one for each seed.

    Programs are compiled for the first seed and used again: on two cores that is as fast as all seeds at once, and
    needs the memory of one.

    Args:
        problem: the data set.
        gnn: the classifier.
        cfg: the method and its settings.
        seeds: of classifier, edge predictor and samples.
        run: where each is logged.
        way: what the runs are called there.
        compat: of the classifier, by default what the authors use with the method.
        hidden: width of the classifier.
    """
    found = []
    for seed in seeds:
        node = make_classifier(
            gnn,
            problem.num_features,
            problem.num_classes,
            compat=compat or preset(cfg),
            hidden=hidden,
            rngs=nnx.Rngs(seed),
        )
        began = time.perf_counter()
        result = fit_method(node, problem.graph, problem.x, problem.y, problem.split, cfg, seed=seed)
        found.append(result)
        if run is not None:
            run.log(
                dataset=problem.name,
                gnn=gnn,
                way=way,
                seed=seed,
                val=result.val,
                test=result.test_at_best,
                best_epoch=result.best_epoch,
                epochs=len(result.history["val"]),
                seconds=round(time.perf_counter() - began, 2),
            )
    return found


def percent(results: list[Result]) -> list[float]:
    """Test micro-F1 in % at the best validation score, of each seed."""
    return [100 * result.test_at_best for result in results]


def mean(values: list[float]) -> float:
    """The mean."""
    return float(np.mean(values))


def spread(values: list[float]) -> str:
    """Mean and standard deviation for people."""
    return f"{np.mean(values):.1f}±{np.std(values):.1f}"
