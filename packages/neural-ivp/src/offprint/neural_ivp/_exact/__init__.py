"""Exact and reference solutions, one concept a file."""

from offprint.neural_ivp._exact._characteristics import trace_back, transported
from offprint.neural_ivp._exact._chebyshev import CurvedWaveReference
from offprint.neural_ivp._exact._cole_hopf import cole_hopf
from offprint.neural_ivp._exact._fokker_planck import fokker_planck_density, fokker_planck_moments
from offprint.neural_ivp._exact._radial_wave import radial_wave
from offprint.neural_ivp._exact._sine_series import SineSeries, heat_solution, wave_solution
from offprint.neural_ivp._exact._solitons import two_solitons
from offprint.neural_ivp._exact._spectral import PeriodicReference

__all__ = [
    "CurvedWaveReference",
    "PeriodicReference",
    "SineSeries",
    "cole_hopf",
    "fokker_planck_density",
    "fokker_planck_moments",
    "heat_solution",
    "radial_wave",
    "trace_back",
    "transported",
    "two_solitons",
    "wave_solution",
]
