"""Data sets: scaling of features, files, generators, the karate club, the published graphs."""

import jax.numpy as jnp
import numpy as np
import pytest

from offprint.core.data import DataError, local_folder
from offprint.gaug._features import SparseFeatures, row_normalize, standardize
from offprint.gaug._metrics import homophily
from offprint.gaug.data import (
    air_usa,
    blogcatalog,
    cora,
    flickr,
    from_csv,
    karate,
    load_npz,
    save_npz,
    sbm,
)


def test_scaling_is_that_of_the_authors_code(golden):
    arrays = golden("metrics")
    np.testing.assert_allclose(row_normalize(arrays["row_in"]), arrays["row_out"], atol=1e-12)
    sparse = row_normalize(SparseFeatures.from_dense(arrays["row_in"]))
    np.testing.assert_allclose(sparse.to_dense(), arrays["row_out"], atol=1e-12)
    np.testing.assert_allclose(standardize(arrays["col_in"]), arrays["col_out"], atol=1e-9)


def test_rows_of_zeros_and_constant_columns_become_zeros():
    x = np.array([[0.1, 0.0, 1.0], [0.1, 0.0, 0.0], [0.1, 0.0, 0.0]])
    assert not row_normalize(np.zeros((2, 3))).any()
    assert not row_normalize(SparseFeatures.from_dense(np.eye(3)[:2] * 0)).to_dense().any()
    assert not standardize(x)[:, :2].any()


def test_sparse_features_multiply_as_their_matrix():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 7)) * (rng.random((5, 7)) < 0.3)
    sparse = SparseFeatures.from_dense(x)
    kernel = jnp.asarray(rng.standard_normal((7, 2)))
    np.testing.assert_allclose(sparse @ kernel, x @ kernel, atol=1e-14)
    np.testing.assert_array_equal(sparse.to_dense(), x)
    assert (sparse.shape, sparse.ndim, sparse.dtype) == ((5, 7), 2, jnp.float64)


@pytest.mark.parametrize("density", [0.05, 0.5])
def test_what_is_saved_is_what_is_read(tmp_path, density):
    data = sbm(1, num_nodes=60)
    rng = np.random.default_rng(0)
    x = np.where(rng.random((60, 20)) < density, rng.random((60, 20)), 0)
    np.savez(
        tmp_path / "one.npz",
        num_nodes=60,
        edges=data.graph.edges(),
        weights=rng.uniform(1, 2, data.graph.num_edges),
        features=x,
        labels=data.y,
        **{f"{part}_idx": rows for part, rows in data.split._asdict().items()},
    )
    first = load_npz(tmp_path / "one.npz")
    assert isinstance(first.x, SparseFeatures) == (density < 0.1)
    save_npz(tmp_path / "two.npz", first)
    second = load_npz(tmp_path / "two.npz", name="again")
    assert (first.name, second.name) == ("one", "again")
    for one, other in (
        (first.graph.to_dense(), second.graph.to_dense()),
        (first.y, second.y),
        *zip(*(d.split for d in (first, second))),
    ):
        np.testing.assert_array_equal(one, other)
    for loaded in (first, second):
        np.testing.assert_array_equal(loaded.x.to_dense() if density < 0.1 else loaded.x, x)


def test_scaling_is_chosen_on_reading(tmp_path):
    data = karate()
    save_npz(tmp_path / "k.npz", data)
    assert load_npz(tmp_path / "k.npz", scale="column").x.mean(0) == pytest.approx(np.zeros(34))
    rows = load_npz(tmp_path / "k.npz", scale="row").x
    assert (rows.to_dense() if isinstance(rows, SparseFeatures) else rows).sum(1) == pytest.approx(np.ones(34))


def test_tables_with_names_become_a_data_set(tmp_path):
    (tmp_path / "edges.csv").write_text("source,target,weight\na,b,2\nc,b,1\n")
    (tmp_path / "nodes.csv").write_text(
        "id,label,split,height,age\na,dog,train,1,2\nb,cat,train,3,4.5\nc,dog,val,5,6\nd,cat,test,7,8\n"
    )
    data = from_csv(tmp_path / "edges.csv", tmp_path / "nodes.csv", name="pets")
    assert (data.name, data.num_classes, data.num_features) == ("pets", 2, 2)
    np.testing.assert_array_equal(data.graph.to_dense()[:3, :3], [[0, 2, 0], [2, 0, 1], [0, 1, 0]])
    assert data.y.tolist() == [1, 0, 1, 0]
    assert data.x.tolist() == [[1, 2], [3, 4.5], [5, 6], [7, 8]]
    assert [part.tolist() for part in data.split] == [[0, 1], [2], [3]]


def test_tables_without_a_split_get_a_tenth_and_a_fifth(tmp_path):
    (tmp_path / "edges.csv").write_text("source,target\n" + "\n".join(f"{i},{i + 1}" for i in range(19)))
    (tmp_path / "nodes.csv").write_text("id,label,x\n" + "\n".join(f"{i},0,{i / 2}" for i in range(20)))
    one, same, other = (from_csv(tmp_path / "edges.csv", tmp_path / "nodes.csv", seed=s) for s in (0, 0, 1))
    assert [len(part) for part in one.split] == [2, 4, 14]
    assert sorted(np.concatenate(one.split).tolist()) == list(range(20))
    np.testing.assert_array_equal(one.split.val, same.split.val)
    assert (one.split.test != other.split.test).any()


@pytest.mark.parametrize(
    ("edges", "nodes", "message"),
    [
        ("from,to\n1,2\n", "id,label,x\n1,0,1\n", "has no column source, target; it has from, to"),
        ("source,target\n1,9\n", "id,label,x\n1,0,1\n2,1,1\n", "names the node 9, which has no line in"),
        ("source,target\n1,2\n", "id,label,x\n1,0,1\n1,1,1\n", "gives 1 ids twice"),
        ("source,target\n1,2\n", "id,label,x\n1,0,tall\n2,1,1\n", "column x: features must be numbers"),
        ("source,target\n1,2\n", "id,label\n1,0\n2,1\n", "has no column of features"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, edges, nodes, message):
    (tmp_path / "edges.csv").write_text(edges)
    (tmp_path / "nodes.csv").write_text(nodes)
    with pytest.raises(DataError, match=message):
        from_csv(tmp_path / "edges.csv", tmp_path / "nodes.csv")


def test_block_model_has_the_densities_that_were_asked_for():
    data = sbm(3, num_nodes=600, num_classes=3, p_in=0.1, p_out=0.02, labels_per_class=4)
    counts = np.bincount(data.y)
    edges = data.graph.edges()
    within = (data.y[edges[:, 0]] == data.y[edges[:, 1]]).sum()
    pairs = (counts * (counts - 1) // 2).sum()
    other = 600 * 599 // 2 - pairs
    assert abs(within - 0.1 * pairs) < 5 * np.sqrt(0.09 * pairs)
    assert abs(len(edges) - within - 0.02 * other) < 5 * np.sqrt(0.0196 * other)
    assert np.bincount(data.y[data.split.train]).tolist() == [4, 4, 4]
    assert sorted(np.concatenate(data.split).tolist()) == list(range(600))
    np.testing.assert_array_equal(sbm(3, num_nodes=80).x, sbm(3, num_nodes=80).x)
    full = sbm(0, num_nodes=40, p_in=1, p_out=0)
    assert homophily(full.graph, full.y) == 1
    assert full.graph.num_edges == 2 * 190


def test_the_karate_club_is_zacharys():
    club = karate()
    assert (club.graph.num_nodes, club.graph.num_edges, club.num_classes) == (34, 78, 2)
    assert club.graph.degrees()[jnp.array([0, 33, 32, 11])].tolist() == [16, 17, 12, 1]
    assert np.bincount(club.y).tolist() == [17, 17]
    between = club.graph.edges()
    assert (club.y[between[:, 0]] != club.y[between[:, 1]]).sum() == 11


def test_a_missing_archive_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r"cora cannot be downloaded.*put cora/cora.npz into the folder that OFFPRINT_DATA"
    ):
        cora()
    (tmp_path / "cora").mkdir()
    save_npz(tmp_path / "cora" / "cora.npz", karate())
    with pytest.raises(DataError, match="has 34 nodes and 78 edges, but cora has 2708 and 5278"):
        cora()
    with pytest.raises(DataError, match=r"is not there; an .npz archive with the arrays num_nodes, edges, labels"):
        load_npz(tmp_path / "none.npz")
    np.savez(tmp_path / "half.npz", num_nodes=3)
    with pytest.raises(DataError, match="has no array edges, labels, train_idx, val_idx, test_idx, feat_indptr"):
        load_npz(tmp_path / "half.npz")


@pytest.mark.parametrize(
    ("load", "features", "classes", "split", "share"),
    [
        (cora, 1433, 7, (140, 500, 1000), 0.8100),
        (air_usa, 238, 4, (119, 238, 833), 0.6978),
        (blogcatalog, 8189, 6, (519, 1039, 3638), 0.4011),
        (flickr, 12047, 9, (757, 1515, 5303), 0.2386),
    ],
)
def test_published_graphs_are_those_of_the_paper(load, features, classes, split, share):
    folder = local_folder()
    if folder is None or not (folder / load.__name__.replace("_", "-")).is_dir():
        pytest.skip("OFFPRINT_DATA names no folder with this data set")
    data = load()
    assert (data.num_features, data.num_classes) == (features, classes)
    assert tuple(len(part) for part in data.split) == split
    assert homophily(data.graph, data.y) == pytest.approx(share, abs=5e-5)
    assert isinstance(data.x, SparseFeatures)
    if load in (cora, air_usa):
        np.testing.assert_allclose(data.x @ jnp.ones((features, 1)), 1, rtol=1e-12)
