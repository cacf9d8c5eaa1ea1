"""Which way of sampling suits a graph, a classifier and a device."""

import os
from typing import Any

import jax
import jax.numpy as jnp

from offprint.gaug._blockwise import sample_graph
from offprint.gaug._config import Backend, GAugOConfig
from offprint.gaug._edge_loss import Mode
from offprint.gaug._network import Network
from offprint.gaug._problem import Problem

DENSE_ARRAYS = 12
"""Arrays of N x N that a dense epoch holds at the same time, forwards and backwards."""


def chosen_backend(cfg: GAugOConfig, node: Network, problem: Problem) -> Backend:
    """The backend that was asked for, or the one that suits.

    On a CPU blocks that stay in its cache are the faster way to the same result; elsewhere whole matrices are, as long
    as the memory holds them.

    Raises:
        ValueError: the dense one for a graph too large for the memory; the blockwise one for a classifier that does
            not work on sampled graphs.
    """
    nodes = problem.graph.num_nodes
    fits = fits_dense(nodes)
    if cfg.backend == "dense" or (cfg.backend == "auto" and needs_dense(cfg)):
        _refuse_too_large(nodes)
        return "dense"
    if cfg.backend == "auto" and fits and jax.default_backend() != "cpu":
        return "dense"
    if cfg.backend in ("auto", "blockwise"):
        reason = _refusal(node, problem)
        if reason is None:
            return "blockwise"
        if cfg.backend == "auto" and fits:
            return "dense"
        raise ValueError(
            f"the classifier does not work on the sparse samples of backend='blockwise' ({reason}); use another "
            "classifier, or backend='candidate'" + (" or 'dense'" if fits else "")
        )
    return cfg.backend


def needs_dense(cfg: GAugOConfig) -> bool:
    """Whether the samples asked for are made as matrices only."""
    return (cfg.estimator, cfg.score_map) != ("binary_concrete", "max")


def loss_mode(num_nodes: int) -> Mode:
    """How the edge loss is computed where nothing else decides: `"dense"` or `"blockwise"`."""
    return "dense" if fits_dense(num_nodes) and jax.default_backend() != "cpu" else "blockwise"


def block_size(given: int | None) -> int:
    """Nodes on a side of a block: small enough for a processor's cache, large enough for a GPU."""
    return given or (256 if jax.default_backend() == "cpu" else 4096)


def fits_dense(num_nodes: int) -> bool:
    """Whether a dense epoch fits into the device's memory, as far as it tells."""
    available = device_bytes()
    return available is None or dense_bytes(num_nodes) <= available


def dense_bytes(num_nodes: int) -> int:
    """About what a dense epoch holds."""
    return num_nodes**2 * DENSE_ARRAYS * jnp.dtype(jnp.result_type(float)).itemsize


def device_bytes() -> int | None:
    """Memory of the device; of the machine for the CPU; None where it does not tell."""
    device = jax.devices()[0]
    statistics = device.memory_stats() if device.platform != "cpu" else None
    if statistics and "bytes_limit" in statistics:
        return int(statistics["bytes_limit"])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _refuse_too_large(nodes: int) -> None:
    if fits_dense(nodes):
        return
    raise ValueError(
        f"backend='dense' needs about {dense_bytes(nodes) / 2**30:.1f} GiB for {nodes} nodes ({DENSE_ARRAYS} arrays of "
        f"{nodes} x {nodes}), but the device has {(device_bytes() or 0) / 2**30:.1f} GiB; use backend='blockwise', "
        "which gives the same result, or 'candidate' or 'subgraph'"
    )


def _refusal(node: Network, problem: Problem) -> str | None:
    """What the classifier says to a sampled graph, without running it; None if it takes it."""
    dtype = jnp.result_type(float)

    def run(key: Any, z: Any, graph: Any, x: Any) -> Any:
        sampled = sample_graph(key, z, graph, capacity=1)
        return sampled.apply(lambda view, x: node.model(view, x), x)

    z = jax.ShapeDtypeStruct((problem.graph.num_nodes, 1), dtype)
    try:
        jax.eval_shape(run, jax.random.key(0), z, problem.graph, problem.x)
    except (TypeError, ValueError, AttributeError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None
