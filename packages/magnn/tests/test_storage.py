"""A model that was saved and loaded is the same model."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.magnn import MAGNN, ItemGraph, Sequences, item_graph, load_model, recommend, save_model
from offprint.magnn.baselines import BPRMF, HGN, GRU4Rec, Popularity, SASRec

LISTS = [np.random.default_rng(user).permutation(20)[:9] for user in range(6)]
SEQUENCES = Sequences.from_lists(LISTS, 20)
SIZES = {"num_users": 6, "num_items": 20, "d": 8}
MODELS = {
    "graph": lambda rngs: MAGNN(**SIZES, h=3, m=4, graph=item_graph(SEQUENCES, max_degree=3), rngs=rngs),
    "window": lambda rngs: MAGNN(
        **SIZES, h=3, m=4, graph="window", L=2, max_long=3, fusion="gru", gnn_steps=2, position="from_end",
        attention_axis="heads", mask_history=False, output_bias=False, cooccurrence="sum", rngs=rngs,
    ),
    "parts": lambda rngs: MAGNN(**SIZES, short_term="none", long_term="attention", cooccurrence="none", rngs=rngs),
    "float64": lambda rngs: MAGNN(**SIZES, h=3, m=4, graph=item_graph(SEQUENCES), dtype=jnp.float64, rngs=rngs),
    "bfloat16": lambda rngs: BPRMF(**SIZES, dtype=jnp.bfloat16, rngs=rngs),
    "hgn": lambda rngs: HGN(**SIZES, L=3, pooling="mean", rngs=rngs),
    "gru4rec": lambda rngs: GRU4Rec(**SIZES, L=3, max_long=4, rngs=rngs),
    "sasrec": lambda rngs: SASRec(**SIZES, L=3, max_long=4, heads=2, blocks=1, dropout=0.5, rngs=rngs),
    "popularity": lambda rngs: Popularity(SEQUENCES),
}  # fmt: skip


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_saved_and_loaded_models_are_the_same(make, tmp_path):
    model = make(nnx.Rngs(3))
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    kept = nnx.Not(nnx.RngState)
    before, after = (jax.tree_util.tree_leaves_with_path(nnx.state(m, kept)) for m in (model, loaded))
    assert [jax.tree_util.keystr(path) for path, _ in before] == [jax.tree_util.keystr(path) for path, _ in after]
    for (path, old), (_, new) in zip(before, after):
        assert old.dtype == new.dtype, path
        np.testing.assert_array_equal(np.asarray(old), np.asarray(new), err_msg=jax.tree_util.keystr(path))
    settings = {name: value for name, value in vars(model).items() if isinstance(value, int | str)}
    assert {name: getattr(loaded, name) for name in settings} == settings


def test_a_loaded_model_ranks_as_before(tmp_path):
    model = MODELS["hgn"](nnx.Rngs(0))
    save_model(model, tmp_path / "model.npz")
    before, after = recommend(model, SEQUENCES, 5), recommend(load_model(tmp_path / "model.npz"), SEQUENCES, 5)
    np.testing.assert_array_equal(before.items, after.items)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_a_graph_without_counts_stays_what_it_is(tmp_path):
    edges = np.array([0, 0, 1]), np.array([1, 2, 0]), np.array([0.25, 0.75, 1.0])
    graph = ItemGraph.from_coo(*edges, num_items=20)
    model = MAGNN(**SIZES, graph=graph, rngs=nnx.Rngs(0))
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz").graph
    assert loaded.counts is None
    np.testing.assert_array_equal(loaded.to_dense(), model.graph.to_dense())


def test_what_is_no_model_is_refused(tmp_path):
    SEQUENCES.save(tmp_path / "sequences.npz")
    with pytest.raises(ValueError, match=r"sequences.npz holds no model; was it written by save_model\?"):
        load_model(tmp_path / "sequences.npz")
    with pytest.raises(ValueError, match="a Linear cannot be saved here; one of MAGNN, BPRMF, HGN,"):
        save_model(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), tmp_path / "linear.npz")


def test_files_of_later_versions_and_damaged_ones(tmp_path):
    path = tmp_path / "model.npz"
    save_model(MODELS["hgn"](nnx.Rngs(0)), path)
    with np.load(path) as archive:
        arrays = dict(archive)
    settings = json.loads(str(arrays["settings"]))
    np.savez(path, **arrays | {"settings": json.dumps(settings | {"format": 2})})
    with pytest.raises(ValueError, match=r"is a HGN in format 2; this version reads .* in format 1"):
        load_model(path)
    np.savez(path, **arrays | {"Q": np.ones((3, 3))})
    with pytest.raises(ValueError, match=r"holds no whole HGN: Q has shape \(3, 3\), not \(20, 8\); save"):
        load_model(path)
    del arrays["Q"]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="holds no whole HGN: Q is missing"):
        load_model(path)


def test_double_precision_needs_to_be_on(tmp_path):
    save_model(MODELS["float64"](nnx.Rngs(0)), tmp_path / "model.npz")
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"is float64; switch it on first: jax\.config\.update"):
        load_model(tmp_path / "model.npz")
