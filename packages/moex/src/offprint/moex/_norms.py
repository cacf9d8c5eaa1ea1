"""The normalisations whose moments are exchanged: their names, groups, and the axes that they reduce."""

import math
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Kind = Literal["pono", "in", "ln", "gn", "gpono", "bn"]
GROUPED = ("gn", "gpono")
GRAMMAR = "'pono', 'in', 'ln', 'gn<G>', 'gn-d<D>', 'gpono<G>', 'gpono-d<D>' or 'bn', with G groups of D channels each"


@dataclass(frozen=True)
class NormSpec:
    """A normalisation: over which axes of a feature map the mean and the standard deviation are taken.

    Source: Li et al., CVPR 2021, section 3 (PONO, IN, LN, GN) and the public code (groups of PONO).

    Raises:
        ValueError: an unknown kind; for the grouped kinds not exactly one of `groups` and `group_size`, or one
            below 1; either of them for another kind.
    """

    kind: Kind
    """`pono`: channels; `in`: positions; `ln`: channels and positions; `gn`: the channels of a group and
    positions; `gpono`: the channels of a group; `bn`: samples and positions."""
    groups: int | None = None
    """G, the number of contiguous blocks of channels."""
    group_size: int | None = None
    """D, the channels in a block."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"norm kind {self.kind!r} is unknown; one of {', '.join(get_args(Kind))} is needed")
        given = [number for number in (self.groups, self.group_size) if number is not None]
        if self.kind in GROUPED and (len(given) != 1 or given[0] < 1):
            raise ValueError(
                f"norm {self.kind!r} needs either groups >= 1 or group_size >= 1, "
                f"got groups={self.groups} and group_size={self.group_size}"
            )
        if self.kind not in GROUPED and given:
            raise ValueError(f"norm {self.kind!r} has no groups: leave groups and group_size out, or use gn or gpono")

    def __str__(self) -> str:
        if self.kind not in GROUPED:
            return self.kind
        return f"{self.kind}{self.groups}" if self.groups is not None else f"{self.kind}-d{self.group_size}"

    def count(self, channels: int) -> int:
        """Number of groups G among so many channels; ValueError where they don't divide into equal groups."""
        if self.groups is not None:
            if channels % self.groups:
                raise ValueError(
                    f"norm {str(self)!r}: G = {self.groups} groups do not divide C = {channels} channels; "
                    f"take one of {_divisors(channels)}"
                )
            return self.groups
        if self.group_size is not None:
            if channels % self.group_size:
                raise ValueError(
                    f"norm {str(self)!r}: groups of D = {self.group_size} channels do not divide C = {channels} "
                    f"channels; take one of {_divisors(channels)}"
                )
            return channels // self.group_size
        return 1


def parse_norm(norm: str | NormSpec) -> NormSpec:
    """The normalisation of that name: `pono`, `in`, `ln`, `gn<G>`, `gn-d<D>`, `gpono<G>`, `gpono-d<D>`, `bn`.

    Raises:
        ValueError: the name is none of these, or a number in it is 0.
    """
    if isinstance(norm, NormSpec):
        return norm
    if norm in get_args(Kind) and norm not in GROUPED:
        return NormSpec(norm)  # type: ignore[arg-type]
    match = re.fullmatch(r"(gn|gpono)(-d)?([1-9][0-9]*)", norm)
    if match is None:
        raise ValueError(f"norm {norm!r} is unknown; needed is {GRAMMAR} (G and D at least 1)")
    kind, by_size, number = match.groups()
    return NormSpec(kind, group_size=int(number)) if by_size else NormSpec(kind, groups=int(number))  # type: ignore[arg-type]


class Layout(NamedTuple):
    """How the moments of one array are taken."""

    view: tuple[int, ...]
    """Shape with the channel axis split into (G, D) for grouped norms; else the array's own."""
    axes: tuple[int, ...]
    """Axes of `view` that are reduced."""
    size: int
    """M, the number of entries behind each mean."""


def positive_axis(ndim: int, channel_axis: int) -> int:
    """The channel axis, counted from the front.

    Raises:
        ValueError: there is no such axis, or it is the batch axis.
    """
    axis = channel_axis + ndim if channel_axis < 0 else channel_axis
    if not 0 < axis < ndim:
        raise ValueError(
            f"channel_axis={channel_axis} of features with {ndim} axes; axis 0 holds the samples, so one of "
            f"1..{ndim - 1} (or -1 for the last) is needed"
        )
    return axis


def layout(spec: NormSpec, shape: tuple[int, ...], channel_axis: int) -> Layout:
    """View, reduced axes and M of features (B, ..., C) of this shape.

    Raises:
        ValueError: fewer than 2 axes, no positions for `in`, groups that don't divide the channels.
    """
    ndim = len(shape)
    if ndim < 2:
        raise ValueError(f"features need a batch axis and a channel axis, (B, ..., C), got shape {shape}")
    channel = positive_axis(ndim, channel_axis)
    if spec.kind == "in" and ndim < 3:
        raise ValueError(
            f"norm 'in' averages over positions, but features of shape {shape} have none; "
            "give (B, ..., C) with at least 3 axes, or use 'pono' or 'ln'"
        )
    positions = tuple(axis for axis in range(1, ndim) if axis != channel)
    axes = {
        "pono": (channel,),
        "in": positions,
        "ln": tuple(range(1, ndim)),
        "bn": (0, *positions),
    }.get(spec.kind)
    view = shape
    if axes is None:
        groups = spec.count(shape[channel])
        view = (*shape[:channel], groups, shape[channel] // groups, *shape[channel + 1 :])
        axes = (channel + 1,) if spec.kind == "gpono" else tuple(a for a in range(1, ndim + 1) if a != channel)
    return Layout(view, axes, math.prod(view[axis] for axis in axes))


def _divisors(channels: int) -> str:
    return ", ".join(str(d) for d in range(1, channels + 1) if channels % d == 0)
