"""Sparse-training methods for `sparsify`."""

from offprint.sparsity.methods._admm import ADMM
from offprint.sparsity.methods._behind import DPF, Movement, TopKAST, topkast_penalty
from offprint.sparsity.methods._deep_r import DeepR
from offprint.sparsity.methods._dynamic import DropGrow
from offprint.sparsity.methods._gradual import GMP, OneShot
from offprint.sparsity.methods._method import Change, Method, View
from offprint.sparsity.methods._nest import NeST
from offprint.sparsity.methods._phases import ACDC, DSD
from offprint.sparsity.methods._redistributing import DSR, SNFS
from offprint.sparsity.methods._rigl import RigL
from offprint.sparsity.methods._set import SET
from offprint.sparsity.methods._static import Static

__all__ = [
    "ACDC",
    "ADMM",
    "DPF",
    "DSD",
    "DSR",
    "GMP",
    "SET",
    "SNFS",
    "Change",
    "DeepR",
    "DropGrow",
    "Method",
    "Movement",
    "NeST",
    "OneShot",
    "RigL",
    "Static",
    "TopKAST",
    "View",
    "topkast_penalty",
]
