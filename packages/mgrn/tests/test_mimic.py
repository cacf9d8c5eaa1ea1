"""The loader of MIMIC-III on synthetic files of the benchmark's layout, made here."""

import csv

import numpy as np
import pytest

from offprint.mgrn import data
from offprint.mgrn.data._mimic_channels import CHANNELS

pytestmark = pytest.mark.filterwarnings("ignore:.*constant feature")  # of the few stays made here

NAMES = [channel.name for channel in CHANNELS]
SIZES = (3, 2, 2, 9, 13, 14, 13, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2)
START = dict(zip(NAMES, np.cumsum([0, *SIZES[:-1]]).tolist()))


def write_episode(path, events):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Hours", *NAMES])
        for hour, values in events:
            writer.writerow([hour, *(values.get(name, "") for name in NAMES)])


def write_list(path, rows):
    path.write_text("\n".join(["stay,header", *(",".join(map(str, row)) for row in rows)]) + "\n")


EVENTS = [
    (0.2, {"Heart Rate": 80, "Glascow coma scale total": "15.0"}),
    (0.7, {"Heart Rate": 90}),
    (1.0, {"Glucose": 100.5}),  # at the end of an hour, which it still belongs to
    (2.5, {"Glascow coma scale eye opening": "To Pain", "Capillary refill rate": "1.0"}),
    (5.0, {"Heart Rate": 70}),
    (6.2, {"Heart Rate": 10}),  # behind every moment of prediction below
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("mimic")
    rng = np.random.default_rng(0)
    for task in ("in-hospital-mortality", "decompensation", "length-of-stay", "phenotyping"):
        for part in ("train", "test"):
            write_episode(root / task / part / "7_episode1_timeseries.csv", EVENTS)
            for stay in range(3):
                events = [(0.5 + hour, {"Heart Rate": rng.normal(80, 10)}) for hour in range(4 + stay)]
                write_episode(root / task / part / f"{stay}_episode1_timeseries.csv", events)
    first, *others = "7_episode1_timeseries.csv", *(f"{stay}_episode1_timeseries.csv" for stay in range(3))
    for part in ("train", "val", "test"):
        own = [first, *others] if part != "val" else [first]
        end = f"{part}_listfile.csv"
        write_list(root / "in-hospital-mortality" / end, [(stay, at % 2) for at, stay in enumerate(own)])
        moments = [(stay, hours, label) for stay in own for hours, label in ((4.0, 0), (6.0, 1))]
        write_list(root / "decompensation" / end, moments)
        write_list(root / "length-of-stay" / end, [(stay, hours, 10.0 + 24 * hours) for stay, hours, _ in moments])
        write_list(root / "phenotyping" / end, [(stay, 5.3, *([0, 1] * 12), at) for at, stay in enumerate(own)])
    return root


def test_groups():
    assert data.mimic_groups() == SIZES
    assert sum(SIZES) == 76
    assert sorted(NAMES) == NAMES


@pytest.fixture(scope="module")
def table(folder):
    path = folder / "decompensation" / "train" / "7_episode1_timeseries.csv"
    return data.discretize(data.read_episode(path), 6.0)


def column(table, name, offset=0):
    return table[:, START[name] + offset]


def test_last_value_of_the_hour_carried_forward(table):
    assert table.shape == (6, 76)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(column(table, "Heart Rate"), [90, 90, 90, 90, 70, 70])
    np.testing.assert_array_equal(column(table, "Glucose"), [100.5] * 6)
    np.testing.assert_array_equal(column(table, "pH"), np.full(6, 7.4, np.float32))


def test_normal_values_before_the_first(folder):
    path = folder / "decompensation" / "train" / "7_episode1_timeseries.csv"
    late = data.read_episode(path)._replace(hours=np.array([2.2, 2.7, 3.0, 4.5, 5.5, 6.0]))
    np.testing.assert_array_equal(column(data.discretize(late, 6.0), "Heart Rate"), [86, 86, 90, 90, 90, 10])


def test_masks_stand_behind_their_channel(table):
    np.testing.assert_array_equal(column(table, "Heart Rate", 1), [1, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(column(table, "Glucose", 1), [1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(column(table, "Capillary refill rate", 2), [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(column(table, "Glascow coma scale eye opening", 8), [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(column(table, "Weight", 1), 0)


def test_categories_are_one_hot(table):
    at = START["Glascow coma scale eye opening"]
    np.testing.assert_array_equal(table[:, at : at + 8].sum(axis=1), 1)
    np.testing.assert_array_equal(table[:, at : at + 8].argmax(axis=1), [3, 3, 0, 0, 0, 0])
    total = START["Glascow coma scale total"]
    np.testing.assert_array_equal(table[:, total : total + 13].argmax(axis=1), 4)  # 15 is the fifth category
    refill = START["Capillary refill rate"]
    np.testing.assert_array_equal(table[:, refill : refill + 2], [[1, 0]] * 2 + [[0, 1]] * 4)


def test_a_shorter_stay_is_the_beginning_of_a_longer_one(folder, table):
    """Why a stay is discretised once, whatever its moments of prediction."""
    path = folder / "decompensation" / "train" / "7_episode1_timeseries.csv"
    for hours in (1.0, 2.0, 4.0, 5.0):
        np.testing.assert_array_equal(data.discretize(data.read_episode(path), hours), table[: int(hours)])
    assert len(data.discretize(data.read_episode(path), 5.3)) == 6


def test_decompensation(folder):
    made = data.load_mimic(folder, "decompensation", 5)
    assert made.train.y.tolist() == [0, 1] * 4
    assert made.validation.y.tolist() == [0, 1]
    batch = made.train.batch(np.array([1, 0]))
    assert batch.x.shape == (2, 5, 76)
    np.testing.assert_array_equal(batch.lengths, [5, 4])
    assert (batch.x[1, 4:] == 0).all()
    # Samples of one stay share its hours: the last 5 of the first 6, and the first 4.
    np.testing.assert_array_equal(batch.x[0, :3], batch.x[1, 1:4])
    np.testing.assert_array_equal(batch.x[0], made.train.hours[1:6])
    assert made.train.batch().x.shape == (8, 5, 76)
    assert np.isnan(made.train.remaining).all()


def test_numeric_channels_are_standardised_by_the_training_hours(folder):
    made = data.load_mimic(folder, "decompensation", 6)
    at = START["Heart Rate"]
    np.testing.assert_allclose(made.train.hours[:, at].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(made.train.hours[:, at].std(), 1, rtol=1e-5)
    assert set(np.unique(made.train.hours[:, at + 1])) == {0, 1}  # masks and categories stay
    raw = data.discretize(data.read_episode(folder / "decompensation/test/7_episode1_timeseries.csv"), 6.0)
    slope = (made.test.hours[0, at] - made.test.hours[4, at]) / (raw[0, at] - raw[4, at])
    expected = (made.train.hours[0, at] - made.train.hours[4, at]) / (raw[0, at] - raw[4, at])
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_mortality_sees_48_hours(folder):
    made = data.load_mimic(folder, "in-hospital-mortality", 48)
    assert made.test.y.tolist() == [0, 1, 0, 1]
    assert made.test.batch().x.shape == (4, 48, 76)
    np.testing.assert_array_equal(made.test.lengths, 48)


def test_length_of_stay(folder):
    made = data.load_mimic(folder, "length-of-stay", 72)
    np.testing.assert_array_equal(made.validation.remaining, [10 + 24 * 4, 10 + 24 * 6])
    np.testing.assert_array_equal(made.validation.y, [4, 6])


def test_classes_of_the_length_of_stay():
    hours = np.array([0, 23.9, 24, 47, 7 * 24, 8 * 24, 13.9 * 24, 14 * 24, 1000])
    np.testing.assert_array_equal(data.length_of_stay_class(hours), [0, 0, 1, 1, 7, 8, 8, 9, 9])
    # Every mean lies in its own class.
    np.testing.assert_array_equal(data.length_of_stay_class(np.array(data.LENGTH_OF_STAY_MEANS)), np.arange(10))


def test_phenotyping(folder):
    made = data.load_mimic(folder, "phenotyping", 200)
    assert made.train.y.shape == (4, 25)
    assert made.train.y[:, -1].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(made.train.lengths, 6)
    assert made.train.batch().y.shape == (4, 25)
