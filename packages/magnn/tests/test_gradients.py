"""Gradients against central differences in float64, for every parameter and every variant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.magnn import MAGNN, Batch, Sequences, item_graph
from offprint.magnn._long_term import attention
from offprint.magnn._loss import batch_loss

VARIANTS = {
    "the paper": {},
    "p^S": {"short_term": "user_fused"},
    "concat": {"fusion": "concat"},
    "gru": {"fusion": "gru"},
    "two steps": {"gnn_steps": 2},
    "window": {"graph": "window", "gnn_steps": 2},
    "heads": {"attention_axis": "heads"},
    "unmasked": {"mask_history": False},
    "identity": {"cooccurrence": "identity"},
}


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(0)
    return item_graph(Sequences.from_lists([rng.integers(0, 8, 7) for _ in range(4)], 9))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    short, long, targets = (rng.integers(1, 8, (3, n)).astype(np.int32) for n in (3, 4, 2))
    short[1, 0], long[1, :2], long[2], targets[2, 0] = -1, -1, -1, -1
    return Batch(*map(jnp.asarray, (np.array([0, 3, 1], np.int32), short, long, targets)))


NEGATIVES = jnp.array([[2, 3], [5, 7], [3, 4]], jnp.int32)


def loss_and_state(graph, batch, options, loss="bpr"):
    options = {"graph": graph, "dtype": jnp.float64, "L": 3, "max_long": 4, "rngs": nnx.Rngs(1)} | options
    graphdef, params, rest = nnx.split(MAGNN(4, 9, 3, 2, 3, **options), nnx.Param, ...)
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    leaves = [leaf + 0.4 * jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves)]

    def value(params):
        return batch_loss(nnx.merge(graphdef, params, rest, copy=True), batch, NEGATIVES, loss)

    return jax.jit(jax.value_and_grad(value)), jax.tree.unflatten(treedef, leaves)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_against_central_differences(graph, batch, name):
    value_and_grad, params = loss_and_state(graph, batch, VARIANTS[name])
    _, grads = value_and_grad(params)
    leaves, treedef = jax.tree.flatten(params)
    for k, (path, grad) in enumerate(jax.tree_util.tree_flatten_with_path(grads)[0]):
        numeric, step = np.zeros(grad.size), 1e-5
        for i in range(grad.size):
            shift = jnp.zeros(grad.size).at[i].set(step).reshape(grad.shape)
            up, down = (
                value_and_grad(jax.tree.unflatten(treedef, [*leaves[:k], leaves[k] + s * shift, *leaves[k + 1 :]]))[0]
                for s in (1, -1)
            )
            numeric[i] = (up - down) / (2 * step)
        scale = max(np.abs(numeric).max(), 1e-3)
        where = jax.tree_util.keystr(path)
        np.testing.assert_allclose(grad.ravel(), numeric, rtol=0, atol=1e-6 * scale, err_msg=where)


@pytest.mark.parametrize("options", [{"short_term": "none"}, {"graph": "window"}])
def test_no_gradient_reaches_items_that_only_padding_could_mean(batch, options):
    """Neither the first nor the last row of E, Q and b, where an id of -1 may be taken for one of them."""
    value_and_grad, params = loss_and_state(None, batch, options)
    _, grads = value_and_grad(params)
    for name in ("E", "Q", "b"):
        np.testing.assert_array_equal(grads[name][...][jnp.array([0, 8])], 0)
    assert (np.abs(grads["E"][...]) > 0).any()


def test_the_graph_is_neither_trained_nor_differentiated(graph):
    model = MAGNN(4, 9, 3, graph=graph, rngs=nnx.Rngs(0))
    _, params, rest = nnx.split(model, nnx.Param, ...)
    assert "adjacency" not in params
    assert "adjacency" in rest


@pytest.mark.parametrize("axis", ["items", "heads"])
def test_attention_is_differentiated_through_all_that_it_returns(axis):
    mask = jnp.array([[False, True, True], [False, False, False], [True, True, True]])
    arguments = [jax.random.normal(jax.random.key(k), shape) for k, shape in enumerate([(3, 3, 4), (3, 3, 4), (2, 4)])]
    weights = [
        jax.random.normal(jax.random.key(9 + k), shape) for k, shape in enumerate([(3, 3, 2), (3, 2, 4), (3, 4)])
    ]

    def plain(hidden, H, Wa3):
        logits = jnp.tanh(hidden) @ Wa3.T
        if axis == "items":
            S = jnp.where(mask[..., None], jnp.exp(logits), 0)
            S = S / jnp.maximum(S.sum(axis=1, keepdims=True), 1e-300)
        else:
            S = jax.nn.softmax(logits, axis=2) * mask[..., None]
        Z = jnp.tanh(jnp.einsum("bsh,bsd->bhd", S, H))
        return S, Z, Z.mean(axis=1)

    def total(function):
        return jax.jit(
            jax.value_and_grad(lambda *a: sum((w * x).sum() for w, x in zip(weights, function(*a))), argnums=(0, 1, 2))
        )

    ours = total(lambda hidden, H, Wa3: attention(hidden, H, mask, Wa3, axis))(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), ours, total(plain)(*arguments))
