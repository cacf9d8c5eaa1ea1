"""Sparse gradients: what is sent between machines, and optimisers whose state is as sparse as the weights.

All are optax transforms, put in front of the optimiser: `optax.chain(optim.topk_error_feedback(0.01), optax.sgd(0.1))`.
"""

from offprint.sparsity.optim._all_reduce import sparse_all_reduce
from offprint.sparsity.optim._compact import compact_state
from offprint.sparsity.optim._compress import Compressor, RandomK, Strom, Threshold, TopK
from offprint.sparsity.optim._dgc import DGCState, dgc, dgc_warmup
from offprint.sparsity.optim._error_feedback import (
    CompressionState,
    compress,
    random_k,
    strom,
    threshold,
    topk_error_feedback,
)

__all__ = [
    "CompressionState",
    "Compressor",
    "DGCState",
    "RandomK",
    "Strom",
    "Threshold",
    "TopK",
    "compact_state",
    "compress",
    "dgc",
    "dgc_warmup",
    "random_k",
    "sparse_all_reduce",
    "strom",
    "threshold",
    "topk_error_feedback",
]
