"""Pruning layer by layer so that each layer's outputs stay what they were on a few batches of data.

`collect` sees the calibration and keeps H = 2XᵀX for every kernel; `prune_layerwise` and `prune_in_sequence` apply a
method to all kernels of a model. The methods themselves take a kernel (in, out) and H.
"""

from offprint.sparsity.layerwise._channels import channel_gram, lasso_channels, thinet
from offprint.sparsity.layerwise._collect import LayerStats, as_matrix, collect, from_matrix
from offprint.sparsity.layerwise._lobs import lobs
from offprint.sparsity.layerwise._net_trim import net_trim
from offprint.sparsity.layerwise._obc import obc
from offprint.sparsity.layerwise._prune import prune_in_sequence, prune_layerwise
from offprint.sparsity.layerwise._quadratic import Pruned, reconstruction_error
from offprint.sparsity.layerwise._sparsegpt import sparsegpt
from offprint.sparsity.layerwise._wanda import wanda, wanda_score

__all__ = [
    "LayerStats",
    "Pruned",
    "as_matrix",
    "channel_gram",
    "collect",
    "from_matrix",
    "lasso_channels",
    "lobs",
    "net_trim",
    "obc",
    "prune_in_sequence",
    "prune_layerwise",
    "reconstruction_error",
    "sparsegpt",
    "thinet",
    "wanda",
    "wanda_score",
]
