"""Standard scores of sequences, with the means and deviations of their training part."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from offprint.mgrn._checks import check_finite, check_lengths

NanPolicy = Literal["raise", "zero"]


@dataclass(frozen=True)
class Standardizer:
    """Shift and scale of every feature; works on the host, in NumPy.

    The deviation is that of the population (divided by n). A constant feature has the scale 1: it becomes 0.
    """

    mean: Float[np.ndarray, "features"]
    """Of every feature, float64."""
    std: Float[np.ndarray, "features"]
    """Of every feature, float64, never 0."""

    @classmethod
    def fit(cls, x: ArrayLike, lengths: ArrayLike | None = None, *, nan_policy: NanPolicy = "raise") -> "Standardizer":
        """Means and deviations over every axis but the last.

        Args:
            x: (..., F), at least one row; with `lengths` (B, T, F).
            lengths: (B,), in [1, T]: only that many first steps of a sequence count.
            nan_policy: "raise" refuses NaN and infinite values; "zero" counts them as 0.

        Raises:
            ValueError: a rank below 2, no rows, NaN or infinite values, lengths that do not fit.

        Warns:
            UserWarning: constant features.
        """
        array = clean(x, nan_policy, lengths=lengths).astype(np.float64)
        rows = array.reshape(-1, array.shape[-1]) if lengths is None else array[valid_rows(array, lengths)]
        mean, std = rows.mean(axis=0), rows.std(axis=0)
        # The deviation of equal numbers comes out as their rounding error, not as 0.
        constant = np.flatnonzero(rows.max(axis=0) == rows.min(axis=0))
        if constant.size:
            std[constant] = 1.0
            warnings.warn(
                f"{constant.size} constant feature{'s' if constant.size > 1 else ''} (column {_shown(constant)}): "
                "standardised with a deviation of 1, so 0 throughout",
                UserWarning,
                stacklevel=2,
            )
        return cls(mean, std)

    def transform(
        self, x: ArrayLike, lengths: ArrayLike | None = None, *, nan_policy: NanPolicy = "raise"
    ) -> Float[np.ndarray, "*rows features"]:
        """Standard scores of x (..., F), in its floating-point type (JAX's default one for integers).

        With `lengths`, the steps of a sequence (B, T, F) behind its end become 0.

        Raises:
            ValueError: another number of features, NaN or infinite values, lengths that do not fit.
        """
        array = clean(x, nan_policy, lengths=lengths)
        if array.shape[-1] != self.mean.size:
            raise ValueError(
                f"x has F={array.shape[-1]} features (shape {array.shape}), but the standardizer was fitted to "
                f"F={self.mean.size}"
            )
        scores = ((array - self.mean) / self.std).astype(array.dtype)
        return scores if lengths is None else np.where(valid_rows(array, lengths)[..., None], scores, 0)

    def inverse(self, z: ArrayLike) -> Float[np.ndarray, "*rows features"]:
        """The values whose standard scores are z (..., F)."""
        scores = np.asarray(z)
        return (scores * self.std + self.mean).astype(scores.dtype)


def standardize(
    x: ArrayLike,
    *,
    train: slice | None = None,
    lengths: ArrayLike | None = None,
    nan_policy: NanPolicy = "raise",
) -> Float[np.ndarray, "*rows features"]:
    """Standard scores of x (..., F), by the means and deviations of its first axis's part `train` (by default all).

    Raises:
        ValueError: as `Standardizer`; a part without rows.

    Warns:
        UserWarning: features that are constant in the part.
    """
    array, part = np.asarray(x), slice(None) if train is None else train
    if array.ndim and not len(array[part]):
        raise ValueError(f"train={part} takes none of the {len(array)} rows")
    fitted = Standardizer.fit(
        array[part], None if lengths is None else np.asarray(lengths)[part], nan_policy=nan_policy
    )
    return fitted.transform(array, lengths, nan_policy=nan_policy)


def clean(x: ArrayLike, nan_policy: NanPolicy, *, name: str = "x", lengths: ArrayLike | None = None) -> np.ndarray:
    """x (..., F) in a floating-point type, without NaN and infinite values in its valid steps.

    Raises:
        ValueError: a rank below 2, no values, an unknown policy, NaN or infinite values under "raise".
    """
    array: np.ndarray = np.asarray(x)
    if array.ndim < 2 or not array.size:
        raise ValueError(f"{name} must have shape (..., F) with at least one row, got shape {array.shape}")
    if nan_policy not in ("raise", "zero"):
        raise ValueError(f'nan_policy must be "raise" or "zero", got {nan_policy!r}')
    if not np.issubdtype(array.dtype, np.floating):
        return array.astype(jnp.result_type(float))
    bad = ~np.isfinite(array)
    if not bad.any():
        return array
    if nan_policy == "raise":
        judged = array if lengths is None else np.where(valid_rows(array, lengths)[..., None], array, 0)
        axes = {2: "row, feature", 3: "batch, time, feature"}.get(array.ndim, "…, feature")
        check_finite(judged, name, hint=f'({axes}); impute them, or count them as 0 by nan_policy="zero"')
    return np.where(bad, np.zeros((), array.dtype), array)


def valid_rows(x: Any, lengths: ArrayLike) -> np.ndarray:
    """Which steps of x (B, T, F) lie before the end of their sequence, boolean of shape (B, T).

    Raises:
        ValueError: another rank; lengths that do not fit.
    """
    if np.ndim(x) != 3:
        raise ValueError(f"lengths need x of shape (B, T, F), got shape {np.shape(x)}")
    batch, steps = np.shape(x)[:2]
    return np.arange(steps) < np.asarray(check_lengths(lengths, batch, steps))[:, None]


def _shown(columns: np.ndarray, most: int = 8) -> str:
    text = ", ".join(map(str, columns[:most].tolist()))
    return text if columns.size <= most else f"{text}, …"
