"""Bits of every storage format over density: where one overtakes another."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from offprint.core.experiments import Claim, Run, at_least, equals, experiment, near
from offprint.sparsity import plots
from offprint.sparsity._bits import best_format, break_evens, clog, storage_bits

_BY_PLACE = ("delta", "runlength4", "ell", "bsr16x16")


@dataclass(frozen=True)
class StorageConfig:
    """Settings of the storage curves."""

    rows: int = 1024
    """Of the matrix."""
    columns: int = 1024
    """Of the matrix."""
    value_bits: int = 32
    """Bits of a value."""
    points: int = 25
    """Densities, from 1 to one entry in a thousandth of the rows, at equal distances on a logarithmic scale."""
    seed: int = 0
    """Of the random mask; sparser masks are parts of denser ones."""


@experiment("storage", reproduces="Storage formats: bits over density and break-even points")
def storage(config: StorageConfig, run: Run) -> Iterator[Claim]:
    """Dense, bitmap, compressed rows and coordinates each have their range of densities, where the formulas say."""
    shape, bits = (config.rows, config.columns), config.value_bits
    size = config.rows * config.columns
    densities = np.geomspace(1, max(1e-3 * config.rows, 4) / size, config.points)
    ranks = np.random.default_rng(config.seed).permutation(size).reshape(shape)
    masks = [ranks < np.rint(density * size) for density in densities]
    tables = [_table(mask, bits) for mask in masks]
    for density, table in zip(densities, tables):
        run.log(density=density, bits={name: value / size for name, value in table.items()})
    crossings = break_evens(shape, bits)
    run.figure(
        "bits",
        plots.storage(
            densities,
            {name: [table[name] / size for table in tables] for name in tables[0]},
            break_evens={f"{after} < {before}": crossings[before, after] for before, after in _PAIRS},
            value_bits=bits,
        ),
        f"Bits for each element of a {shape[0]} x {shape[1]} matrix with entries at random places, {bits}-bit values.",
    )
    yield Claim(
        "density below which a bitmap is smaller than the dense matrix, for values of 8, 16 and 32 bits",
        paper="1 - 1/b: 0.875, 0.9375, 0.96875",
        here=[break_evens(shape, b)["dense", "bitmap"] - (1 - 1 / b) for b in (8, 16, 32)],
        rule=near(0, 1e-5),
    )
    yield Claim(
        "break-even of compressed rows and bitmap, times clog of the columns (pointers to rows count here)",
        paper="about 1/clog C, so 1",
        here=crossings["bitmap", "csr"] * clog(config.columns),
        rule=near(1, 0.15),
    )
    yield Claim(
        "break-even of flat coordinates and bitmap, times clog of the size",
        paper="1/clog n, so 1",
        here=crossings["bitmap", "coo_flat"] * clog(size),
        rule=near(1, 1e-3),
    )
    names = ("dense", "bitmap", "csr", "coo_flat")
    winners = [best_format(mask, bits, formats=names).name for mask in masks]
    yield Claim(
        f"smallest of {', '.join(names)} as the density falls from 1 to {densities[-1]:.0e}",
        paper="dense, then bitmap, then compressed rows, then coordinates",
        here=[name for name, _ in groupby(winners)],
        rule=equals(list(names)),
    )
    two_of_four = np.tile(np.array([True, True, False, False])[:, None], (config.rows // 4, config.columns))
    yield Claim(
        "percent of storage that 2:4 sparsity saves, for values of 16 and 8 bits",
        paper="43.75 and 37.5 (Mishra et al., 2021)",
        here=[100 - 100 * storage_bits(two_of_four, b, "nm2:4") / (two_of_four.size * b) for b in (16, 8)],
        rule=equals([43.75, 37.5]),
    )
    yield Claim(
        "least bits of any format over the entropy bound of a random mask, smallest ratio over all densities",
        paper="at least 1: nothing stores a random mask in less",
        here=min(
            min(value for name, value in table.items() if name != "lower_bound") / table["lower_bound"]
            for table in tables
        ),
        rule=at_least(1),
    )


_PAIRS = (("dense", "bitmap"), ("bitmap", "csr"), ("csr", "coo_flat"))


def _table(mask: np.ndarray, bits: int) -> dict[str, int | float]:
    names = ("dense", "bitmap", "csr", "coo_flat", *_BY_PLACE, "lower_bound")
    return {name: storage_bits(mask, bits, name) for name in names}
