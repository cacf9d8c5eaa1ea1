"""Standard scores: the first concept of this package, to be replaced by the paper's."""

from jaxtyping import Array, Float


def standardize(x: Float[Array, "samples features"]) -> Float[Array, "samples features"]:
    """Each feature shifted and scaled to zero mean and unit variance over the samples.

    Args:
        x: at least 2 samples; no feature may be constant, else it becomes NaN.

    Returns:
        Standard scores, of the shape and dtype of `x`.

    Raises:
        ValueError: fewer than 2 samples.
    """
    if len(x) < 2:
        raise ValueError(f"a standard score needs at least 2 samples, got {len(x)}: give more rows")
    return (x - x.mean(axis=0)) / x.std(axis=0)
