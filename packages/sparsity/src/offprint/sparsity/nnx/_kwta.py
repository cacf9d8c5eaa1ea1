"""Layers with sparse activations."""

from flax import nnx
from jaxtyping import Array, Float

from offprint.sparsity._activations import fatrelu, kwta


class KWTA(nnx.Module):
    """The k largest activations of each example, see `kwta` (makhzani2015kwta).

    Args:
        k: a whole number, or a share in (0, 1), rounded and at least 1.
        axis: what competes: channels by default; all but the batch with a tuple.
    """

    def __init__(self, k: int | float, axis: int | tuple[int, ...] = -1) -> None:
        if not (k >= 1 if isinstance(k, int) else 0 < k < 1):
            raise ValueError(f"k must be a whole number of at least 1 or a share in (0, 1); got {k!r}")
        self.k = k
        self.axis = axis

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis
        size = 1
        for axis in axes:
            size *= x.shape[axis]
        return kwta(x, self.k if isinstance(self.k, int) else max(1, round(self.k * size)), self.axis)


class FATReLU(nnx.Module):
    """x where x >= threshold, else 0 (kurtz2020fatrelu)."""

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return fatrelu(x, self.threshold)
