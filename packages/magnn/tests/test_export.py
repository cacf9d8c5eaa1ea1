"""What is exported ranks as the model does, without JAX."""

import numpy as np
import pytest
from flax import nnx

from offprint.magnn._export import Vectors, export_vectors
from offprint.magnn._recommend import recommend
from offprint.magnn._sequences import Sequences
from offprint.magnn.baselines import HGN, SASRec


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(0)
    lists = [rng.permutation(50)[: rng.integers(2, 9)] for _ in range(12)]
    plain = Sequences.from_lists(lists, 50)
    return Sequences(plain.indptr, plain.items, 50, np.arange(12) + 100, np.array([f"item {i}" for i in range(50)]))


@pytest.mark.parametrize("kind", [HGN, SASRec])
def test_exported_vectors_rank_as_the_model_does(tmp_path, sequences, kind):
    model = kind(12, 50, d=8, rngs=nnx.Rngs(0))
    export_vectors(model, sequences, tmp_path / "vectors.npz")
    vectors = Vectors.load(tmp_path / "vectors.npz")
    ours = recommend(model, sequences, 7)
    items, scores = vectors.top_k(7, exclude=sequences)
    np.testing.assert_array_equal(items, ours.items)
    np.testing.assert_allclose(scores, ours.scores, rtol=1e-5, atol=1e-6)
    assert vectors.user_ids.tolist() == list(range(100, 112))
    assert vectors.item_ids[items[0, 0]] == ours.external(sequences).items[0, 0]


def test_augmented_vectors_hold_the_bias(sequences):
    model = HGN(12, 50, d=8, rngs=nnx.Rngs(0))
    model.b[...] = np.linspace(-1, 1, 50, dtype=np.float32)
    vectors = export_vectors(model, sequences)
    users, items = vectors.augmented()
    np.testing.assert_allclose(users @ items.T, vectors.users @ vectors.items.T + vectors.bias, rtol=1e-5, atol=1e-6)


def test_chosen_rows_and_lists_that_are_too_long(sequences):
    vectors = export_vectors(HGN(12, 50, d=8, rngs=nnx.Rngs(0)), sequences)
    items, scores = vectors.top_k(50, rows=np.array([4, 1]), exclude=sequences)
    assert (items[0] < 0).sum() == sequences.lengths[4]
    assert (scores[0] == -np.inf).sum() == sequences.lengths[4]
    with pytest.raises(ValueError, match="k=51; from 1 to 50"):
        vectors.top_k(51)


def test_an_archive_of_something_else_is_refused(tmp_path, sequences):
    sequences.save(tmp_path / "sequences.npz")
    with pytest.raises(ValueError, match="has no array users, bias"):
        Vectors.load(tmp_path / "sequences.npz")
