"""What the data functions refuse: one clear error each, word for word."""

import re

import jax
import numpy as np
import pytest

from offprint.core.data import DataError
from offprint.mgrn import data
from offprint.mgrn.data import Standardizer, load_mimic, load_uea, read_ts, simulate, standardize, windows

KEY = jax.random.key(0)
SERIES, TARGET = np.ones((8, 2)), np.ones(8)
WITH_NAN = np.array([[1.0, np.nan], [2.0, 3.0], [np.inf, 1.0]])

CASES = {
    "series shorter than a window": (
        lambda: windows(SERIES, TARGET, 8),
        "windows of 8 rows with a target behind them need at least 9 rows, got 8; give a longer series or a shorter "
        "window",
    ),
    "one row less": (
        lambda: windows(SERIES, TARGET, 7, drop_last_window=True),
        "windows of 7 rows with a target behind them need at least 9 rows, got 8; give a longer series or a shorter "
        "window",
    ),
    "no window": (lambda: windows(SERIES, TARGET, 0), "a window needs at least 1 row, got window=0"),
    "NaN in the series": (
        lambda: windows(np.where(np.arange(16).reshape(8, 2) == 5, np.nan, 1.0), TARGET, 2),
        "series has 1 NaN or infinite values, the first at index (2, 1) (row, feature); impute them, or count them as "
        '0 by nan_policy="zero".',
    ),
    "NaN in the target": (
        lambda: windows(SERIES, np.where(np.arange(8) > 5, np.nan, 1.0), 2, nan_policy="zero"),
        "target has 2 NaN or infinite values, the first at index (6,).",
    ),
    "unknown order": (
        lambda: data.order_columns(np.ones((2, 16)), "swapped"),
        "column_order must be one of corrected, published, got 'swapped'",
    ),
    "other columns": (
        lambda: data.order_columns(np.ones((2, 15))),
        "a simulated series has 16 columns, got 15",
    ),
    "empty part": (
        lambda: data.chronological_split(100, 0.7, 0.3),
        "shares of 0.7 for training and 0.3 for validation leave a part of 100 windows empty",
    ),
    "NaN to standardise": (
        lambda: standardize(WITH_NAN),
        "x has 2 NaN or infinite values, the first at index (0, 1) (row, feature); impute them, or count them as 0 by "
        'nan_policy="zero".',
    ),
    "one axis": (
        lambda: standardize(np.ones(3)),
        "x must have shape (..., F) with at least one row, got shape (3,)",
    ),
    "no rows": (
        lambda: standardize(np.ones((3, 2)), train=slice(3, None)),
        "train=slice(3, None, None) takes none of the 3 rows",
    ),
    "other features": (
        lambda: Standardizer(np.zeros(3), np.ones(3)).transform(np.ones((4, 2))),
        "x has F=2 features (shape (4, 2)), but the standardizer was fitted to F=3",
    ),
    "lengths of rows": (
        lambda: Standardizer.fit(np.ones((4, 2)), np.array([1, 2, 1, 1])),
        "lengths need x of shape (B, T, F), got shape (4, 2)",
    ),
    "length too long": (
        lambda: standardize(np.ones((2, 3, 1)), lengths=np.array([3, 4])),
        "lengths must lie in [1, T] = [1, 3], got 4 for sequence 1.",
    ),
    "unknown policy": (
        lambda: standardize(WITH_NAN, nan_policy="mean"),
        'nan_policy must be "raise" or "zero", got \'mean\'',
    ),
    "pair 0": (lambda: simulate(KEY, 0, 5), "the published pairs are numbered from 1 to 10, got 0"),
    "pair 11": (lambda: data.published_pair(11), "the published pairs are numbered from 1 to 10, got 11"),
    "stock 16": (lambda: data.constants(3, 16), "stocks are numbered from 1 to 15, got 16"),
    "no length": (
        lambda: simulate(KEY, 1, 0),
        "simulate needs length >= 1 and burn_in >= 0, got length=0, burn_in=100",
    ),
    "constants of another shape": (
        lambda: simulate(KEY, np.ones((2, 6)), 5),
        "constants need shape (2, 7): alpha, beta, uM, vM, gamma, u, v; got (2, 6)",
    ),
    "negative constants": (
        lambda: simulate(KEY, -np.ones((2, 7)), 5),
        f"constants must be finite, and all but alpha positive, got {(-np.ones((2, 7))).tolist()}",
    ),
    "minimum of a short series": (
        lambda: data.theoretical_mse(simulate(KEY, 1, 5)),
        "windows of 5 rows and a target behind them need more than 5 rows, got 5",
    ),
    "minimum of no window": (
        lambda: data.theoretical_mse(simulate(KEY, 1, 8), 5, slice(3, None)),
        "slice(3, None, None) takes none of the 3 windows",
    ),
    "unknown task": (
        lambda: load_mimic(".", "sepsis", 48),
        "task must be one of in-hospital-mortality, decompensation, length-of-stay, phenotyping, got 'sepsis'",
    ),
    "no hours": (lambda: load_mimic(".", "phenotyping", 0), "a sample needs at least 1 hour, got steps=0"),
}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES.keys())
def test_error(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        call()


@pytest.mark.usefixtures("unchecked_types")
def test_shapes_of_windows():
    message = "windows needs a series of shape (T, F) and a target of shape (T,), got (8, 2) and (7,)"
    with pytest.raises(ValueError, match=re.escape(message)):
        windows(SERIES, np.ones(7), 2)


HEAD = "@dimensions 2\n@classLabel true a b\n@data\n"
FILES = {
    "no data": ("@classLabel true a\n", "T_TRAIN.ts has no line @data"),
    "no case": (HEAD, "T_TRAIN.ts has no cases behind @data"),
    "no labels": (
        "@classLabel false\n@data\n1:2\n",
        "T_TRAIN.ts, line 2: the header has neither @classLabel true nor @targetLabel true: no labels",
    ),
    "time stamps": (
        "@timeStamps true\n@data\n",
        "T_TRAIN.ts, line 1: cases with time stamps are not read; sample them at equal steps first",
    ),
    "time stamps in the case": (
        HEAD + "(0,1.5),(1,2.5):(0,1),(1,2):a\n",
        "T_TRAIN.ts, line 4: cases with time stamps are not read; sample them at equal steps first",
    ),
    "other dimensions": (
        HEAD + "1,2:3,4:5,6:a\n",
        "T_TRAIN.ts, line 4: 3 dimensions and a label, but the header says 2",
    ),
    "no label": (HEAD + "1,2:3,4\n", "T_TRAIN.ts, line 4: 1 dimensions and a label, but the header says 2"),
    "unequal dimensions": (
        HEAD + "1,2:3:a\n",
        "T_TRAIN.ts, line 4: the dimensions have 2, 1 steps; one case needs one length",
    ),
    "unknown class": (
        HEAD + "1:2:a\n3:4:c\n",
        "T_TRAIN.ts, line 5: class 'c' is not among those of the header: a, b",
    ),
    "no number": (
        HEAD + "1,x:3,4:a\n",
        "T_TRAIN.ts, line 4: could not convert string to float: 'x'; numbers, or ? for a missing one, are needed",
    ),
    "no step": (HEAD + "::a\n", "T_TRAIN.ts, line 4: a case without a step"),
    "equal length": (
        "@equalLength true\n" + HEAD + "1,2:3,4:a\n1:3:b\n",
        "T_TRAIN.ts says @equalLength true, but its cases have 1 to 2 steps",
    ),
    "series length": (
        "@equalLength true\n@seriesLength 3\n" + HEAD + "1,2:3,4:a\n",
        "T_TRAIN.ts, line 6: 2 steps, but the header says @seriesLength 3",
    ),
    "dimensions in words": (
        "@dimensions two\n@data\n",
        "T_TRAIN.ts, line 1: @dimensions needs a whole number, got 'two'",
    ),
    "no header": ("1,2:3\n", "T_TRAIN.ts, line 1: '1,2:3' stands before @data; header lines begin with @"),
    "no classes": ("@classLabel true\n@data\n", "T_TRAIN.ts, line 1: @classLabel true names no classes"),
    "target": ("@targetlabel true\n@data\n1,2:much\n", "T_TRAIN.ts, line 3: the target 'much' is not a number"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), FILES.values(), ids=FILES.keys())
def test_ts_file(tmp_path, text, message):
    (tmp_path / "T_TRAIN.ts").write_text(text)
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        read_ts(tmp_path / "T_TRAIN.ts")


def test_parts_that_do_not_fit(tmp_path):
    with pytest.raises(DataError, match=r"must hold one file \*_TRAIN.ts, found 0; name the file itself$"):
        load_uea(tmp_path)
    (tmp_path / "T_TRAIN.ts").write_text(HEAD + "1:2:a\n")
    with pytest.raises(DataError, match=r"T_TEST.ts is missing: a data set needs <name>_TRAIN.ts and <name>_TEST.ts$"):
        load_uea(tmp_path)
    (tmp_path / "T_TEST.ts").write_text(HEAD.replace("a b", "b a") + "1:2:a\n")
    with pytest.raises(DataError, match=r"^the classes of T_TRAIN.ts \(a, b\) and T_TEST.ts \(b, a\) differ$"):
        load_uea(tmp_path)
    (tmp_path / "T_TEST.ts").write_text(HEAD.replace("2", "1") + "1:a\n")
    with pytest.raises(DataError, match=r"^T_TRAIN.ts has 2 dimensions, T_TEST.ts 1: not one data set$"):
        load_uea(tmp_path)
    with pytest.raises(DataError, match=r"is neither a folder, nor <name>_TRAIN.ts or <name>_TEST.ts, nor an .npz"):
        load_uea(tmp_path / "T.csv")
    with pytest.raises(DataError, match=r"T.npz is missing$"):
        load_uea(tmp_path / "T.npz")


X, Y = np.zeros((3, 4, 2)), np.array([0, 1, 0])
ARCHIVES = {
    "no labels": ({"X_train": X, "X_test": X, "y_test": Y}, "d.npz has no y_train; it has X_train, X_test, y_test"),
    "labels of another number": (
        {"X_train": X, "y_train": Y[:2], "X_test": X, "y_test": Y},
        "d.npz: X_train must have shape (n, T, F) and y_train (n,), got (3, 4, 2) and (2,)",
    ),
    "label outside": (
        {"X_train": X, "y_train": Y, "X_test": X, "y_test": np.array([0, 2, 0])},
        "d.npz: labels must lie in [0, 2), got 2",
    ),
    "negative label": (
        {"X_train": X, "y_train": np.array([0, -1, 1]), "X_test": X, "y_test": Y},
        "d.npz: labels must lie in [0, 2), got -1",
    ),
    "unknown text label": (
        {"X_train": X, "y_train": np.array(["a", "b", "a"]), "X_test": X, "y_test": np.array(["a", "b", "z"])},
        "d.npz: y_test has labels that y_train lacks: z",
    ),
    "length": (
        {"X_train": X, "y_train": Y, "X_test": X, "y_test": Y, "length_test": np.array([4, 0, 1])},
        "d.npz, part test: lengths must lie in [1, T] = [1, 4], got 0 for sequence 1.",
    ),
    "other features": (
        {"X_train": X, "y_train": Y, "X_test": X[..., :1], "y_test": Y},
        "d.npz: X_train (3, 4, 2) and X_test (3, 4, 1) differ in T or F",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_npz_archive(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        load_uea(tmp_path / "d.npz")


def test_pickled_archives_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", X_train=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="holds pickled objects"):
        load_uea(tmp_path / "d.npz")


@pytest.mark.filterwarnings("ignore:.*constant feature")
def test_mimic_files(tmp_path):
    root = tmp_path / "phenotyping"
    (root / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"train_listfile.csv is missing: the folder must be laid out as mimic3"):
        load_mimic(tmp_path, "phenotyping", 5)
    listfile, stay = root / "train_listfile.csv", root / "train" / "s.csv"
    listfile.write_text("stay,period_length\ns.csv,5.0\n")
    with pytest.raises(DataError, match=r"train_listfile.csv, line 2: 2 columns, but phenotyping needs 27"):
        load_mimic(tmp_path, "phenotyping", 5)
    listfile.write_text("stay,period_length\n" + ",".join(["s.csv", "five", *["0"] * 25]) + "\n")
    with pytest.raises(DataError, match=r"line 2: could not convert string to float: 'five'"):
        load_mimic(tmp_path, "phenotyping", 5)
    listfile.write_text("stay\n")
    with pytest.raises(DataError, match=r"train_listfile.csv lists no stay$"):
        load_mimic(tmp_path, "phenotyping", 5)
    listfile.write_text("stay,period_length\n" + ",".join(["s.csv", "5", *["0"] * 25]) + "\n")
    with pytest.raises(DataError, match=r"s.csv is missing, but a listfile names it$"):
        load_mimic(tmp_path, "phenotyping", 5)
    names = [channel.name for channel in data._mimic.CHANNELS]
    stay.write_text(",".join(["Hours", *names[1:]]) + "\n")
    with pytest.raises(DataError, match=r"s.csv has no column Capillary refill rate$"):
        load_mimic(tmp_path, "phenotyping", 5)
    for hours, message in (("-1", "must be 0 or later, and sorted"), ("x", "column Hours: could not convert")):
        stay.write_text(",".join(["Hours", *names]) + f"\n{hours}" + "," * 17 + "\n")
        with pytest.raises(DataError, match=message):
            load_mimic(tmp_path, "phenotyping", 5)
    for cell, message in (("2.0", "'2.0' is not one of 0.0, 1.0"), ("high", "'high' is not one of 0.0, 1.0")):
        stay.write_text(",".join(["Hours", *names]) + f"\n1,{cell}" + "," * 16 + "\n")
        with pytest.raises(DataError, match=rf"^s.csv, Capillary refill rate: {message}$"):
            load_mimic(tmp_path, "phenotyping", 5)
    stay.write_text(",".join(["Hours", *names]) + "\n1,,low" + "," * 15 + "\n")
    with pytest.raises(DataError, match=r"^s.csv, Diastolic blood pressure: 'low' is not a number$"):
        load_mimic(tmp_path, "phenotyping", 5)
