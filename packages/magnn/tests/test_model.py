"""What the model refuses, and how it travels."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.magnn import MAGNN, Sequences, item_graph

USERS, SHORT, LONG = np.array([0, -1]), np.array([[0, 1], [-1, 4]]), np.array([[-1, 2], [3, 3]])


def make(**options):
    return MAGNN(**{"num_users": 3, "num_items": 5, "d": 4, "graph": "window", "rngs": nnx.Rngs(0)} | options)


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"users": np.array([0, 3])}, "users hold the id 3, but ids are 0 to 2, or -1 for an unknown user"),
        ({"short": np.array([[0, 5], [1, 1]])}, "short hold the id 5, but ids are 0 to 4, or -1 for padding"),
        ({"long": np.array([[0, -2], [1, 1]])}, "long hold the id -2, but ids are 0 to 4, or -1 for padding"),
    ],
)
def test_ids_out_of_range_are_named(model, changed, message):
    for method in (model.query, model.explain):
        with pytest.raises(ValueError, match=message):
            method(**{"users": USERS, "short": SHORT, "long": LONG} | changed)


def test_memory_weights_need_items_and_a_memory(model):
    assert model.memory_weights(np.array([1, 4])).shape == (2, 20)
    with pytest.raises(ValueError, match="items hold the id -1, but ids are 0 to 4"):
        model.memory_weights(np.array([-1]))
    with pytest.raises(ValueError, match="long_term='attention' has no memory"):
        make(long_term="attention").memory_weights(np.array([1]))


@pytest.mark.parametrize("name", ["num_users", "num_items", "d", "h", "m", "L", "gnn_steps"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, but is 0"):
        make(**{name: 0})


@pytest.mark.parametrize("name", ["short_term", "long_term", "fusion", "attention_axis", "cooccurrence", "position"])
def test_unknown_options_are_refused(name, unchecked_types):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, but is 'maybe'"):
        make(**{name: "maybe"})


def test_a_graph_must_fit_and_be_there(unchecked_types):
    with pytest.raises(ValueError, match="graph must be an ItemGraph, 'window' or None, but is 'global'"):
        make(graph="global")
    other = item_graph(Sequences.from_lists([[0, 1]], 7))
    with pytest.raises(ValueError, match="the graph has 7 items, but the model has 5"):
        make(graph=other)
    with pytest.raises(ValueError, match="no item graph to set"):
        make().set_graph(other)
    missing = make(graph=None)
    assert missing.needs_graph
    assert missing.graph is None
    with pytest.raises(ValueError, match="no item graph yet: `fit` builds one"):
        missing.query(USERS, SHORT, LONG)


def test_a_graph_can_be_given_later_and_travels_with_the_model():
    graph = item_graph(Sequences.from_lists([[0, 1, 2, 3]], 5))
    later, now = make(graph=None), make(graph=graph)
    later.set_graph(graph)
    assert not later.needs_graph
    assert later.graph.weights.dtype == jnp.float32
    copied = nnx.merge(*nnx.split(later))
    for model in (later, copied):
        np.testing.assert_array_equal(model.query(USERS, SHORT, LONG), now.query(USERS, SHORT, LONG))


def test_an_unknown_user_is_the_mean_of_all(model):
    parts = model.parts(model._checked_batch(USERS, SHORT, LONG, None, None))
    np.testing.assert_allclose(parts.user[1], model.P[...].mean(axis=0), rtol=1e-6)
