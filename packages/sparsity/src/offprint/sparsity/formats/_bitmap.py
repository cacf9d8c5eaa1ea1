"""One bit for every entry, and the values of those that are set."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.sparsity.formats._kept import at, kept, value_bits


@partial(jax.tree_util.register_dataclass, data_fields=("values", "packed"), meta_fields=("shape",))
@dataclass(frozen=True)
class Bitmap:
    """A bit for every entry (packed as `numpy.packbits` does) and the values kept, in row-major order."""

    values: Any  # [nnz]
    packed: Any  # uint8 [ceil(size / 8)]
    shape: tuple[int, ...]

    @classmethod
    def from_dense(cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None) -> "Bitmap":
        """Store the entries that `mask` keeps (default: those that are not zero). The values may be traced."""
        keep = kept(dense, mask, "Bitmap")
        return cls(at(dense, np.flatnonzero(keep)), jnp.asarray(np.packbits(keep)), keep.shape)

    def to_dense(self) -> Array:
        """The array, with zeros where nothing is stored."""
        size = int(np.prod(self.shape))
        keep = jnp.unpackbits(self.packed, count=size).astype(bool)
        positions = jnp.nonzero(keep, size=self.values.size)[0]
        return jnp.zeros(size, self.values.dtype).at[positions].set(self.values).reshape(self.shape)

    def bits(self, bits: int | None = None) -> int:
        """Bits of the storage, for values of `bits` bits (default: their type's)."""
        return int(np.prod(self.shape)) + self.values.size * value_bits(self.values, bits)
