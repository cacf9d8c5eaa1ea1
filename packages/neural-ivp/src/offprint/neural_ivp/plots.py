"""Solutions and what happened on the way to them, in pictures: functions that return a matplotlib Figure."""

from offprint.neural_ivp._plot_fields import animation, marginals, slices
from offprint.neural_ivp._plot_runs import (
    QUANTITIES,
    eigenvalues,
    evolution,
    iterations,
    over_time,
    residuals,
    restarts,
    scaling,
    slope,
)

__all__ = [
    "QUANTITIES",
    "animation",
    "eigenvalues",
    "evolution",
    "iterations",
    "marginals",
    "over_time",
    "residuals",
    "restarts",
    "scaling",
    "slices",
    "slope",
]
