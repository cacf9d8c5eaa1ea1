"""Arguments at the public boundary: one clear error each, before anything is compiled.

Shapes are always checked. Values are checked where they are known: inside `jit`, `vmap` and `grad` they are not.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


def is_known(value: Any) -> bool:
    """Whether the values of an array are known, that is, whether it is not being traced."""
    return not isinstance(value, jax.core.Tracer)


def check_sequences(
    x: ArrayLike,
    features: int,
    lengths: ArrayLike | None = None,
    *,
    time_major: bool = False,
    nan_policy: Literal["raise", "zero"] = "raise",
    name: str = "x",
) -> tuple[Float[Array, "a b features"], Int[Array, " batch"] | None]:
    """Sequences of F features, and their lengths, as arrays that fit each other.

    Args:
        x: (B, T, F), or (T, B, F) with `time_major`. Integers become floating-point numbers.
        features: F.
        lengths: valid steps of every sequence, each in [1, T]; None where all are T long.
        time_major: whether time is the first axis.
        nan_policy: "raise" refuses NaN and infinite values in valid steps; "zero" puts 0 in their place.
        name: what the errors call `x`.

    Returns:
        x in a floating-point type, and the lengths as int32 or None.

    Raises:
        ValueError: another rank, another F, no step or no sequence, NaN or infinite values, lengths that do not fit.
    """
    expected = f"(T, B, F) = (time, batch, {features})" if time_major else f"(B, T, F) = (batch, time, {features})"
    if np.ndim(x) != 3:
        hint = f" A single sequence needs a batch axis: {name}[None]." if np.ndim(x) == 2 and not time_major else ""
        raise ValueError(f"{name} must have shape {expected}, got shape {np.shape(x)}.{hint}")
    if np.shape(x)[2] != features:
        hint = " The feature axis comes last." if features in np.shape(x)[:2] else ""
        raise ValueError(
            f"{name} has F={np.shape(x)[2]} features (shape {np.shape(x)}), but the layer was made for F={features}; "
            f"the shape needed is {expected}.{hint}"
        )
    if 0 in np.shape(x):
        raise ValueError(f"{name} of shape {np.shape(x)} is empty; at least one sequence of one step is needed.")
    array = jnp.asarray(x)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    batch, steps = (array.shape[1], array.shape[0]) if time_major else array.shape[:2]
    checked = None if lengths is None else check_lengths(lengths, batch, steps)
    if nan_policy == "zero":
        return jnp.where(jnp.isfinite(array), array, 0), checked
    _check_valid_finite(array, checked, time_major, name)
    return array, checked


def check_lengths(lengths: ArrayLike, batch: int, steps: int) -> Int[Array, " batch"]:
    """Lengths of `batch` sequences of at most `steps` steps, as int32.

    Raises:
        ValueError: another shape, no integers, a length outside [1, T].
    """
    if np.shape(lengths) != (batch,):
        swapped = np.shape(lengths) == (steps,)
        hint = " Are the batch and time axes of the input swapped?" if swapped and batch != steps else ""
        raise ValueError(
            f"lengths must have shape (B,) = ({batch},), one per sequence, got shape {np.shape(lengths)}.{hint}"
        )
    array = lengths if isinstance(lengths, jax.Array) else np.asarray(lengths)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"lengths must be integers, got dtype {array.dtype}.")
    if is_known(array):
        known = np.asarray(array)
        if (bad := np.flatnonzero((known < 1) | (known > steps))).size:
            raise ValueError(
                f"lengths must lie in [1, T] = [1, {steps}], got {known[bad[0]]} for sequence {bad[0]}"
                f"{f' and {bad.size - 1} more outside' if bad.size > 1 else ''}."
            )
    return jnp.asarray(array, jnp.int32)


def check_finite(value: ArrayLike, name: str, *, hint: str = "") -> None:
    """Refuses NaN and infinite values by a ValueError with their count and the first index; not while tracing."""
    if is_known(value) and not _all_finite(value):
        bad = np.argwhere(~np.isfinite(np.asarray(value)))
        first = tuple(int(i) for i in bad[0])
        raise ValueError(
            f"{name} has {len(bad)} NaN or infinite values, the first at index {first}{' ' + hint if hint else ''}."
        )


def check_labels(y: ArrayLike, num_classes: int, *, name: str = "y") -> Int[Array, " batch"]:
    """Class labels in [0, C), as an integer array.

    Raises:
        ValueError: another rank, no integers, a label outside [0, C).
    """
    if np.ndim(y) != 1:
        raise ValueError(f"{name} must have shape (B,), one class label per sequence, got shape {np.shape(y)}.")
    array = y if isinstance(y, jax.Array) else np.asarray(y)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} must hold integer class labels, got dtype {array.dtype}.")
    if is_known(array):
        known = np.asarray(array)
        if (bad := np.flatnonzero((known < 0) | (known >= num_classes))).size:
            raise ValueError(
                f"class labels must lie in [0, C) = [0, {num_classes}), "
                f"got {known[bad[0]]} at index {bad[0]} of {name}."
            )
    return jnp.asarray(array)


def _check_valid_finite(x: Array, lengths: Array | None, time_major: bool, name: str) -> None:
    """As `check_finite`, for the steps before the end of every sequence."""
    if not is_known(x) or not is_known(lengths) or _all_finite(x):
        return
    valid = np.ones(x.shape, bool)
    if lengths is not None:
        batch_first = np.arange(x.shape[0 if time_major else 1])[None, :] < np.asarray(lengths)[:, None]
        valid &= (batch_first.T if time_major else batch_first)[:, :, None]
    check_finite(
        np.where(valid, np.asarray(x, np.float64), 0),
        name,
        hint=f"({'time, batch' if time_major else 'batch, time'}, feature); impute them, or have them replaced by 0: "
        'nan_policy="zero" where data are loaded or a model is fitted',
    )


def _all_finite(value: ArrayLike) -> bool:
    if isinstance(value, jax.Array):  # reduced on its device: only one boolean is fetched
        with jax.ensure_compile_time_eval():
            return bool(jnp.isfinite(value).all())
    return bool(np.isfinite(np.asarray(value)).all())
