"""The experiments of the paper, as far as two cores go, and at its own scale; with the claims that they check."""

from offprint.neural_ivp.experiments._solving import SolveConfig
from offprint.neural_ivp.experiments.advection import AdvectionConfig, advection
from offprint.neural_ivp.experiments.ednn import BaselinesConfig, ednn
from offprint.neural_ivp.experiments.embedding import EmbeddingConfig, embedding
from offprint.neural_ivp.experiments.fokker_planck import fokker_planck
from offprint.neural_ivp.experiments.heat import heat
from offprint.neural_ivp.experiments.restarts import RestartsConfig, restarts
from offprint.neural_ivp.experiments.scaling import ScalingConfig, scaling
from offprint.neural_ivp.experiments.vlasov import vlasov
from offprint.neural_ivp.experiments.wave import wave2d, wave3d
from offprint.neural_ivp.experiments.wave_maps import WaveMapsConfig, wave_maps

__all__ = [
    "AdvectionConfig",
    "BaselinesConfig",
    "EmbeddingConfig",
    "RestartsConfig",
    "ScalingConfig",
    "SolveConfig",
    "WaveMapsConfig",
    "advection",
    "ednn",
    "embedding",
    "fokker_planck",
    "heat",
    "restarts",
    "scaling",
    "vlasov",
    "wave2d",
    "wave3d",
    "wave_maps",
]
