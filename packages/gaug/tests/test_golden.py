"""The joint loss, its gradients, and a short joint training, against the original implementation."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.core.train import scan
from offprint.gaug._config import GAugOConfig
from offprint.gaug._edge_predictor import EdgePredictor
from offprint.gaug._fit import track_of
from offprint.gaug._gat import GAT
from offprint.gaug._gaug_o import watched
from offprint.gaug._gcn import GCN
from offprint.gaug._graph import Graph
from offprint.gaug._jknet import JKNet
from offprint.gaug._joint import HISTORY, JointState, gaug_o_loss, joint_optimizers, joint_update
from offprint.gaug._network import Network
from offprint.gaug._problem import check_problem
from offprint.gaug._sage import GraphSAGE

MAKE = {
    "gcn": lambda layers: GCN(9, 16, 4, layers, 0.0, rngs=nnx.Rngs(0)),
    "gsage": lambda layers: GraphSAGE(9, 16, 4, layers, 0.0, compat="gaug_joint", rngs=nnx.Rngs(0)),
    "gat": lambda layers: GAT(
        9, 16, 4, layers, 0.0, heads=8, compat="gaug_joint", gat_mask_gradient=False, rngs=nnx.Rngs(0)
    ),
    "jknet": lambda layers: JKNet(9, 16, 4, layers, 0.0, compat="gaug_joint", rngs=nnx.Rngs(0)),
}


def edge_parameters(model):
    """The names of the original and the parameters they stand for."""
    return {"gcn_base__W": model.base, "gcn_mean__W": model.mean}


def node_parameters(gnn, model):
    names = {}
    for k, layer in enumerate(model.layers):
        if gnn in ("gsage", "jknet"):
            names[f"layers__{k}__linear_neigh__weight"] = layer.kernel
            continue
        names |= {f"layers__{k}__W": layer.kernel, f"layers__{k}__b": layer.bias}
        if gnn == "gat":
            names |= {f"layers__{k}__attn_l__weight": layer.receive, f"layers__{k}__attn_r__weight": layer.send}
    if gnn == "jknet":
        names |= {"layer_output__weight": model.kernel, "layer_output__bias": model.bias}
    return names


def as_ours(name, array):
    """PyTorch's linear layers store their matrices the other way round; attention vectors stand as they are."""
    return array.T if name.endswith(("linear_neigh__weight", "layer_output__weight")) else array


def models(arrays, gnn, layers, prefix):
    node = MAKE[gnn](layers)
    edge = EdgePredictor(9, 16, 6, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    for net, parameters in (("nc_net", node_parameters(gnn, node)), ("ep_net", edge_parameters(edge))):
        for name, parameter in parameters.items():
            parameter[...] = jnp.asarray(as_ours(name, arrays[f"{prefix}{net}__{name}"]))
    return node, edge


def compare(arrays, gnn, node, edge, prefix, rtol):
    for net, parameters in (("nc_net", node_parameters(gnn, node)), ("ep_net", edge_parameters(edge))):
        for name, parameter in parameters.items():
            expected = as_ours(name, arrays[f"{prefix}{net}__{name}"])
            np.testing.assert_allclose(parameter[...], expected, rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize(
    ("case", "backend"), [*((case, "dense") for case in range(5)), (0, "blockwise"), (1, "blockwise")]
)
def test_joint_loss_and_its_gradients_are_those_of_the_original(golden, case, backend):
    arrays = golden("gaugo_step")
    gnn, layers = str(arrays["cfg_gnn"][case]), int(arrays["cfg_n_layers"][case])
    node, edge = models(arrays, gnn, layers, f"c{case}__")
    alpha, beta, temperature = (float(arrays[f"cfg_{name}"][case]) for name in ("alpha", "beta", "temperature"))
    cfg = GAugOConfig(alpha, beta, temperature, backend=backend, block_size=7 if backend == "blockwise" else None)
    g = Graph.from_dense(arrays["adj"])

    @nnx.jit
    @nnx.value_and_grad(argnums=(0, 1), has_aux=True)
    def run(node, edge):
        rest = (g, arrays["features"], arrays["labels"], arrays["train_idx"], arrays["uniforms"])
        loss, parts = gaug_o_loss(node, edge, *rest, cfg, capacity=276)
        return loss, (parts.node_loss, parts.edge_loss, parts.logits, parts.embedding.z)

    (loss, (node_loss, edge_loss, logits, z)), grads = run(node, edge)
    found = {"loss": loss, "nc_loss": node_loss, "ep_loss": edge_loss, "nc_logits": logits, "adj_logits": z @ z.T}
    for name, value in found.items():
        np.testing.assert_allclose(value, arrays[f"c{case}__{name}"], rtol=1e-9, atol=1e-9, err_msg=name)
    nnx.update(node, grads[0])  # gradients in the place of the parameters, to find them by the same names
    nnx.update(edge, grads[1])
    compare(arrays, gnn, node, edge, f"c{case}__grad_", 1e-8)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Given:
    """The uniform numbers of every step, handed on with the data."""

    data: object
    uniforms: jax.Array

    def batch_at(self, step, key):
        return self.data, self.uniforms[step]


@pytest.mark.parametrize("backend", ["dense", "blockwise"])
def test_twelve_joint_epochs_are_those_of_the_original(golden, backend):
    arrays = golden("gaugo_trace")
    node, edge = models(arrays, "gcn", 1, "init__")
    steps = int(arrays["steps"])
    cfg = GAugOConfig(
        *(float(arrays[name]) for name in ("alpha", "beta", "temperature")),
        warmup=int(arrays["warmup"]), epochs=steps, lr=float(arrays["lr"]),
        weight_decay=float(arrays["weight_decay"]), backend=backend, block_size=10,
    )  # fmt: skip
    rest = np.setdiff1d(np.arange(24), arrays["train_idx"])
    split = (arrays["train_idx"], rest[:6], rest[6:])
    g = Graph.from_dense(arrays["adj"])
    problem = check_problem(g, arrays["features"], arrays["labels"], split)
    networks = {"node": Network.of(node), "edge": Network.of(edge)}
    key = jax.random.key(0)
    state = JointState.start(*networks.values(), cfg, key, track_of(HISTORY, steps, networks, problem))

    def step(state, batch, key):
        data, uniforms = batch

        def loss(node, edge, key):
            given = (problem.graph, problem.x, problem.y, problem.train, uniforms)
            return gaug_o_loss(node, edge, *given, cfg, capacity=276)

        return joint_update(state, data, loss, cfg, joint_optimizers(cfg))

    batches = Given(watched(problem, key), jnp.asarray(arrays["uniforms"]))
    state, _ = jax.jit(lambda state, batches: scan(step, state, batches, steps, key))(state, batches)
    history = state.track.history
    for column, name in enumerate(("node_loss", "edge_loss", "loss")):
        np.testing.assert_allclose(history[name], arrays["losses"][:, column], rtol=1e-8, atol=1e-8, err_msg=name)
    compare(arrays, "gcn", state.node.model, state.edge.model, "final__", 1e-6)
    np.testing.assert_allclose(state.node.evaluate(g, problem.x), arrays["eval_logits"], rtol=1e-6, atol=1e-6)
