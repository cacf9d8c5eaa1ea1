"""Sines and cosines of the coordinates as inputs of the network (paper, sec. 4: sinusoidal embedding)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._bc import Faces
from offprint.neural_ivp._domain import Box


def sinusoidal_embedding(
    x: Float[Array | np.ndarray, " d"], n_freq: int, alpha: float | int, gain: float | int = 4.0
) -> Float[Array, " features"]:
    """gain·sin(ω_l x_i)/ω_l^α and gain·cos(ω_l x_i)/ω_l^α with ω_l = (π/2) 2^l, l = 0 … n_freq-1.

    All sines come first; the order is that of (l, i). The m-th derivative of frequency ω grows as ω^(m-α): a large
    α keeps derivatives small, a small one gives the network more detail.

    Args:
        x: one point (d,) of [-1, 1]^d.
        n_freq: how many octaves L.
        alpha: how fast the amplitude falls with the frequency.
        gain: the amplitude's factor.

    Returns:
        2·L·d features.

    Raises:
        ValueError: n_freq below 1.
    """
    if n_freq < 1:
        raise ValueError(f"an embedding needs at least one frequency, but n_freq={n_freq}")
    return _waves(jnp.asarray(x), np.full(x.shape[0], np.pi / 2), np.ones(x.shape[0], bool), n_freq, alpha, gain)


def embed(
    domain: Box, faces: Faces, x: Float[Array, " d"], n_freq: int, alpha: float | int, gain: float | int
) -> Float[Array, " features"]:
    """The embedding that has the symmetries which the faces ask for.

    In a direction without conditions, or with Dirichlet conditions alone, it is `sinusoidal_embedding` of the
    normalised coordinate ξ. A periodic direction has the frequencies π 2^l, each with a whole number of periods in
    the box. A Neumann direction has cosines alone, even about the face with the condition: (π/2) 2^l where both
    faces have it, (π/4) 2^l where one has it, so that the other face stays free.
    """
    lowest, shift, has_sine = (np.array(column) for column in zip(*[_direction(*pair) for pair in faces]))
    xi = domain.normalize(x)
    return _waves(xi + shift.astype(xi.dtype), lowest, has_sine, n_freq, alpha, gain)


def _direction(low: str, high: str) -> tuple[float, float, bool]:
    """Lowest frequency, the shift of ξ, and whether there are sines, of one direction."""
    if low == "periodic":
        return np.pi, 0.0, True
    if low == "neumann":
        return (np.pi / 2 if high == "neumann" else np.pi / 4), 1.0, False
    if high == "neumann":
        return np.pi / 4, -1.0, False
    return np.pi / 2, 0.0, True


def _waves(
    z: Float[Array, " d"], lowest: np.ndarray, has_sine: np.ndarray, n_freq: int, alpha: float | int, gain: float | int
) -> Float[Array, " features"]:
    omega = np.outer(2.0 ** np.arange(n_freq), lowest)
    amplitude = (gain / omega**alpha).astype(z.dtype)
    phase = omega.astype(z.dtype) * z
    sines = (amplitude * jnp.sin(phase))[:, np.flatnonzero(has_sine)]
    return jnp.concatenate([sines.reshape(-1), (amplitude * jnp.cos(phase)).reshape(-1)])


def n_features(faces: Faces, n_freq: int) -> int:
    """How many features `embed` gives."""
    return n_freq * sum(1 + _direction(*pair)[2] for pair in faces)
