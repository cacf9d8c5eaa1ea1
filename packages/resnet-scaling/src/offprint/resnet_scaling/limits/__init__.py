"""Limits of deep residual networks as the depth grows, and how fast networks approach them.

Of h_{k+1} = h_k + L^-α σ(h_k A_k + b_k) with smooth σ, σ(0) = 0:

| weights | exponents | limit on [0, 1] | distance at depth L |
| --- | --- | --- | --- |
| smooth, A_k = L^-β Ā(k/L) | α = 1, β = 0 | `neural_ode` | L^-1 |
| smooth | α + β = 1, β > 0 | `linear_ode` | L^-min(1, β), or L^-min(1, 2β) where σ''(0) = 0 |
| smooth, σ the ReLU | α + β = 1 | `neural_ode` | L^-1 |
| smooth | α + β > 1, α + β < 1 | the identity, none | |
| trend Ā/L plus noise of finite quadratic variation | α = 0 | `sde` | L^-½ |
| the same, σ the ReLU | α = 0 | none with δ of one sign; in law with random signs | |

Row vectors multiply from the left, h @ A, as everywhere in this package.
"""

from offprint.resnet_scaling.limits._activation import derivatives_at_zero
from offprint.resnet_scaling.limits._ode import linear_ode, linear_ode_adjoint, neural_ode, neural_ode_adjoint
from offprint.resnet_scaling.limits._rates import Rate, convergence_rate, strong_convergence_rate
from offprint.resnet_scaling.limits._sde import Increments, brownian_increments, sde
from offprint.resnet_scaling.limits._sensitivity import Sensitivity, sde_adjoint, sde_sensitivity

__all__ = [
    "Increments",
    "Rate",
    "Sensitivity",
    "brownian_increments",
    "convergence_rate",
    "derivatives_at_zero",
    "linear_ode",
    "linear_ode_adjoint",
    "neural_ode",
    "neural_ode_adjoint",
    "sde",
    "sde_adjoint",
    "sde_sensitivity",
    "strong_convergence_rate",
]
