"""Initial-value problems: those of the paper, and the usual tests of this field, each a function that returns one."""

from offprint.neural_ivp.problems._advection import advection, advection_varying
from offprint.neural_ivp.problems._allen_cahn import allen_cahn
from offprint.neural_ivp.problems._burgers import burgers
from offprint.neural_ivp.problems._fokker_planck import fokker_planck
from offprint.neural_ivp.problems._heat import heat
from offprint.neural_ivp.problems._kdv import kdv
from offprint.neural_ivp.problems._kuramoto_sivashinsky import kuramoto_sivashinsky
from offprint.neural_ivp.problems._navier_stokes import navier_stokes
from offprint.neural_ivp.problems._reaction_diffusion import gray_scott, reaction_diffusion
from offprint.neural_ivp.problems._schrodinger import schrodinger
from offprint.neural_ivp.problems._vlasov import attracting_field, vlasov
from offprint.neural_ivp.problems._wave import wave
from offprint.neural_ivp.problems._wave_maps import curved_wave, wave_maps

__all__ = [
    "advection",
    "advection_varying",
    "allen_cahn",
    "attracting_field",
    "burgers",
    "curved_wave",
    "fokker_planck",
    "gray_scott",
    "heat",
    "kdv",
    "kuramoto_sivashinsky",
    "navier_stokes",
    "reaction_diffusion",
    "schrodinger",
    "vlasov",
    "wave",
    "wave_maps",
]
