"""Layers for flax NNX: learned sparsity, fixed masks, sparse execution, sparse activations, experts, noise."""

from offprint.sparsity.nnx._continuous import Beta, ContinuousConv, ContinuousLinear, set_beta
from offprint.sparsity.nnx._dropout import (
    ConcreteDropout,
    DropBlock,
    DropConnectLinear,
    SpatialDropout,
    StochasticDepth,
)
from offprint.sparsity.nnx._hard_concrete import HardConcreteConv, HardConcreteLinear
from offprint.sparsity.nnx._kwta import KWTA, FATReLU
from offprint.sparsity.nnx._masked import Mask, MaskedConv, MaskedLinear
from offprint.sparsity.nnx._model import harden, learned_masks, masked, penalty, set_masks
from offprint.sparsity.nnx._moe import Balance, MoE, balance_loss
from offprint.sparsity.nnx._powerprop import PowerpropConv, PowerpropLinear
from offprint.sparsity.nnx._sparse_linear import Layout, SparseLinear
from offprint.sparsity.nnx._str import STRConv, STRLinear
from offprint.sparsity.nnx._variational import VariationalConv, VariationalLinear

__all__ = [
    "KWTA",
    "Balance",
    "Beta",
    "ConcreteDropout",
    "ContinuousConv",
    "ContinuousLinear",
    "DropBlock",
    "DropConnectLinear",
    "FATReLU",
    "HardConcreteConv",
    "HardConcreteLinear",
    "Layout",
    "Mask",
    "MaskedConv",
    "MaskedLinear",
    "MoE",
    "PowerpropConv",
    "PowerpropLinear",
    "STRConv",
    "STRLinear",
    "SparseLinear",
    "SpatialDropout",
    "StochasticDepth",
    "VariationalConv",
    "VariationalLinear",
    "balance_loss",
    "harden",
    "learned_masks",
    "masked",
    "penalty",
    "set_beta",
    "set_masks",
]
