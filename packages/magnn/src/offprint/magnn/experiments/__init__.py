"""The experiments of the paper, as far as two cores go, and at its own scale; with the claims that they check."""

from offprint.magnn.experiments.ablation import AblationConfig, ablation
from offprint.magnn.experiments.learnability import LearnabilityConfig, learnability
from offprint.magnn.experiments.movielens import MovieLensConfig, movielens
from offprint.magnn.experiments.sensitivity import SensitivityConfig, sensitivity

__all__ = [
    "AblationConfig",
    "LearnabilityConfig",
    "MovieLensConfig",
    "SensitivityConfig",
    "ablation",
    "learnability",
    "movielens",
    "sensitivity",
]
