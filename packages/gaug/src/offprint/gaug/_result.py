"""What a fit returns."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from offprint.gaug._graph import Graph
from offprint.gaug._network import Network
from offprint.gaug._track import Track


@dataclass(frozen=True, eq=False)
class Result:
    """A classifier as it was after the epoch with the best validation score, and how it came there."""

    model: nnx.Module = field(repr=False)
    """The classifier of the best epoch, in evaluation mode."""
    history: dict[str, np.ndarray] = field(repr=False)
    """Arrays over the epochs: `loss`, `val` and `test` (micro-F1), and what the method adds."""
    val: float
    """Best validation micro-F1, in [0, 1]."""
    test_at_best: float
    """Test micro-F1 of that epoch."""
    best_epoch: int
    """That epoch, from 0."""
    logits: Float[Array, "nodes classes"] = field(repr=False)
    """Logits of all nodes in that epoch, on `graph`."""
    graph: Graph = field(repr=False)
    """The graph on which the classifier is used: the given one, or for GAug-M the changed one."""
    stopped: str
    """Why the run ended."""
    edge_model: nnx.Module | None = field(default=None, repr=False)
    """The edge predictor, of the same epoch."""
    report: Any = field(default=None, repr=False)
    """For GAug-M: which edges were added and removed."""

    @property
    def params(self) -> PyTree:
        """The classifier's parameters."""
        return nnx.state(self.model, nnx.Param)


def result_of(track: Track, graph: Graph, stopped: str, **more: Any) -> Result:
    """The result of a finished track, which kept (networks, logits)."""
    epochs = int(track.epoch)
    network, logits = track.kept["node"], track.kept["logits"]
    if isinstance(edge := track.kept.get("edge"), Network):
        more["edge_model"] = edge.model
    return Result(
        model=network.model,
        history={name: np.asarray(values)[:epochs] for name, values in track.history.items()},
        val=float(track.best_val),
        test_at_best=float(track.best_test),
        best_epoch=int(track.best_epoch),
        logits=logits,
        graph=graph,
        stopped=stopped,
        **more,
    )
