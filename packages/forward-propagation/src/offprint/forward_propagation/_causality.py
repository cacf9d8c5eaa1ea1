"""Which spike moves which: the causality graph of a network's spikes."""

from typing import Any

import jraph
import numpy as np
from jaxtyping import Bool, Int

from offprint.forward_propagation._embed import Parameters
from offprint.forward_propagation._spikes import SpikeTrain
from offprint.forward_propagation._system import fp_system


def causality_graph(spikes_in: SpikeTrain, params: Parameters, spikes: SpikeTrain) -> jraph.GraphsTuple:
    """The graph with an edge l -> k for each ∂F_k/∂t_l that is not 0; outside jit.

    Args:
        spikes_in: input spikes, times (n_in, S_in).
        params: of a recurrent network, of one layer, or of layers in a row.
        spikes: spikes of all neurons, times (n, S), numbered through the layers.

    Returns:
        A `jraph.GraphsTuple` of NumPy arrays. Nodes are the M input spikes, sorted by time, and then the K spikes of
        neurons, sorted by time, as a dict with "times", "is_input", "sources" (number of the input, or of the neuron)
        and "numbers" (which of the source's spikes). Edges carry ∂F_k/∂t_l, that is A_kl, or B_k of an input time.
        `globals` is empty. The graph has no cycles, since every edge goes forward in time.

    Raises:
        ValueError: parameters and spikes that do not fit together.

    Source: the paper's use of causality, by which its system is triangular.
    """
    system = fp_system(spikes_in, params, spikes)
    times_in = np.asarray(spikes_in.times)
    order = np.argsort(times_in, axis=None, kind="stable")[: int(np.isfinite(times_in).sum())]
    by_inputs = np.asarray(system.B["inputs"]).reshape(len(system.times), -1)[:, order]
    all_earlier = np.concatenate([by_inputs, np.tril(np.asarray(system.A), -1)], axis=1)
    receivers, senders = np.nonzero(all_earlier)
    m, k = order.size, len(system.times)
    nodes: dict[str, Any] = {
        "times": np.concatenate([times_in.reshape(-1)[order], np.asarray(system.times)]),
        "is_input": np.arange(m + k) < m,
        "sources": np.concatenate([order // times_in.shape[1], np.asarray(system.neurons)]),
        "numbers": np.concatenate([order % times_in.shape[1], np.asarray(system.numbers)]),
    }
    return jraph.GraphsTuple(
        nodes=nodes,
        edges=all_earlier[receivers, senders],
        senders=senders,
        receivers=m + receivers,
        n_node=np.array([m + k]),
        n_edge=np.array([receivers.size]),
        globals={},
    )


def ancestors(
    graph: jraph.GraphsTuple, nodes: Int[np.ndarray, "targets"] | Bool[np.ndarray, "all"]
) -> Bool[np.ndarray, "all"]:
    """Which nodes of a causality graph have an influence on the given ones, themselves included.

    Args:
        graph: from `causality_graph`.
        nodes: their indices, or a mask; such as the spikes that a loss looks at.

    Returns:
        A mask of nodes. No other spike matters to a loss of the given ones, nor to its gradient.
    """
    reached = np.zeros(int(graph.n_node[0]), bool)
    reached[nodes] = True
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    # nodes of neurons are sorted by time: one pass from the last to the first is enough
    by_receiver = np.split(senders, np.searchsorted(receivers, np.arange(1, reached.size)))
    for node in range(reached.size - 1, -1, -1):
        if reached[node]:
            reached[by_receiver[node]] = True
    return reached
