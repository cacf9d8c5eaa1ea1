"""How many bits a sparse array takes in each storage format, and which format is the smallest.

Formulas of Hoefler et al. 2021 (hoefler2021sparsity); the run length is that of Deep Compression
(han2016deepcompression). One of x values takes clog(x) = max(1, ceil(log2 x)) bits. Arrays of more than two axes
count as a matrix of prod(shape[:-1]) rows and shape[-1] columns. Everything is computed on the host, in exact integers.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array

FORMATS = (
    "dense",
    "bitmap",
    "coo_flat",
    "coo_rc",
    "csr",
    "csc",
    "delta",
    "runlength2",
    "runlength4",
    "runlength8",
    "ell",
    "bsr4x4",
    "bsr16x16",
)
"""The formats that `best_format` compares by default."""

_BY_COUNT = ("dense", "bitmap", "coo_flat", "coo_rc", "csr", "csc", "lower_bound")
_NAMES = (
    "dense, bitmap, coo_flat, coo_rc, csr, csc, delta, runlengthP (P bits a run), ell, bsrHxW (blocks), nmN:M "
    "and lower_bound"
)


class BestFormat(NamedTuple):
    """The smallest format, its bits, and the bits of every format that was compared, smallest first."""

    name: str
    bits: int
    table: dict[str, int]


def clog(x: int) -> int:
    """Bits that tell x values apart, at least 1; 0 for x = 0."""
    if x < 0:
        raise ValueError(f"clog needs x >= 0, but got {x}")
    return 0 if x == 0 else max(1, (int(x) - 1).bit_length())


def storage_bits(
    mask_or_nnz: Array | np.ndarray | int,
    bits: int = 32,
    fmt: str = "bitmap",
    *,
    shape: Sequence[int] | None = None,
) -> int | float:
    """Bits that the entries kept by a mask take in a format, indices and values together.

    Args:
        mask_or_nnz: mask (True or non-zero = stored) or, with `shape`, the number of entries. The sizes of delta,
            runlength, ell, bsr and nm depend on where the entries are: they need the mask.
        bits: bits of one value.
        fmt: `dense`, `bitmap`, `coo_flat` (one flat index an entry), `coo_rc` (row and column), `csr`, `csc`, `delta`
            (gap to the entry before, in row-major order), `runlengthP` (zeros before the entry in P bits, a stored
            zero for every 2^P of them that overflow), `ell`, `bsrHxW`, `nmN:M` (N of every M along axis -2) or
            `lower_bound` (n H2(density) + nnz bits, the entropy of a random mask; a float).
        shape: shape of the array, for a number.

    Raises:
        ValueError: unknown format, `bits` < 1, a number without a shape, above the size, or for a format that needs
            the mask; a mask that does not fit `nmN:M`.
    """
    if bits < 1:
        raise ValueError(f"bits must be at least 1, but is {bits}")
    if isinstance(mask_or_nnz, jax.core.Tracer):
        raise ValueError("storage_bits works on the host: it needs a mask that is known, not one traced by jit or vmap")
    if np.ndim(mask_or_nnz) == 0:
        return _bits_of_count(int(mask_or_nnz), bits, fmt, shape)
    mask = np.asarray(mask_or_nnz) != 0
    if fmt in _BY_COUNT:
        return _bits_of_count(int(np.count_nonzero(mask)), bits, fmt, mask.shape)
    matrix = mask.reshape(-1, mask.shape[-1])
    for pattern, size in _BY_MASK.items():
        found = re.fullmatch(pattern, fmt)
        if found:
            return size(matrix, bits, *map(int, found.groups()))
    raise ValueError(f"unknown format {fmt!r}; known are {_NAMES}")


def _bits_of_count(nnz: int, bits: int, fmt: str, shape: Sequence[int] | None) -> int | float:
    if shape is None:
        raise ValueError("give the shape of the array together with a number of entries, or give the mask")
    size = math.prod(shape)
    if not 0 <= nnz <= size:
        raise ValueError(f"the number of entries must be in 0..{size} for shape {tuple(shape)}, but is {nnz}")
    columns = shape[-1] if len(shape) else 1
    rows = size // columns if columns else 0
    if fmt == "lower_bound":
        density = nnz / size if size else 0.0
        return size * _entropy(density) + nnz * bits
    known = {
        "dense": size * bits,
        "bitmap": size + nnz * bits,
        "coo_flat": nnz * (clog(size) + bits),
        "coo_rc": nnz * (clog(rows) + clog(columns) + bits),
        "csr": nnz * (clog(columns) + bits) + (rows + 1) * clog(nnz + 1),
        "csc": nnz * (clog(rows) + bits) + (columns + 1) * clog(nnz + 1),
    }
    if fmt in known:
        return known[fmt]
    if any(re.fullmatch(pattern, fmt) for pattern in _BY_MASK):
        raise ValueError(f"the size of {fmt} depends on where the entries are: give the mask, not their number")
    raise ValueError(f"unknown format {fmt!r}; known are {_NAMES}")


def _entropy(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def gaps(flat: np.ndarray) -> np.ndarray:
    """Distance of every kept entry of a flat mask to the kept one before it (to position -1 for the first)."""
    return np.diff(np.flatnonzero(flat), prepend=-1)


def _delta(mask: np.ndarray, bits: int) -> int:
    distance = gaps(mask.ravel())
    return distance.size * (clog(int(distance.max(initial=0))) + bits)


def _runlength(mask: np.ndarray, bits: int, width: int) -> int:
    if not 1 <= width <= 31:
        raise ValueError(f"a run of runlength takes 1 to 31 bits, but is given {width}")
    runs = gaps(mask.ravel()) - 1
    return (runs.size + int((runs >> width).sum())) * (width + bits)


def _ell(mask: np.ndarray, bits: int) -> int:
    width = int(mask.sum(1).max(initial=0))
    return mask.shape[0] * width * (clog(mask.shape[1]) + bits)


def block_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which blocks of a matrix hold at least one kept entry; blocks over the edge are filled up with zeros."""
    rows, columns = -(-mask.shape[0] // height), -(-mask.shape[1] // width)
    padded = np.pad(mask, ((0, rows * height - mask.shape[0]), (0, columns * width - mask.shape[1])))
    return np.asarray(padded.reshape(rows, height, columns, width).any((1, 3)))


def _bsr(mask: np.ndarray, bits: int, height: int, width: int) -> int:
    if height < 1 or width < 1:
        raise ValueError(f"blocks of bsr need positive sides, but are {height}x{width}")
    blocks = block_mask(mask, height, width)
    count = int(blocks.sum())
    return count * (clog(blocks.shape[1]) + height * width * bits) + (blocks.shape[0] + 1) * clog(count + 1)


def _nm(mask: np.ndarray, bits: int, n: int, m: int) -> int:
    if not 1 <= n <= m:
        raise ValueError(f"nmN:M needs 1 <= N <= M, but is {n}:{m}")
    rows = -(-mask.shape[0] // m)
    padded = np.pad(mask, ((0, rows * m - mask.shape[0]), (0, 0)))
    kept = int(padded.reshape(rows, m, -1).sum(1).max(initial=0))
    if kept > n:
        raise ValueError(
            f"a group of {m} along axis -2 of the mask keeps {kept} entries, more than the {n} of nm{n}:{m}"
        )
    return rows * mask.shape[1] * n * (bits + clog(m))


_BY_MASK: dict[str, Callable[..., int]] = {
    "delta": _delta,
    r"runlength(\d+)": _runlength,
    "ell": _ell,
    r"bsr(\d+)x(\d+)": _bsr,
    r"nm(\d+):(\d+)": _nm,
}


def best_format(
    mask_or_nnz: Array | np.ndarray | int,
    bits: int = 32,
    *,
    shape: Sequence[int] | None = None,
    formats: Sequence[str] | None = None,
) -> BestFormat:
    """The format that stores the entries kept by a mask in the fewest bits, with the table of all.

    Args:
        mask_or_nnz, bits, shape: see `storage_bits`. For a number only the formats whose size it determines compete.
        formats: names to compare; default `FORMATS`.
    """
    names = FORMATS if formats is None else tuple(formats)
    if formats is None and np.ndim(mask_or_nnz) == 0:
        names = tuple(name for name in names if name in _BY_COUNT)
    if not names:
        raise ValueError("formats must name at least one format")
    table = {name: storage_bits(mask_or_nnz, bits, name, shape=shape) for name in names}
    ranked = dict(sorted(table.items(), key=lambda item: item[1]))
    name, least = next(iter(ranked.items()))
    return BestFormat(name, int(least), {key: int(value) for key, value in ranked.items()})


def break_evens(shape: Sequence[int], bits: int = 32) -> dict[tuple[str, str], float]:
    """Density below which the second format of each pair is smaller than the first.

    For (dense, bitmap) that is 1 - 1/bits; for (bitmap, csr) about 1/clog(columns); for (bitmap, coo_flat)
    1/clog(size). Found by bisection on the number of entries, so all the logarithms count.
    """
    size = math.prod(shape)
    pairs = (("dense", "bitmap"), ("dense", "csr"), ("bitmap", "csr"), ("bitmap", "coo_flat"), ("csr", "coo_flat"))
    return {pair: _crossing(pair, shape, bits, size) / size for pair in pairs}


def _crossing(pair: tuple[str, str], shape: Sequence[int], bits: int, size: int) -> int:
    """The largest number of entries with which the second format is smaller, 0 if there is none."""

    def smaller(nnz: int) -> bool:
        first, second = (storage_bits(nnz, bits, name, shape=shape) for name in pair)
        return second < first

    low, high = 0, size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if smaller(middle) else (low, middle - 1)
    return low
