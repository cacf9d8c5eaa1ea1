"""Initial-value PDEs with neural networks: stable by restarts, linear in the number of weights."""

from offprint.neural_ivp import _bc as bc
from offprint.neural_ivp import data, geometry, ics, ops, presets, problems
from offprint.neural_ivp._adam_fit import AdamFit
from offprint.neural_ivp._adaptive import ResidualAdaptive, Weighted
from offprint.neural_ivp._anchored import Anchored, Constrained
from offprint.neural_ivp._antisymmetric import antisymmetric
from offprint.neural_ivp._conserved import (
    Estimate,
    Quantity,
    expectation,
    integrate,
    marginal,
    mass,
    moments,
    square,
    wave_energy,
)
from offprint.neural_ivp._controller import RK
from offprint.neural_ivp._direct import LSMR, Auto, Dense, Dual, Lstsq, RandomSparse
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._ednn import EDNN
from offprint.neural_ivp._embedding import sinusoidal_embedding
from offprint.neural_ivp._evolve import evolve
from offprint.neural_ivp._exact import (
    CurvedWaveReference,
    PeriodicReference,
    SineSeries,
    cole_hopf,
    fokker_planck_density,
    fokker_planck_moments,
    heat_solution,
    radial_wave,
    trace_back,
    transported,
    two_solitons,
    wave_solution,
)
from offprint.neural_ivp._fit import Fit, FitReport, fit_error
from offprint.neural_ivp._following import GaussianMixture, Particles
from offprint.neural_ivp._functional import Chain, Functional, functional
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._gram import gram_matvec, pde_values, residual, rhs_vector
from offprint.neural_ivp._head import head_tune
from offprint.neural_ivp._linear import Info, LinearSolver, NystromPCG
from offprint.neural_ivp._linear_maps import LinearMaps, linear_maps
from offprint.neural_ivp._metrics import interior_grid, relative_l2
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._nystrom import Nystrom, nystrom, nystrom_apply
from offprint.neural_ivp._optimized import Optimized
from offprint.neural_ivp._pcg import PCGResult, pcg
from offprint.neural_ivp._penalty import penalized
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._problem_checks import check_model, check_problem
from offprint.neural_ivp._restart import Restart
from offprint.neural_ivp._samplers import GaussLegendre, Grid, Halton, Sampler, Sobol, Uniform
from offprint.neural_ivp._solution import Solution, load
from offprint.neural_ivp._solve import solve_ivp
from offprint.neural_ivp._spectrum import condition_number, effective_dimension, spectrum
from offprint.neural_ivp._target import snapshot
from offprint.neural_ivp._theta_dot import theta_dot

__all__ = [
    "EDNN",
    "LSMR",
    "RK",
    "AdamFit",
    "Anchored",
    "Auto",
    "Box",
    "Chain",
    "Constrained",
    "CurvedWaveReference",
    "Dense",
    "Dual",
    "Estimate",
    "Fit",
    "FitReport",
    "Functional",
    "GaussLegendre",
    "GaussNewtonFit",
    "GaussianMixture",
    "Grid",
    "Halton",
    "Info",
    "LinearMaps",
    "LinearSolver",
    "Lstsq",
    "Nystrom",
    "NystromPCG",
    "Optimized",
    "PCGResult",
    "Particles",
    "PeriodicReference",
    "Problem",
    "Quantity",
    "RandomSparse",
    "ResidualAdaptive",
    "Restart",
    "Sampler",
    "SineSeries",
    "SinusoidalMLP",
    "Sobol",
    "Solution",
    "Uniform",
    "Weighted",
    "antisymmetric",
    "bc",
    "check_model",
    "check_problem",
    "cole_hopf",
    "condition_number",
    "data",
    "effective_dimension",
    "evolve",
    "expectation",
    "fit_error",
    "fokker_planck_density",
    "fokker_planck_moments",
    "functional",
    "geometry",
    "gram_matvec",
    "head_tune",
    "heat_solution",
    "ics",
    "integrate",
    "interior_grid",
    "linear_maps",
    "load",
    "marginal",
    "mass",
    "moments",
    "nystrom",
    "nystrom_apply",
    "ops",
    "pcg",
    "pde_values",
    "penalized",
    "presets",
    "problems",
    "radial_wave",
    "relative_l2",
    "residual",
    "rhs_vector",
    "sinusoidal_embedding",
    "snapshot",
    "solve_ivp",
    "spectrum",
    "square",
    "theta_dot",
    "trace_back",
    "transported",
    "two_solitons",
    "wave_energy",
    "wave_solution",
]
