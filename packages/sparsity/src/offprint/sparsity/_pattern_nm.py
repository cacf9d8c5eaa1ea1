"""N:M patterns: n elements kept of every m consecutive ones, what sparse tensor cores read (2:4)."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Num

from offprint.sparsity._pattern import Shape
from offprint.sparsity._topk import ordered_keys, reserved


@dataclass(frozen=True)
class NM:
    """n elements kept of every m consecutive ones along an axis (mishra2021). Ties keep the lower index.

    The default axis is the contraction axis of `x @ W` (the input channels of a convolution): hardware skips along it.
    jaxpruner's default is the output axis, which no hardware can use, and its ties keep the higher index.

    Attributes:
        n: kept elements of a group.
        m: elements of a group.
        axis: the axis along which the groups lie.
        pad: allow a shorter last group (which keeps at most n); without it m must divide the axis.
    """

    n: int
    m: int
    axis: int = -2
    pad: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.n <= self.m:
            raise ValueError(f"N:M needs 0 < n <= m; got {self.n}:{self.m}")

    @property
    def density(self) -> float:
        """Share of kept elements, n / m."""
        return self.n / self.m

    def kept(self, shape: Shape) -> int:
        """Elements that a mask of this shape keeps."""
        length = shape[self.axis]
        return math.prod(shape) // max(length, 1) * (length // self.m * self.n + min(length % self.m, self.n))

    def check(self, path: str, shape: Shape) -> None:
        """Raise ValueError if the leaf has no such axis or m does not divide it."""
        if not -len(shape) <= self.axis < len(shape):
            raise ValueError(f"{self.n}:{self.m} along axis {self.axis}: {path!r} of shape {shape} has no such axis")
        if shape[self.axis] % self.m and not self.pad:
            raise ValueError(
                f"{self.n}:{self.m} needs an axis that {self.m} divides, but axis {self.axis} of {path!r} {shape} has "
                f"{shape[self.axis]} elements: give pad=True, or leave this leaf out by the filter"
            )

    def mask(self, score: Num[Array, "*shape"], previous: Bool[Array, "*shape"] | None = None) -> Bool[Array, "*shape"]:
        """Keep the n highest scores of every group; of `previous`, nothing that is pruned returns."""
        key = ordered_keys(score)
        if previous is not None:
            key = jnp.where(previous, key, reserved(key.dtype))
        groups = self._groups(key, reserved(key.dtype))
        keep = self._ungroup(rank(groups) < self.n, score.shape)
        return keep if previous is None else keep & previous

    def satisfied(self, mask: Bool[Array, "..."]) -> Bool[Array, ""]:
        """Whether no group keeps more than n."""
        return jnp.all(jnp.sum(self._groups(mask, jnp.array(False)), axis=-1) <= self.n)

    def _groups(self, array: Array, filler: Array) -> Array:
        """(..., groups, m): the axis last, filled up to whole groups."""
        moved = jnp.moveaxis(array, self.axis, -1)
        edge = [(0, 0)] * (moved.ndim - 1) + [(0, -moved.shape[-1] % self.m)]
        return jnp.pad(moved, edge, constant_values=filler).reshape(*moved.shape[:-1], -1, self.m)

    def _ungroup(self, groups: Array, shape: Shape) -> Array:
        length = shape[self.axis]
        flat = groups.reshape(*groups.shape[:-2], -1)[..., :length]
        return jnp.moveaxis(flat, -1, self.axis)


def rank(groups: Num[Array, "*batch m"]) -> Num[Array, "*batch m"]:
    """Place of every element in its group, 0 the highest; of equal ones the first comes first."""
    m = groups.shape[-1]
    if m > 32:
        return jnp.argsort(jnp.argsort(~groups, axis=-1, stable=True), axis=-1)
    # m passes that the compiler fuses are quicker than a sort of short rows.
    place = jnp.zeros(groups.shape, jnp.int32)
    index = jnp.arange(m)
    for other in range(m):
        rival = groups[..., other : other + 1]
        place += (rival > groups) | ((rival == groups) & (other < index))
    return place
