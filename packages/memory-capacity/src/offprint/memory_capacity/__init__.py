"""Memory of linear and nonlinear recurrent networks, computed right.

In reading order: networks to measure, exact memory of linear ones, what it rests on, the usual estimators and what
becomes of them, several or dependent inputs, simulation, and memory measured from samples.
"""

from offprint.memory_capacity import mask, polynomials, reservoir
from offprint.memory_capacity._blaschke import blaschke_coefficients, memory_curve_from_poles, takenaka_malmquist
from offprint.memory_capacity._curve import MemoryCurve, memory_curve, total_memory
from offprint.memory_capacity._dependent import DependentMemory, dependent_memory
from offprint.memory_capacity._empirical import EmpiricalCurve, empirical_memory_curve, forecasting_capacity
from offprint.memory_capacity._esn import ESN, ridge_readout
from offprint.memory_capacity._gramian import gramian
from offprint.memory_capacity._hypotheses import Hypotheses, check_hypotheses, echo_state_distances
from offprint.memory_capacity._ipc import IPC, information_processing_capacity
from offprint.memory_capacity._kernel_rank import generalization_rank, kernel_rank
from offprint.memory_capacity._krylov import Arnoldi, KrylovDistances, arnoldi, krylov_distances, krylov_matrix
from offprint.memory_capacity._multi_input import multi_input_memory_curve
from offprint.memory_capacity._network import MeaningWarning, PrecisionWarning
from offprint.memory_capacity._nonlinear import memory_vs_input_scale, script_input_scales
from offprint.memory_capacity._rank import Reachability, pbh_margin, reachability, reachable_rank
from offprint.memory_capacity._simulate import simulate

__all__ = [
    "ESN",
    "IPC",
    "Arnoldi",
    "DependentMemory",
    "EmpiricalCurve",
    "Hypotheses",
    "KrylovDistances",
    "MeaningWarning",
    "MemoryCurve",
    "PrecisionWarning",
    "Reachability",
    "arnoldi",
    "blaschke_coefficients",
    "check_hypotheses",
    "dependent_memory",
    "echo_state_distances",
    "empirical_memory_curve",
    "forecasting_capacity",
    "generalization_rank",
    "gramian",
    "information_processing_capacity",
    "kernel_rank",
    "krylov_distances",
    "krylov_matrix",
    "mask",
    "memory_curve",
    "memory_curve_from_poles",
    "memory_vs_input_scale",
    "multi_input_memory_curve",
    "pbh_margin",
    "polynomials",
    "reachability",
    "reachable_rank",
    "reservoir",
    "ridge_readout",
    "script_input_scales",
    "simulate",
    "takenaka_malmquist",
    "total_memory",
]
