"""Storage formats of sparse arrays: `from_dense`, `to_dense`, `bits`.

Each is a frozen dataclass and a pytree of arrays with static shapes. Which entries are stored must be known when a
format is made; the values may be traced, so `from_dense(kernel, mask)` works under jit and grad for a fixed mask.
`BlockELL` and `NMPacked` can be multiplied by `offprint.sparsity.matmul`; the others are for storage.
"""

from offprint.sparsity.formats._bitmap import Bitmap
from offprint.sparsity.formats._block_ell import BlockELL
from offprint.sparsity.formats._bsr import BSR
from offprint.sparsity.formats._coordinates import COO, CSC, CSR
from offprint.sparsity.formats._ell import ELL
from offprint.sparsity.formats._nm import NMPacked
from offprint.sparsity.formats._runs import Delta, RunLength

__all__ = ["BSR", "COO", "CSC", "CSR", "ELL", "Bitmap", "BlockELL", "Delta", "NMPacked", "RunLength"]
