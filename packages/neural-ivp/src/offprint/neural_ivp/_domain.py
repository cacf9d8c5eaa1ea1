"""The spatial domain: an axis-parallel box."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Corner = float | int | Sequence[float | int] | np.ndarray


@dataclass(frozen=True, init=False)
class Box:
    """The box Π [lo_i, hi_i], by default the paper's [-1, 1] in each direction if made by `Box.cube(dim)`.

    It is hashable and static under `jit`.

    Args:
        lo: lower corner, one number for each of the d coordinates.
        hi: upper corner, likewise.

    Raises:
        ValueError: corners of different lengths, a bound that is not finite, lo_i >= hi_i.
    """

    lo: tuple[float, ...]
    hi: tuple[float, ...]

    def __init__(self, lo: Corner, hi: Corner):
        low, high = (np.atleast_1d(np.asarray(corner, dtype=float)) for corner in (lo, hi))
        if low.ndim != 1 or low.shape != high.shape or not low.size:
            raise ValueError(
                f"lo and hi must be vectors of one length, a number for each coordinate, but their shapes are "
                f"{low.shape} and {high.shape}"
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError(f"a box needs finite bounds, but lo={low.tolist()} and hi={high.tolist()}")
        if (low >= high).any():
            i = int(np.argmax(low >= high))
            raise ValueError(f"a box needs lo < hi in every coordinate, but lo[{i}]={low[i]} and hi[{i}]={high[i]}")
        object.__setattr__(self, "lo", tuple(low.tolist()))
        object.__setattr__(self, "hi", tuple(high.tolist()))

    @classmethod
    def cube(cls, dim: int, lo: float | int = -1.0, hi: float | int = 1.0) -> "Box":
        """The cube [lo, hi]^dim.

        Raises:
            ValueError: dim below 1, lo >= hi.
        """
        if dim < 1:
            raise ValueError(f"a cube needs at least one coordinate, but dim={dim}")
        return cls([lo] * dim, [hi] * dim)

    @property
    def dim(self) -> int:
        """The number d of coordinates."""
        return len(self.lo)

    @property
    def lower(self) -> np.ndarray:
        """Lower corner (d,)."""
        return np.array(self.lo)

    @property
    def upper(self) -> np.ndarray:
        """Upper corner (d,)."""
        return np.array(self.hi)

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of the sides (d,)."""
        return self.upper - self.lower

    @property
    def volume(self) -> float:
        """Volume of the box."""
        return float(np.prod(self.lengths))

    def normalize(self, x: Float[Array | np.ndarray, "*batch d"]) -> Float[Array, "*batch d"]:
        """ξ in [-1, 1]^d of a point x of the box; on [-1, 1]^d exactly x."""
        x = jnp.asarray(x)
        scale, shift = 2 / self.lengths, (self.upper + self.lower) / self.lengths
        return x * scale.astype(x.dtype) - shift.astype(x.dtype)

    def from_unit(self, s: Float[Array | np.ndarray, "*batch d"]) -> Float[Array, "*batch d"]:
        """The point with the shares s in [0, 1]^d of the sides."""
        s = jnp.asarray(s)
        return s * self.lengths.astype(s.dtype) + self.lower.astype(s.dtype)

    def uniform(self, key: PRNGKeyArray, n: int) -> Float[Array, "{n} d"]:
        """`n` independent uniform points of the box, in the default float dtype."""
        return self.from_unit(jax.random.uniform(key, (n, self.dim)))

    def boundary(self, key: PRNGKeyArray, n: int) -> Float[Array, "{n} d"]:
        """`n` independent points of the surface, uniform on each of its 2d faces, with all faces equally likely.

        The coordinate across the face is exactly its bound.
        """
        inside, which = jax.random.split(key)
        x = self.uniform(inside, n)
        face = jax.random.randint(which, (n,), 0, 2 * self.dim)
        across = jnp.arange(self.dim) == (face % self.dim)[:, None]
        bound = jnp.where((face < self.dim)[:, None], self.lower.astype(x.dtype), self.upper.astype(x.dtype))
        return jnp.where(across, bound, x)

    def on_boundary(self, x: Float[Array, "*batch d"]) -> Array:
        """Whether a coordinate of x is exactly at its bound: booleans of the shape `batch`."""
        return jnp.any((x == self.lower.astype(x.dtype)) | (x == self.upper.astype(x.dtype)), axis=-1)
