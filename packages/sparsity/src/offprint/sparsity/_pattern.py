"""What is pruned as one: patterns turn scores of elements into scores of units, and kept units into masks.

Scores are reduced as they are given, sign included: for the mean absolute weight of a block give absolute weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool

Reduce = Literal["sum", "mean", "rms", "max"]
Shape = tuple[int, ...]


@runtime_checkable
class Pattern(Protocol):
    """A pattern whose units are ranked: `make_masks` counts units, not elements."""

    def check(self, path: str, shape: Shape) -> None:
        """Raise ValueError, naming the leaf, if the pattern does not fit it."""

    def units_shape(self, shape: Shape) -> Shape:
        """Shape of the array of units of a leaf."""

    def units(self, score: Array) -> Array:
        """Score of each unit."""

    def kept_units(self, mask: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """The units of which at least one element is kept."""

    def expand(self, keep: Bool[Array, "..."], shape: Shape) -> Bool[Array, "..."]:
        """The mask of a leaf of this shape that keeps these units."""


@dataclass(frozen=True)
class Unstructured:
    """Every element is a unit."""

    def check(self, path: str, shape: Shape) -> None:
        """Every leaf will do."""

    def units_shape(self, shape: Shape) -> Shape:
        """The leaf's own shape."""
        return shape

    def units(self, score: Array) -> Array:
        """The scores themselves."""
        return score

    def kept_units(self, mask: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """The mask itself."""
        return mask

    def expand(self, keep: Bool[Array, "..."], shape: Shape) -> Bool[Array, "..."]:
        """The units themselves."""
        return keep.reshape(shape)


UNSTRUCTURED = Unstructured()


@dataclass(frozen=True)
class Block:
    """Blocks of the last two axes: of a dense kernel (in, out), and of (in, out) at every position of a convolution.

    Blocks at the far edges may be partial; a mean or root mean square is over the elements that exist.

    Attributes:
        shape: rows and columns of a block.
        reduce: score of a block from those of its elements.
    """

    shape: tuple[int, int] = (16, 16)
    reduce: Reduce = "mean"

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ValueError(f"a block has two sides of at least 1; got {self.shape}")
        _check_reduce(self.reduce)

    def check(self, path: str, shape: Shape) -> None:
        """Raise ValueError for a leaf of fewer than two axes."""
        _need_axes(path, shape, 2, "Block")

    def units_shape(self, shape: Shape) -> Shape:
        """The leading axes, then blocks along the last two."""
        rows, columns = self.shape
        return (*shape[:-2], -(-shape[-2] // rows), -(-shape[-1] // columns))

    def units(self, score: Array) -> Array:
        """Score of every block."""
        rows, columns = self.shape
        heights = jnp.minimum(rows, score.shape[-2] - rows * jnp.arange(-(-score.shape[-2] // rows)))
        widths = jnp.minimum(columns, score.shape[-1] - columns * jnp.arange(-(-score.shape[-1] // columns)))
        return _reduce(self.reduce, self._tiles, score, (heights[:, None] * widths).astype(_floating(score)), (-3, -1))

    def kept_units(self, mask: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """The blocks of which an element is kept."""
        return jnp.any(self._tiles(mask, False), axis=(-3, -1))

    def expand(self, keep: Bool[Array, "..."], shape: Shape) -> Bool[Array, "..."]:
        """Every element of the kept blocks."""
        rows, columns = self.shape
        whole = jnp.repeat(jnp.repeat(keep, rows, axis=-2), columns, axis=-1)
        return whole[..., : shape[-2], : shape[-1]]

    def _tiles(self, array: Array, filler: float | bool) -> Array:
        """(..., blocks down, rows, blocks across, columns), with `filler` beyond the edges."""
        rows, columns = self.shape
        *_, down, across = self.units_shape(array.shape)
        edge = [(0, 0)] * (array.ndim - 2) + [
            (0, down * rows - array.shape[-2]),
            (0, across * columns - array.shape[-1]),
        ]
        padded = jnp.pad(array, edge, constant_values=filler)
        return padded.reshape(*array.shape[:-2], down, rows, across, columns)


@dataclass(frozen=True)
class Channel:
    """Whole slices along an axis: neurons and filters (-1, the outputs), input channels (-2).

    Attributes:
        axis: the axis of the channels.
        reduce: score of a channel from those of its elements.
    """

    axis: int = -1
    reduce: Reduce = "sum"

    def __post_init__(self) -> None:
        _check_reduce(self.reduce)

    def check(self, path: str, shape: Shape) -> None:
        """Raise ValueError if the leaf has no such axis."""
        _need_axis(path, shape, self.axis, "Channel")

    def units_shape(self, shape: Shape) -> Shape:
        """One unit per slice."""
        return (shape[self.axis],)

    def units(self, score: Array) -> Array:
        """Score of every channel."""
        size = math.prod(score.shape) // score.shape[self.axis]
        return _reduce(self.reduce, _as_is, score, size, self._others(score.ndim))

    def kept_units(self, mask: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """The channels of which an element is kept."""
        return jnp.any(mask, axis=self._others(mask.ndim))

    def expand(self, keep: Bool[Array, "..."], shape: Shape) -> Bool[Array, "..."]:
        """Every element of the kept channels."""
        return _along(keep, self.axis, shape)

    def _others(self, ndim: int) -> tuple[int, ...]:
        return tuple(axis for axis in range(ndim) if axis != self.axis % ndim)


@dataclass(frozen=True)
class Head:
    """Heads of attention: `num_heads` equal consecutive parts of an axis (-1 for query, key and value; -2 for output).

    Attributes:
        num_heads: parts of the axis.
        axis: the axis that holds heads times head size.
        reduce: score of a head from those of its elements.
    """

    num_heads: int
    axis: int = -1
    reduce: Reduce = "sum"

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError(f"num_heads must be at least 1; got {self.num_heads}")
        _check_reduce(self.reduce)

    def check(self, path: str, shape: Shape) -> None:
        """Raise ValueError if the axis does not split into the heads."""
        _need_axis(path, shape, self.axis, "Head")
        if shape[self.axis] % self.num_heads:
            raise ValueError(
                f"Head({self.num_heads}): axis {self.axis} of {path!r} {shape} has {shape[self.axis]} elements, "
                f"which {self.num_heads} heads do not divide"
            )

    def units_shape(self, shape: Shape) -> Shape:
        """One unit per head."""
        return (self.num_heads,)

    def units(self, score: Array) -> Array:
        """Score of every head."""
        size = math.prod(score.shape) // self.num_heads
        return _reduce(self.reduce, lambda array, _: self._heads(array), score, size, 1)

    def kept_units(self, mask: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """The heads of which an element is kept."""
        return jnp.any(self._heads(mask), axis=1)

    def expand(self, keep: Bool[Array, "..."], shape: Shape) -> Bool[Array, "..."]:
        """Every element of the kept heads."""
        return _along(jnp.repeat(keep, shape[self.axis] // self.num_heads), self.axis, shape)

    def _heads(self, array: Array) -> Array:
        return jnp.moveaxis(array, self.axis, 0).reshape(self.num_heads, -1)


@dataclass(frozen=True)
class KernelShape:
    """Positions of a convolution kernel: all filters and channels of a layer keep the same ones (HWIO, and 1-D or 3-D).

    Attributes:
        reduce: score of a position from those of its elements.
    """

    reduce: Reduce = "sum"

    def __post_init__(self) -> None:
        _check_reduce(self.reduce)

    def check(self, path: str, shape: Shape) -> None:
        """Raise ValueError for a leaf that is no convolution kernel."""
        _need_axes(path, shape, 3, "KernelShape")

    def units_shape(self, shape: Shape) -> Shape:
        """The spatial axes."""
        return shape[:-2]

    def units(self, score: Array) -> Array:
        """Score of every position."""
        return _reduce(self.reduce, _as_is, score, score.shape[-2] * score.shape[-1], (-2, -1))

    def kept_units(self, mask: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """The positions of which an element is kept."""
        return jnp.any(mask, axis=(-2, -1))

    def expand(self, keep: Bool[Array, "..."], shape: Shape) -> Bool[Array, "..."]:
        """Every element at the kept positions."""
        return jnp.broadcast_to(keep[..., None, None], shape)


@dataclass(frozen=True)
class Layer:
    """The whole leaf, such as the kernel of a residual branch: rank with `scope='global'`.

    Attributes:
        reduce: score of a leaf from those of its elements.
    """

    reduce: Reduce = "mean"

    def __post_init__(self) -> None:
        _check_reduce(self.reduce)

    def check(self, path: str, shape: Shape) -> None:
        """Every leaf will do."""

    def units_shape(self, shape: Shape) -> Shape:
        """A single unit."""
        return ()

    def units(self, score: Array) -> Array:
        """Score of the leaf."""
        return _reduce(self.reduce, _as_is, score, math.prod(score.shape), tuple(range(score.ndim)))

    def kept_units(self, mask: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """Whether anything is kept."""
        return jnp.any(mask)

    def expand(self, keep: Bool[Array, "..."], shape: Shape) -> Bool[Array, "..."]:
        """All or nothing."""
        return jnp.broadcast_to(keep, shape)


def _check_reduce(reduce: str) -> None:
    if reduce not in ("sum", "mean", "rms", "max"):
        raise ValueError(f"reduce must be 'sum', 'mean', 'rms' or 'max'; got {reduce!r}")


def _need_axes(path: str, shape: Shape, least: int, pattern: str) -> None:
    if len(shape) < least:
        raise ValueError(f"{pattern} needs at least {least} axes, but {path!r} has shape {shape}: filter it out")


def _need_axis(path: str, shape: Shape, axis: int, pattern: str) -> None:
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"{pattern}(axis={axis}): {path!r} of shape {shape} has no axis {axis}")


def _floating(score: Array) -> jnp.dtype:
    return score.dtype if jnp.issubdtype(score.dtype, jnp.floating) else jnp.dtype(jnp.float32)


def _as_is(array: Array, filler: float | bool) -> Array:
    del filler  # nothing to fill
    return array


def _reduce(
    kind: str,
    split: Callable[[Array, float | bool], Array],
    score: Array,
    size: int | Array,
    axes: int | tuple[int, ...],
) -> Array:
    """Reduce `split(score, filler)` over `axes` to units of `size` elements."""
    if kind == "max":
        lowest = -jnp.inf if jnp.issubdtype(score.dtype, jnp.floating) else jnp.iinfo(score.dtype).min
        return jnp.max(split(score, lowest), axis=axes)
    values = split(score.astype(_floating(score)), 0.0)
    if kind == "rms":
        return jnp.sqrt(jnp.sum(values * values, axis=axes) / size)
    return jnp.sum(values, axis=axes) / (size if kind == "mean" else 1)


def _along(keep: Bool[Array, " n"], axis: int, shape: Shape) -> Bool[Array, "..."]:
    """`keep` along one axis, the same along all others."""
    thin = [1] * len(shape)
    thin[axis] = shape[axis]
    return jnp.broadcast_to(keep.reshape(thin), shape)
