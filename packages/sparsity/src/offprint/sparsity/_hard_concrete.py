"""Hard-concrete gates: L0 regularisation that gradients can train (Louizos, Welling, Kingma 2018)."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.sparsity._bibliography import cite

Floats = Float[Array | np.ndarray, "*shape"]

LOG_ALPHA_LIMITS = (math.log(1e-2), math.log(1e2))
# Uniform draws are kept away from 0 and 1, where their logit is infinite.
_EDGE = 1e-6
# Enough for 1e-12 in the moments at every stretch between 1e-3 and 1, and temperatures up to about 3.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True)
class HardConcrete:
    """The distribution of a gate z in [0, 1] that is exactly 0 and exactly 1 with positive probability.

    A binary concrete variable s of temperature `beta` and location `log_alpha` is stretched to (`gamma`, `zeta`) and
    clipped: `s = σ((logit u + log α) / β)`, `z = clip(s (ζ - γ) + γ, 0, 1)`. All methods are elementwise in
    `log_alpha`, differentiable, and return its shape and dtype.

    Args:
        beta: temperature, > 0.
        gamma: lower end of the stretch, < 0.
        zeta: upper end, > 1.

    Raises:
        ValueError: an end of the stretch that gives no mass to 0 or 1, or a temperature that is not positive.

    Source: `louizos2018l0`, Eq. 10-12; the defaults are the paper's.
    """

    beta: float | int = 2 / 3
    gamma: float | int = -0.1
    zeta: float | int = 1.1

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta={self.beta}: the temperature must be positive, such as 2/3")
        if not self.gamma < 0 or not self.zeta > 1:
            raise ValueError(
                f"gamma={self.gamma}, zeta={self.zeta}: the stretch must go beyond [0, 1] at both ends, "
                "as with gamma=-0.1, zeta=1.1; without that the gate is never exactly 0 or 1"
            )

    @property
    def _ends(self) -> tuple[float, float]:
        """The logits of s at which z reaches 0 and 1."""
        return math.log(-self.gamma / self.zeta), math.log((1 - self.gamma) / (self.zeta - 1))

    def sample(self, log_alpha: Floats, uniform: Float[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        """The gate for uniform draws in (0, 1), which broadcast with `log_alpha`; differentiable in `log_alpha`.

        Draws are clipped to [1e-6, 1 - 1e-6], as in the authors' code.
        """
        u = jnp.clip(jnp.asarray(uniform), _EDGE, 1 - _EDGE)
        s = jax.nn.sigmoid((jnp.log(u) - jnp.log1p(-u) + jnp.asarray(log_alpha)) / self.beta)
        return self._stretch(s)

    def draw(self, key: PRNGKeyArray, log_alpha: Floats, batch: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Independent gates: of the shape `batch + log_alpha.shape`."""
        location = jnp.asarray(log_alpha)
        return self.sample(location, jax.random.uniform(key, batch + location.shape, location.dtype))

    def test_gate(self, log_alpha: Floats) -> Float[Array, "*shape"]:
        """The gate that evaluation uses, `clip(σ(log α) (ζ - γ) + γ, 0, 1)`: no noise and no temperature (Eq. 13)."""
        return self._stretch(jax.nn.sigmoid(jnp.asarray(log_alpha)))

    def _stretch(self, s: Array) -> Array:
        return jnp.clip(s * (self.zeta - self.gamma) + self.gamma, 0.0, 1.0)

    def p_nonzero(self, log_alpha: Floats) -> Float[Array, "*shape"]:
        """P(z > 0) = σ(log α - β log(-γ / ζ)): what the L0 penalty sums (Eq. 12)."""
        return jax.nn.sigmoid(jnp.asarray(log_alpha) - self.beta * self._ends[0])

    def p_zero(self, log_alpha: Floats) -> Float[Array, "*shape"]:
        """P(z = 0), accurate also where it is small."""
        return jax.nn.sigmoid(self.beta * self._ends[0] - jnp.asarray(log_alpha))

    def p_one(self, log_alpha: Floats) -> Float[Array, "*shape"]:
        """P(z = 1)."""
        return jax.nn.sigmoid(jnp.asarray(log_alpha) - self.beta * self._ends[1])

    def mean(self, log_alpha: Floats) -> Float[Array, "*shape"]:
        """E z, which is not the test gate; Gauss-Legendre quadrature of P(z > t) over t, 64 nodes."""
        return self._moments(log_alpha)[0]

    def variance(self, log_alpha: Floats) -> Float[Array, "*shape"]:
        """Var z, by the same quadrature."""
        first, second = self._moments(log_alpha)
        return second - first * first

    def _moments(self, log_alpha: Floats) -> tuple[Array, Array]:
        # E z^k = ∫ k t^(k-1) P(z > t) dt over [0, 1]. In the logit l of s the integrand is smooth for every stretch.
        low, high = self._ends
        logit = (high - low) / 2 * _NODES + (high + low) / 2
        s = 1 / (1 + np.exp(-logit))
        t = s * (self.zeta - self.gamma) + self.gamma
        weight = _WEIGHTS * (high - low) / 2 * (self.zeta - self.gamma) * s * (1 - s)
        location = jnp.asarray(log_alpha)
        tail = jax.nn.sigmoid(location[..., None] - jnp.asarray(self.beta * logit, location.dtype))
        first, second = (tail @ jnp.asarray(w, location.dtype) for w in (weight, 2 * t * weight))
        return first, second

    def penalty(self, log_alpha: Floats, size: Floats | float | int = 1) -> Float[Array, ""]:
        """The expected number of weights that are not zero, Σ size · P(z > 0).

        Args:
            log_alpha: one per gate.
            size: the number of weights behind each gate (it broadcasts): the L0 norm counts weights, so a gate on an
                input unit of a dense kernel (in, out) counts `out`, as in the authors' code.
        """
        return jnp.sum(self.p_nonzero(log_alpha) * jnp.asarray(size, jnp.asarray(log_alpha).dtype))

    def citation(self) -> str:
        """The BibTeX entry of the paper."""
        return cite("louizos2018l0")


def init_log_alpha(
    key: PRNGKeyArray, shape: tuple[int, ...], drop_rate: float | int = 0.5, dtype: jnp.dtype | type = jnp.float32
) -> Float[Array, "*shape"]:
    """Initial locations: normal around `log((1 - p) / p)` with standard deviation 0.01, p the rate of closed gates.

    Raises:
        ValueError: a rate outside (0, 1).

    Source: the authors' code of `louizos2018l0`.
    """
    if not 0 < drop_rate < 1:
        raise ValueError(f"drop_rate={drop_rate}: the initial share of closed gates must be inside (0, 1), such as 0.5")
    return math.log((1 - drop_rate) / drop_rate) + 1e-2 * jax.random.normal(key, shape, dtype)


def clamp_log_alpha(log_alpha: Floats) -> Float[Array, "*shape"]:
    """`log_alpha` clipped to [log 0.01, log 100], with gradients that can only lead back inside.

    The authors' code clips the parameter itself after every optimiser step. Here the value is clipped in the forward
    pass, and outside the limits a gradient whose descent would lead further out is zeroed while one that leads back
    passes: a gate can always recover, and no hook has to follow the optimiser.
    """
    return _clamp(jnp.asarray(log_alpha))


@jax.custom_vjp
def _clamp(log_alpha: Array) -> Array:
    return jnp.clip(log_alpha, *LOG_ALPHA_LIMITS)


def _clamp_forward(log_alpha: Array) -> tuple[Array, Array]:
    return _clamp(log_alpha), log_alpha


def _clamp_backward(log_alpha: Array, cotangent: Any) -> tuple[Array]:
    low, high = LOG_ALPHA_LIMITS
    outward = ((log_alpha < low) & (cotangent > 0)) | ((log_alpha > high) & (cotangent < 0))
    return (jnp.where(outward, 0, cotangent).astype(log_alpha.dtype),)


_clamp.defvjp(_clamp_forward, _clamp_backward)
