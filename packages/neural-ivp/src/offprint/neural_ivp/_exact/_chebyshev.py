"""A reference solution of the wave equation around a black hole: Chebyshev collocation."""

from collections.abc import Sequence
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._problem import Field, Real, float_dtype


class CurvedWaveReference:
    """φ_tt = (1 - r_s/r) ∂_i(g^ij ∂_j φ) on a box with φ = 0 on its boundary, for `problems.wave_maps`.

    Collocation on the tensor grid of Chebyshev points with dense differentiation along each axis, and diffrax's
    Dormand-Prince method of order 8 in time. 32 intervals give about 2e-6 in φ at t = 0.5 for the default pulse.

    Args:
        ic: (φ, φ_t) at t = 0, `x (3,) -> (2,)`: the `ic` of the problem.
        mass, hole: as in `problems.wave_maps`.
        domain: by default [-1, 1]³.
        num_intervals: n for each axis; n + 1 points.
        tolerance: for a step in time.
    """

    def __init__(
        self,
        ic: Field,
        mass: float | int = 0.5,
        hole: Sequence[float | int] | np.ndarray = (-2.0, 0.0, 0.0),
        domain: Box | None = None,
        num_intervals: int = 32,
        tolerance: float | int = 1e-8,
    ):
        self.ic = ic
        self.domain = Box.cube(3) if domain is None else domain
        self.num_intervals = num_intervals
        self.tolerance = tolerance
        self.mass = mass
        self.hole = np.asarray(hole, dtype=float)

    @property
    def axes(self) -> list[np.ndarray]:
        """The points of each axis, from hi down to lo."""
        unit = np.cos(np.pi * np.arange(self.num_intervals + 1) / self.num_intervals)
        return [lo + (hi - lo) * (unit + 1) / 2 for lo, hi in zip(self.domain.lo, self.domain.hi)]

    def solve(self, ts: Float[Array | np.ndarray, "times"]) -> Float[Array, "times 2 a b c"]:
        """(φ, φ_t) on the grid at the times ts, which increase from 0."""
        dtype = float_dtype()
        points = np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1)
        inside = np.ones(points.shape[:-1])
        for axis in range(3):
            for end in (0, -1):
                np.moveaxis(inside, axis, 0)[end] = 0
        start = jax.lax.map(self.ic, jnp.asarray(points.reshape(-1, 3), dtype), batch_size=4096)
        start = jnp.moveaxis(start.reshape(*points.shape[:-1], 2), -1, 0) * jnp.asarray(inside, dtype)
        fields = [jnp.asarray(array, dtype) for array in (*self._geometry(points), inside)]
        return _integrate(start, fields, self._matrices(dtype), jnp.asarray(ts, dtype), self.tolerance)

    def at(
        self, values: Float[Array | np.ndarray, "*fields a b c"], X: Float[Array | np.ndarray, "m 3"]
    ) -> Float[Array, "*fields m"]:
        """The polynomial through grid values, such as those of `solve`, at any points of the box."""
        values = jnp.asarray(values)
        rows = [
            jnp.asarray(_interpolation(axis, np.asarray(X)[:, i]), values.dtype) for i, axis in enumerate(self.axes)
        ]
        return jnp.einsum("ma,mb,mc,...abc->...m", *rows, values, optimize="greedy")

    def _geometry(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """1 - r_s/r, r_s/r and r̂ (3, ...) on the grid."""
        away = points - self.hole
        r = np.linalg.norm(away, axis=-1)
        return 1 - 2 * self.mass / r, 2 * self.mass / r, np.moveaxis(away / r[..., None], -1, 0)

    def _matrices(self, dtype: jnp.dtype) -> list[Array]:
        matrix = chebyshev_matrix(self.num_intervals)
        return [jnp.asarray(matrix * 2 / side, dtype) for side in self.domain.lengths]


@jax.jit
def _integrate(start: Array, fields: list[Array], matrices: list[Array], ts: Array, tolerance: Real) -> Array:
    lapse, pull, unit, inside = fields

    def derivative(values: Array, axis: int) -> Array:
        return jnp.moveaxis(jnp.tensordot(matrices[axis], values, axes=(1, axis)), 0, axis)

    def rhs(t: Any, y: Array, args: Any) -> Array:
        slope = jnp.stack([derivative(y[0], i) for i in range(3)])
        flux = slope - pull * unit * (unit * slope).sum(axis=0)
        acceleration = lapse * sum(derivative(flux[i], i) for i in range(3))
        return jnp.stack([y[1], acceleration * inside])

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rhs),
        diffrax.Dopri8(),
        t0=0.0,
        t1=ts[-1],
        dt0=1e-3,
        y0=start,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        adjoint=diffrax.ForwardMode(),
        max_steps=100_000,
    )
    assert solution.ys is not None
    return solution.ys


def chebyshev_matrix(n: int) -> np.ndarray:
    """(n + 1, n + 1) derivative at the points cos(π j / n) of the polynomial through values there."""
    x = np.cos(np.pi * np.arange(n + 1) / n)
    c = np.where((np.arange(n + 1) == 0) | (np.arange(n + 1) == n), 2.0, 1.0) * (-1.0) ** np.arange(n + 1)
    matrix = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(n + 1))
    # Rows of a derivative sum to zero: set the diagonal so, which also cancels most of the round-off.
    return matrix - np.diag(matrix.sum(axis=1))


def _interpolation(nodes: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(m, n + 1) barycentric weights of the values at Chebyshev points for the values at x."""
    n = len(nodes) - 1
    weights = (-1.0) ** np.arange(n + 1)
    weights[[0, -1]] /= 2
    gap = x[:, None] - nodes
    hit = gap == 0
    rows = weights / np.where(hit, 1.0, gap)
    rows = np.where(hit.any(axis=1, keepdims=True), hit, rows)
    return rows / rows.sum(axis=1, keepdims=True)
