"""Windows, splits and metrics against the arrays of the first author's earlier code."""

import jax
import numpy as np
import pytest

from offprint.magnn._metrics import evaluate
from offprint.magnn._sequences import Sequences
from offprint.magnn._split import split_ratio
from offprint.magnn._windows import gather, last_windows, windows


def from_one(ids):
    """Ids from 1 with 0 for padding, as ids from 0 with -1 for padding."""
    return ids.astype(np.int32) - 1


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("windows")


@pytest.fixture(scope="module")
def sequences(arrays):
    return Sequences.from_csr(arrays["seq_indptr"], from_one(arrays["seq_items"]))


@pytest.fixture(scope="module")
def batch(arrays, sequences):
    found = windows(sequences, L=int(arrays["L"]), T=int(arrays["T"]), max_long=20)
    return jax.jit(gather)(sequences, found, np.arange(len(found)))


def test_windows_and_targets(arrays, batch):
    np.testing.assert_array_equal(batch.users, arrays["win_users"])
    np.testing.assert_array_equal(batch.short, from_one(arrays["win_short"]))
    np.testing.assert_array_equal(batch.targets, from_one(arrays["win_targets"]))


def test_histories_where_the_other_code_does_not_leak_targets(arrays, sequences, batch):
    L, T = int(arrays["L"]), int(arrays["T"])
    whole = sequences.lengths[np.asarray(batch.users)] >= L + T
    assert 0 < whole.sum() < len(whole)
    np.testing.assert_array_equal(batch.long[whole], from_one(arrays["reimpl_long"])[whole])
    assert (np.asarray(batch.long)[~whole] == -1).all()  # all items of so short a sequence are in window or targets


def test_ranking_inputs(arrays, sequences):
    L, T = int(arrays["L"]), int(arrays["T"])
    last = last_windows(sequences, L=L, max_long=20 + T)
    batch = jax.jit(gather)(sequences, last, np.arange(len(last)))
    np.testing.assert_array_equal(batch.short, from_one(arrays["test_short"]))
    np.testing.assert_array_equal(batch.users, np.arange(sequences.num_users))
    assert batch.targets.shape == (sequences.num_users, 0)
    whole = sequences.lengths >= L + T
    np.testing.assert_array_equal(batch.long[whole], from_one(arrays["reimpl_test_long"])[whole])


def test_split(arrays):
    split = split_ratio(Sequences.from_csr(arrays["rec_indptr"], arrays["rec_items"]))
    for name, part in (("train", split.train), ("val", split.val), ("test", split.test), ("trainval", split.train_val)):
        np.testing.assert_array_equal(part.indptr, arrays[f"{name}_indptr"], err_msg=name)
        np.testing.assert_array_equal(part.items, arrays[f"{name}_items"], err_msg=name)


def test_metrics(golden):
    found = golden("metrics")
    items = max(found["actual_items"].max(), found["predicted"].max()) + 1
    test = Sequences.from_csr(found["actual_indptr"], found["actual_items"], int(items))
    metrics = evaluate(found["predicted"], test, ks=found["ks"].tolist())
    for name in ("precision", "recall", "map", "ndcg"):
        np.testing.assert_allclose(list(getattr(metrics, name).values()), found[name], rtol=0, atol=1e-12, err_msg=name)
