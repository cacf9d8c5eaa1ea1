"""Windows of a series with a target behind each, in the order of columns and the split of the simulation study."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from offprint.mgrn._checks import check_finite
from offprint.mgrn._standardize import NanPolicy, clean

ColumnOrder = Literal["published", "corrected"]

COLUMN_ORDERS: dict[str, tuple[int, ...]] = {
    "corrected": (0, 8, 2, 3, 4, 5, 6, 7, 1, 9, 10, 11, 12, 13, 14, 15),
    "published": (0, 8, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
}
"""Columns of a simulated series in the order that the models read them: series 1, then series 2, 8 columns each.

"corrected" exchanges y2 and v1, so that each series stands beside its own parameters. "published" is what the study's
code does: y2 is overwritten before it is copied, so that v1 stands there twice and y2 is lost.
"""


class Windows(NamedTuple):
    """Windows of consecutive rows, and what is to be forecast from each."""

    x: Float[np.ndarray | Array, "windows window features"]
    """Window i: rows i to i + window - 1."""
    y: Float[np.ndarray | Array, "windows"]
    """The target of row i + window."""


class Split(NamedTuple):
    """Consecutive windows for training, for choosing and for the final test, in the order of time."""

    train: slice
    validation: slice
    test: slice


def windows(
    series: Float[np.ndarray | Array, "time features"],
    target: Float[np.ndarray | Array, "time"],
    window: int = 5,
    *,
    drop_last_window: bool = False,
    nan_policy: NanPolicy = "raise",
) -> Windows:
    """All windows of `window` rows that have a row behind them: T - window of them.

    Args:
        series: what the forecasts are made from, NumPy or JAX.
        target: what is forecast, one value for each row.
        window: rows in a window.
        drop_last_window: leave out the last one, as the study's code does.
        nan_policy: "raise" refuses NaN and infinite values in `series`; "zero" puts 0 in their place.

    Raises:
        ValueError: a series of another rank, a target of another length, fewer rows than a window and its target need,
            NaN or infinite values (in the target under either policy).
    """
    if series.ndim != 2 or target.shape != series.shape[:1]:
        raise ValueError(
            f"windows needs a series of shape (T, F) and a target of shape (T,), got {series.shape} and {target.shape}"
        )
    if window < 1:
        raise ValueError(f"a window needs at least 1 row, got window={window}")
    count = series.shape[0] - window - int(drop_last_window)
    if count < 1:
        raise ValueError(
            f"windows of {window} rows with a target behind them need at least {window + 1 + int(drop_last_window)} "
            f"rows, got {series.shape[0]}; give a longer series or a shorter window"
        )
    check_finite(target, "target")
    if isinstance(series, np.ndarray) or nan_policy != "raise":
        series = clean(series, nan_policy, name="series")
    else:
        check_finite(series, "series")
    return Windows(series[window_rows(count, window)], target[window : window + count])


def window_rows(count: int, window: int) -> np.ndarray:
    """Row numbers of the first `count` windows, shape (count, window)."""
    return np.arange(count)[:, None] + np.arange(window)


def order_columns(
    series: Float[np.ndarray | Array, "*rows columns"], column_order: ColumnOrder = "corrected"
) -> Float[np.ndarray | Array, "*rows columns"]:
    """The 16 columns of a simulated series in an order of `COLUMN_ORDERS`.

    Raises:
        ValueError: an unknown order, or another number of columns.
    """
    if column_order not in COLUMN_ORDERS:
        raise ValueError(f"column_order must be one of {', '.join(COLUMN_ORDERS)}, got {column_order!r}")
    order = COLUMN_ORDERS[column_order]
    if series.shape[-1] != len(order):
        raise ValueError(f"a simulated series has {len(order)} columns, got {series.shape[-1]}")
    return series[..., np.array(order)]


def published_split() -> Split:
    """The study's split of the 99994 windows of 5 rows that its 100000 rows give (one more is dropped)."""
    return Split(slice(0, 70_000), slice(70_000, 85_000), slice(85_000, 99_994))


def chronological_split(count: int, train: float = 0.7, validation: float = 0.15) -> Split:
    """A split of `count` windows in the order of time, by shares; the rest is for the test.

    Raises:
        ValueError: shares that leave one of the three without a window.
    """
    first, second = round(count * train), round(count * (train + validation))
    if not 0 < first < second < count:
        raise ValueError(
            f"shares of {train:g} for training and {validation:g} for validation leave a part of {count} windows empty"
        )
    return Split(slice(0, first), slice(first, second), slice(second, count))
