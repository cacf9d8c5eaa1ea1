"""MovieLens files made here and where they are looked for, the generators, a real log from raw to split."""

import zipfile

import numpy as np
import pytest

from offprint.core.data import DataError, DownloadError, local_folder
from offprint.magnn import data
from offprint.magnn._metrics import evaluate
from offprint.magnn._prepare import prepare
from offprint.magnn._split import split_ratio
from offprint.magnn._windows import windows

ROWS = [(user, item, 5 - (user + item) % 2, 1000 - item) for user in range(1, 25) for item in range(1, 25)]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Neither a folder of one's own nor a cache."""
    monkeypatch.delenv("OFFPRINT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def zipped(path, member, delimiter, rows=ROWS):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"ml/{member}", "".join(delimiter.join(map(str, row)) + "\n" for row in rows))
        archive.writestr("ml/README", "text")
    return path


def test_ratings_from_the_archives(tmp_path, nowhere):
    for log in (
        data.movielens_1m_ratings(zipped(tmp_path / "ml-1m.zip", "ratings.dat", "::")),
        data.movielens_100k(zipped(tmp_path / "ml-100k.zip", "u.data", "\t")),
    ):
        np.testing.assert_array_equal(np.stack([log.user, log.item, log.rating, log.time], axis=1), ROWS)


def test_sequences_from_raw_ratings(tmp_path, nowhere):
    rows = [row if row[:2] != (1, 12) else (1, 12, 3, 0) for row in ROWS]  # one rating that is too low
    rows += [*((99, item, 5, 0) for item in range(1, 6)), *((1, 50 + item, 5, 0) for item in range(3))]
    sequences = data.movielens_1m(zipped(tmp_path / "ml-1m.zip", "ratings.dat", "::", rows))
    assert sequences.user_ids.tolist() == list(range(1, 25))
    assert sequences.item_ids.tolist() == list(range(1, 25))
    assert sequences.external_items(sequences.of(0)).tolist() == [item for item in range(24, 0, -1) if item != 12]
    assert sequences.report.steps[-1].interactions == len(sequences)


def test_sequences_that_are_ready(tmp_path, nowhere):
    path = tmp_path / "ready.npz"
    np.savez(path, indptr=[0, 2, 3], items=[1, 0, 1], item_original_id=[7, 9, 11], user_original_id=[4, 5])
    sequences = data.movielens_1m(path)
    assert (sequences.num_items, sequences.external_items(sequences.of(0)).tolist()) == (3, [9, 7])
    np.savez(path, indptr=[0, 2, 3], items=[1, 0, 1])
    assert data.movielens_1m(path).num_items == 2
    np.savez(path, indptr=[0, 2], items=[1, 0, 1])
    with pytest.raises(DataError, match="does not hold sequences: indptr must start at 0"):
        data.movielens_1m(path)
    np.savez(path, rows=[1])
    with pytest.raises(DataError, match="no array indptr, items; it has rows"):
        data.movielens_1m(path)


def test_ones_own_folder_is_looked_in_first(tmp_path, nowhere, monkeypatch):
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    for name in ("movielens-1m", "movielens-100k"):
        (tmp_path / name).mkdir()
    np.savez(tmp_path / "movielens-1m" / "movielens-1m.npz", indptr=[0, 1], items=[0])
    np.savez(
        tmp_path / "movielens-100k" / "movielens-100k.npz", user=[1, 2], item=[3, 4], rating=[5, 1], timestamp=[8, 9]
    )
    assert len(data.movielens_1m()) == 1
    assert data.movielens_100k().time.tolist() == [8, 9]


def test_files_that_are_wrong_or_missing(tmp_path, nowhere, monkeypatch):
    with pytest.raises(DataError, match=r"holds no u\.data; the file as GroupLens publishes it"):
        data.movielens_100k(zipped(tmp_path / "other.zip", "ratings.dat", "::"))
    with pytest.raises(DataError, match="does not consist of four whole numbers a line"):
        data.movielens_100k(zipped(tmp_path / "short.zip", "u.data", "\t", [(1, 2, 3)]))
    (tmp_path / "text.zip").write_text("nothing of the kind")
    with pytest.raises(DataError, match="cannot be read as a zip archive"):
        data.movielens_1m(tmp_path / "text.zip")
    monkeypatch.setattr(
        "offprint.core.data._dataset.download", lambda url, *_, **__: (_ for _ in ()).throw(DownloadError(url))
    )
    with pytest.raises(DownloadError, match=r"https://files.grouplens.org/datasets/movielens/ml-1m.zip"):
        data.movielens_1m()


def test_the_terms_are_shown():
    for dataset in data.DATASETS:
        assert "for research, with acknowledgement; not to be passed on" in dataset.terms
        assert "Harper" in dataset.terms


def test_rows_of_the_chain_are_probabilities_with_the_successors_known():
    transition = data.markov_transition(3, 40, branching=3, noise=0.2)
    np.testing.assert_allclose(transition.sum(axis=1), 1)
    successors = np.sort(transition, axis=1)[:, ::-1] - 0.2 / 40
    np.testing.assert_allclose(successors[:, :3], np.tile(0.8 * np.array([4, 2, 1]) / 7, (40, 1)))
    np.testing.assert_allclose(successors[:, 3:], 0, atol=1e-12)
    follower, item = transition.argmax(axis=1), 0
    seen = {item}
    while (item := int(follower[item])) not in seen:
        seen.add(item)
    assert len(seen) == 40  # one ring of all items


def test_sessions_follow_the_chain_and_never_repeat():
    sequences = data.markov_sessions(0, 400, 60, (5, 30))
    assert (sequences.num_users, sequences.num_items) == (400, 60)
    assert (sequences.lengths.min(), sequences.lengths.max()) == (5, 30)
    rows = [sequences.of(user) for user in range(400)]
    assert all(len(set(row.tolist())) == len(row) for row in rows)
    transition = data.markov_transition(0, 60)
    pairs = np.concatenate([np.stack([row[:-1], row[1:]]) for row in rows], axis=1)
    on_the_ring = transition[pairs[0], pairs[1]] > 0.1
    assert 0.85 < on_the_ring.mean() < 0.95
    np.testing.assert_array_equal(data.markov_sessions(0, 400, 60, (5, 30)).items, sequences.items)
    assert not np.array_equal(data.markov_sessions(1, 400, 60, (5, 30)).items[:50], sequences.items[:50])


def test_a_chain_without_jumps_that_has_run_out_goes_on_anywhere():
    sequences = data.markov_sessions(0, 20, 6, (6, 6), branching=1, noise=0.0)
    assert all(sorted(sequences.of(user).tolist()) == list(range(6)) for user in range(20))


def test_the_order_of_items_says_far_more_than_their_popularity():
    split = split_ratio(data.markov_sessions(0))
    known, transition = split.train_val, data.markov_transition(0)
    last = np.array([known.of(user)[-1] for user in range(known.num_users)])
    fresh = np.ones((known.num_users, known.num_items))
    fresh[np.repeat(np.arange(known.num_users), known.lengths), known.items] = 0
    popularity = np.bincount(known.items, minlength=known.num_items)
    # The chance of an item within the next five steps, each a step of the chain.
    soon = sum(np.linalg.matrix_power(transition, steps) for steps in range(1, 6))
    best, popular = (
        evaluate(np.argsort(-scores * fresh, axis=1, kind="stable")[:, :10], split.test, ks=(10,)).recall[10]
        for scores in (soon[last], np.broadcast_to(popularity, fresh.shape))
    )
    assert popular < 0.1
    assert best > 7 * popular


def test_a_large_catalogue_has_the_sizes_asked_for():
    sequences = data.zipf_catalogue(0, 300, 2000, 9000)
    assert (sequences.num_users, sequences.num_items, len(sequences)) == (300, 2000, 9000)
    assert sequences.lengths.min() >= 10
    assert all(len(np.unique(sequences.of(user))) == sequences.lengths[user] for user in range(300))
    counts = np.sort(np.bincount(sequences.items, minlength=2000))[::-1]
    assert counts[:200].sum() > 0.4 * 9000
    assert len(data.zipf_catalogue(1, 5, 40, 99)) == 99  # as full as it can be, but for one


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.markov_transition(0, 1), "num_items=1, branching=3; 1 <= branching < num_items"),
        (lambda: data.markov_transition(0, 9, noise=1.5), "noise=1.5; a probability"),
        (lambda: data.markov_sessions(0, 10, 20, (5, 30)), r"length=\(5, 30\), num_items=20"),
        (lambda: data.markov_sessions(0, 0), "num_users=0"),
        (lambda: data.zipf_catalogue(0, 10, 100, 50), r"from 100 \(min_length=10\) to 500"),
    ],
)
def test_wrong_sizes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def skip_unless_here(dataset):
    """GroupLens' data may not be passed on, and a test does not download."""
    own = local_folder()
    converted = own is not None and (own / dataset.name / f"{dataset.name}.npz").is_file()
    if not converted and dataset.where(dataset.files[0].name) is None:
        pytest.skip(f"{dataset.name} is neither in the folder that OFFPRINT_DATA names nor in the cache")


def test_a_real_log_from_raw_to_windows():
    skip_unless_here(data.MOVIELENS_100K)
    log = data.movielens_100k()
    assert (len(log), len(np.unique(log.user)), len(np.unique(log.item))) == (100_000, 943, 1682)
    sequences = prepare(log, min_rating=4, min_user=10, min_item=10, iterative=True, rating_scale=(1, 5))
    assert sequences.report.steps[1].interactions == 55_375
    assert sequences.lengths.min() >= 10
    assert np.bincount(sequences.items).min() >= 10
    split = split_ratio(sequences)
    shares = [len(part) / len(sequences) for part in (split.train, split.val, split.test)]
    np.testing.assert_allclose(shares, [0.72, 0.08, 0.2], atol=0.015)
    found = windows(split.train_val)
    assert len(found) == np.maximum(split.train_val.lengths - 7, 1).sum()
    row = {(user, item): time for user, item, time in zip(log.user, log.item, log.time)}
    for user in (0, 100):
        times = [row[sequences.user_ids[user], item] for item in sequences.external_items(sequences.of(user))]
        assert times == sorted(times)


def test_movielens_1m_as_published():
    skip_unless_here(data.MOVIELENS_1M)
    sequences = data.movielens_1m()
    assert repr(sequences) == "Sequences(5950 users, 3125 items, 573726 interactions)"
    assert len(windows(split_ratio(sequences).train_val, L=5, T=3)) == 414_964
