"""Raw logs, the files they come from, and what preparing them removes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.core.data import DataError
from offprint.magnn._log import InteractionLog
from offprint.magnn._prepare import prepare
from offprint.magnn._sequences import Sequences

pytestmark = pytest.mark.filterwarnings(
    "ignore:the log has no times", "ignore:.*are dropped", "ignore:.*repeat an item"
)


def as_lists(sequences):
    """External ids of every user's items."""
    return {
        user: sequences.external_items(sequences.of(row)).tolist()
        for row, user in enumerate(sequences.user_ids.tolist())
    }


def log_of(rows, **more):
    """A log of (user, items) in the order of time."""
    users = np.concatenate([np.full(len(items), user) for user, items in rows])
    items = np.concatenate([np.asarray(items) for _, items in rows])
    return InteractionLog(users, items, np.arange(len(users)), **more)


def test_rows_are_sorted_by_user_time_and_place_in_the_log():
    log = InteractionLog(
        user=np.array([7, 5, 7, 5, 7, 5, 7]),
        item=np.array([40, 10, 30, 20, 20, 30, 10]),
        time=np.array([3, 9, 1, 9, 1, 2, 1]),
    )
    sequences = prepare(log)
    assert as_lists(sequences) == {5: [30, 10, 20], 7: [30, 20, 10, 40]}
    assert sequences.user_ids.tolist() == [5, 7]
    assert sequences.item_ids.tolist() == [10, 20, 30, 40]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 4)), min_size=1), st.randoms())
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_rows_matters_only_where_times_are_equal(rows, random):
    rows = [(user, item, 100 * place + time) for place, (user, item, time) in enumerate(rows)]
    shuffled = random.sample(rows, len(rows))
    one, other = (prepare(InteractionLog(*np.array(r).T), min_length=1, dedup="none") for r in (rows, shuffled))
    assert as_lists(one) == as_lists(other)


def test_texts_dates_and_unsigned_numbers_are_ids_and_times():
    log = InteractionLog(
        np.array(["b", "a", "b", "a"], object),
        np.array([1, 2, 3, 1], np.uint16),
        np.array(["2020-01-02", "2020-01-02", "2020-01-01", "2020-01-01"], "datetime64[D]"),
    )
    assert as_lists(prepare(log, min_length=2)) == {"a": [1, 2], "b": [3, 1]}
    assert repr(log) == "InteractionLog(4 interactions, with time)"


def test_no_time_keeps_the_order_and_says_so():
    with pytest.warns(UserWarning, match="no times: each user's items keep the order of the rows"):
        sequences = prepare(InteractionLog(np.array([1, 2, 1, 1]), np.array([9, 8, 7, 8])), min_length=1)
    assert as_lists(sequences) == {1: [9, 7, 8], 2: [8]}


@pytest.mark.parametrize(
    ("dedup", "expected", "said"),
    [
        ("first", [1, 2, 3], "2 interactions repeat an item of the same user: the first stays"),
        ("last", [2, 3, 1], "the last stays"),
        ("none", [1, 2, 1, 3, 1], "all stay"),
    ],
)
def test_duplicates_are_counted_and_treated_as_asked(dedup, expected, said):
    with pytest.warns(UserWarning, match=said):
        sequences = prepare(log_of([(0, [1, 2, 1, 3, 1])]), dedup=dedup)
    assert as_lists(sequences) == {0: expected}
    assert sequences.report.duplicates == 2


def test_users_with_too_few_items_are_dropped_with_a_count():
    log = log_of([(1, [1, 2, 3]), (2, [1, 4]), (3, [2])])
    with pytest.warns(UserWarning, match="2 users with fewer than 3 items are dropped"):
        sequences = prepare(log)
    assert as_lists(sequences) == {1: [1, 2, 3]}
    assert (sequences.num_items, sequences.report.short_users) == (3, 2)
    with pytest.raises(ValueError, match="2 users have fewer than 3 items; raise min_user, lower min_length"):
        prepare(log, strict=True)


CHAIN = [(1, [1, 2, 3, 4]), (2, [1, 2, 3, 5]), (3, [1, 2, 6]), (4, [6, 7, 8, 9])]


def test_thresholds_once_users_first():
    sequences = prepare(log_of(CHAIN), min_user=4, min_item=2, min_length=1)
    assert as_lists(sequences) == {1: [1, 2, 3], 2: [1, 2, 3]}
    assert [(s.name, s.users, s.items, s.interactions) for s in sequences.report.steps] == [
        ("log", 4, 9, 15),
        ("users >= 4", 3, 9, 12),
        ("items >= 2", 2, 3, 6),
    ]
    assert "users >= 4          3          9            12" in str(sequences.report)


def test_thresholds_until_both_hold():
    rng = np.random.default_rng(0)
    users, items = np.unique(np.stack([rng.integers(0, 40, 500), rng.zipf(1.3, 500) % 60]), axis=1)
    log = InteractionLog(users, items, rng.random(len(users)))
    once, core = (prepare(log, min_user=6, min_item=5, iterative=iterative) for iterative in (False, True))
    assert once.lengths.min() < 6  # the items that went took users below the threshold
    assert core.lengths.min() >= 6
    assert np.bincount(core.items).min() >= 5
    again = log_of([(user, items) for user, items in as_lists(core).items()])
    assert as_lists(prepare(again, min_user=6, min_item=5)) == as_lists(core)


def test_core_holds_with_the_least_length_too():
    rows = [(1, [1, 2, 3]), (2, [1, 2, 3]), (3, [1, 2, 3, 4]), (4, [4, 5]), (5, [4, 5])]
    sequences = prepare(log_of(rows), min_user=2, min_item=2, iterative=True, min_length=3)
    assert as_lists(sequences) == {1: [1, 2, 3], 2: [1, 2, 3], 3: [1, 2, 3]}


def test_ratings_below_the_threshold_do_not_count():
    log = log_of([(1, [1, 2, 3, 4]), (2, [1, 2, 3, 4])], rating=np.array([5, 3, 4, 4.5, 1, 4, 4, 4]))
    sequences = prepare(log, min_rating=4, rating_scale=(1, 5))
    assert as_lists(sequences) == {1: [1, 3, 4], 2: [2, 3, 4]}
    assert sequences.report.steps[1].name == "rating >= 4"


def test_preset_of_the_earlier_code_filters_once_in_its_order():
    many = range(12)
    rows = [(user, list(many)) for user in range(8)]  # 8 users with 12 items: all of them stay
    rows += [(100, [0, 1, 2, 3])]  # fewer than 5
    rows += [(101, [*range(9), 50, 51])]  # 50 and 51 are rare: 9 are left
    rows += [(102, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5])]  # 11 rows, but 6 items
    rows += [(103, [*range(9), 99])] + [(user, [99, 60, 61, 62, 63]) for user in range(200, 207)]
    log = log_of(rows, rating=np.full(sum(len(items) for _, items in rows), 4))
    for dedup in ("first", "none"):
        sequences = prepare(log, preset="hgn_cds", dedup=dedup)
        assert set(as_lists(sequences)) == {*range(8), 103}
        assert np.bincount(sequences.items)[sequences.item_index([99])] == 1  # 8 before its other users went
    assert [step.name for step in sequences.report.steps] == [
        "log", "rating >= 4", "users >= 5", "items >= 8", "users >= 10 items"
    ]  # fmt: skip


def test_the_report_is_saved_with_the_sequences(tmp_path):
    sequences = prepare(log_of(CHAIN), min_user=4, min_item=2)
    sequences.save(tmp_path / "prepared.npz")
    loaded = Sequences.load(tmp_path / "prepared.npz")
    assert loaded.report == sequences.report
    assert as_lists(loaded) == as_lists(sequences)
    texts = prepare(InteractionLog(np.array(["a"] * 3), np.array(["x", "z", "y"]), np.arange(3)))
    texts.save(tmp_path / "texts.npz")
    assert as_lists(Sequences.load(tmp_path / "texts.npz")) == {"a": ["x", "z", "y"]}


NAN = np.array([1, np.nan, 2.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user": np.array([1.0, 2, 3])}, "user ids are float64; whole numbers or texts are needed"),
        ({"item": NAN}, "item ids are float64"),
        ({"item": np.array([1, "a", 2], object)}, "item ids are of mixed kinds"),
        ({"user": np.array(["a", "", "b"])}, "row 1 has no user id"),
        ({"user": np.full(3, 2**64 - 1, np.uint64)}, "more than int64 holds"),
        ({"time": NAN}, "1 of 3 values of time are missing or infinite, the first in row 1"),
        ({"time": np.array(["2020", "NaT", "2021"], "datetime64[s]")}, "1 of 3 values of time"),
        ({"time": np.array(["a", "b", "c"])}, "time is <U1; numbers or datetime64 are needed"),
        ({"rating": NAN}, "1 of 3 values of rating"),
        ({"rating": np.array(["5", "4", "3"])}, "rating is <U1; numbers are needed"),
        ({"item": np.arange(2)}, r"of one length are needed, got user: \(3,\), item: \(2,\)"),
        ({"time": np.ones((3, 1))}, r"time: \(3, 1\)"),
    ],
)
def test_wrong_logs(arguments, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        InteractionLog(**{"user": np.arange(3), "item": np.arange(3)} | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_rating": 4}, "the log has no ratings"),
        ({"preset": "hgn_cds"}, "the log has no ratings"),
        ({"preset": "other"}, "preset='other'; the one there is: 'hgn_cds'"),
        ({"preset": "hgn_cds", "min_user": 5}, "the preset sets min_rating, min_user"),
        ({"min_user": 0}, "min_user=0; at least 1"),
        ({"min_length": 0}, "min_length=0"),
        ({"dedup": "any"}, "dedup='any'; one of 'first', 'last', 'none'"),
        ({"min_item": 9}, r"no interaction is left; lower the thresholds:\n +users"),
    ],
)
def test_wrong_ways_to_prepare(arguments, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        prepare(log_of(CHAIN), **arguments)


def test_ratings_outside_the_scale():
    log = log_of([(1, [1, 2, 3])], rating=np.array([5, 0, 9]))
    with pytest.raises(ValueError, match=r"2 ratings lie outside 1 ... 5, the first is 0 in row 1"):
        prepare(log, rating_scale=(1, 5))


TABLE = "who,film,when,stars\n007,12,2020-01-02T10:00:00,4.5\n8,13,2020-01-01,3\n007,13,2020-01-01,2\n"


def test_a_table_with_names_of_its_own(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(TABLE)
    log = InteractionLog.from_csv(path, user="who", item="film", time="when", rating="stars")
    assert log.user.tolist() == ["007", "8", "007"]  # zeros in front make a text of it
    assert log.item.tolist() == [12, 13, 13]
    assert log.time.dtype.kind == "M"
    assert log.rating.tolist() == [4.5, 3, 2]
    assert as_lists(prepare(log, min_length=1)) == {"007": [13, 12], "8": [13]}
    without = InteractionLog.from_csv(path, user="who", item="film")
    assert (without.time, without.rating) == (None, None)


def test_other_delimiters_and_numbers_as_times(tmp_path):
    path = tmp_path / "log.tsv"
    path.write_text('\ufeff"user"\titem\ttime\n1\tB00X\t3\n2\t1234\t1.5\n', encoding="utf-8")
    log = InteractionLog.from_csv(path, delimiter="\t")
    assert (log.user.tolist(), log.item.tolist(), log.time.tolist()) == ([1, 2], ["B00X", "1234"], [3, 1.5])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("user,item\n1.0,2\n", ValueError, "column user are numbers like 1.0; whole numbers are needed"),
        ("user,item,time\n1,2,soon\n", ValueError, "column time holds neither numbers nor ISO 8601 dates"),
        ("user,item,time\n1,2,\n", ValueError, "1 of 1 values of time are missing"),
        ("user,item,rating\n1,2,good\n", ValueError, "column rating does not hold numbers throughout"),
        ("user,item\n1\n", DataError, "line 2: 1 cells, but 2 columns"),
        ("person,item\n1,2\n", DataError, "no column user; there are person, item"),
        ("user,item\n,2\n", ValueError, "row 0 has no user id"),
    ],
)
def test_wrong_tables(text, error, message, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(error, match=message):
        InteractionLog.from_csv(path)


def test_archives(tmp_path):
    path = tmp_path / "log.npz"
    np.savez(path, user=[1, 2], item=["a", "b"], timestamp=[5, 6])
    log = InteractionLog.from_npz(path, time="timestamp")
    assert (log.item.tolist(), log.time.tolist(), log.rating) == (["a", "b"], [5, 6], None)
    assert InteractionLog.from_npz(path).time is None
    with pytest.raises(DataError, match="no column stars; there are user, item, timestamp"):
        InteractionLog.from_npz(path, rating="stars")
    np.savez(path, user=np.array([{}], object), item=[1])
    with pytest.raises(DataError, match="pickled"):
        InteractionLog.from_npz(path)
