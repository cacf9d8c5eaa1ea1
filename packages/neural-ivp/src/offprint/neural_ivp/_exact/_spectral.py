"""Reference solutions of periodic equations in one dimension: Fourier in space, high order in time."""

from collections.abc import Callable

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._problem import Field, Real, float_dtype

Derivative = Callable[[Array, int], Array]
"""`D(u, n)`: the n-th derivative of grid values u (k, n_grid)."""


class PeriodicReference:
    """u_t = rhs(u, D) for k fields on a periodic interval, on a grid, as `exact` of a problem.

    Derivatives are those of the trigonometric interpolant; time runs through diffrax's Dormand-Prince method of order
    8 with error control, explicit, because the highest wave that a resolved solution needs is seldom stiff. Called at
    many points by vmap, with one time, it integrates once.

    Args:
        rhs: `rhs(u (k, n), D) -> (k, n)`, local in the values and in the derivatives `D(u, order)`.
        ic: `x (1,) -> (k,)`.
        lo, hi: ends of the interval.
        num_points: of the grid, even.
        tolerance: relative and absolute, for a step in time; by default 1e-10, or 1e-5 in float32.

    Raises:
        ValueError: an odd number of points, or fewer than 4.
    """

    def __init__(
        self,
        rhs: Callable[[Array, Derivative], Array],
        ic: Field,
        lo: float | int,
        hi: float | int,
        num_points: int = 256,
        tolerance: float | None = None,
    ):
        if num_points % 2 or num_points < 4:
            raise ValueError(f"num_points={num_points}; the Fourier grid needs an even number, at least 4")
        self.rhs = rhs
        self.ic = ic
        self.lo = lo
        self.hi = hi
        self.num_points = num_points
        self.tolerance = tolerance

    @property
    def grid(self) -> np.ndarray:
        """(n,) the points, from lo on, without hi."""
        return self.lo + (self.hi - self.lo) * np.arange(self.num_points) / self.num_points

    def solve(self, ts: Float[Array | np.ndarray, "times"]) -> Float[Array, "times k n"]:
        """The fields on the grid at the times ts, which increase from at least 0."""
        dtype = float_dtype()
        tolerance = self.tolerance or (1e-10 if dtype == jnp.float64 else 1e-5)
        start = jax.vmap(self.ic, out_axes=-1)(jnp.asarray(self.grid, dtype)[:, None])
        times = jnp.asarray(ts, dtype)
        # One unit of its own clock for the whole way, so that an end at t = 0 is no special case.
        end = times[-1]
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda s, u, args: end * self.rhs(u, self._derivative)),
            diffrax.Dopri8(),
            t0=0.0,
            t1=1.0,
            dt0=1e-4,
            y0=start,
            saveat=diffrax.SaveAt(ts=times / jnp.where(end > 0, end, 1)),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            adjoint=diffrax.ForwardMode(),
            max_steps=1_000_000,
        )
        assert solution.ys is not None
        return solution.ys

    def __call__(self, x: Float[Array, "1"], t: Real) -> Float[Array, "k"]:
        """(k,) the fields at x and time t; each call in a program integrates anew, `solve` and `at` do it once."""
        return self.at(self.solve(jnp.reshape(jnp.asarray(t, x.dtype), (1,)))[0], x)

    def at(self, values: Float[Array, "*batch n"], x: Float[Array, "1"]) -> Float[Array, "*batch"]:
        """The trigonometric interpolant of grid values, such as those of `solve`, at x."""
        amplitudes = jnp.fft.rfft(values) / self.num_points
        wave = jnp.arange(amplitudes.shape[-1])
        twice = jnp.where((wave == 0) | (wave == self.num_points // 2), 1, 2)  # the others stand for a pair
        angle = 2 * jnp.pi * wave * (x[0] - self.lo) / (self.hi - self.lo)
        parts = twice * (amplitudes.real * jnp.cos(angle) - amplitudes.imag * jnp.sin(angle))
        return parts.sum(axis=-1).astype(x.dtype)

    def _derivative(self, u: Float[Array, "k n"], order: int) -> Float[Array, "k n"]:
        wave = 2 * np.pi / (self.hi - self.lo) * np.arange(self.num_points // 2 + 1)
        factor = (1j * wave) ** order
        if order % 2:
            factor[-1] = 0  # the odd derivative of the highest cosine vanishes on the grid
        spectrum = jnp.fft.rfft(u)
        return jnp.fft.irfft(spectrum * jnp.asarray(factor, spectrum.dtype), n=self.num_points).astype(u.dtype)
