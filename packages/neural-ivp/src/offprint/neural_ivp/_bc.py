"""Boundary conditions, built into the network: u(x, t) = G(x, t) + B(x) net(x)."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._domain import Box

Kind = Literal["dirichlet", "neumann", "periodic", "free"]
Faces = tuple[tuple[Kind, Kind], ...]  # the kinds of the lower and the upper face, for each direction
Lifting = Callable[[Array, Array | float | int], Array]  # G(x, t): a point (d,) and a time to (k,)


class BoundaryCondition(ABC):
    """What the network is made to satisfy on the 2d faces of the box, whatever its weights are.

    A Dirichlet face is a zero of the factor B, a periodic or Neumann direction is a symmetry of the network's
    inputs, and given values are carried by the lifting G.
    """

    @abstractmethod
    def faces(self, dim: int) -> Faces:
        """The kinds of the two faces of each of `dim` directions.

        Raises:
            ValueError: the condition is for another number of directions.
        """

    @property
    def lifting(self) -> Lifting | None:
        """G(x, t) -> (k,), or None where it is zero."""
        return None

    def factor(self, domain: Box, x: Float[Array, " d"]) -> Float[Array, ""]:
        """B(x): exactly 0 on Dirichlet faces, at most 1, and even about a Neumann face.

        With Dirichlet conditions on all faces it is Π (1 - ξ_i²).
        """
        return _factor(domain, self.faces(domain.dim), x)


@dataclass(frozen=True)
class ZeroDirichlet(BoundaryCondition):
    """u = 0 on all faces, by the factor Π (1 - ξ_i²)."""

    def faces(self, dim: int) -> Faces:
        return (("dirichlet", "dirichlet"),) * dim


@dataclass(frozen=True)
class Dirichlet(BoundaryCondition):
    """u = G on all faces.

    Args:
        G: `G(x, t) -> (k,)`, defined and smooth in the whole box: a point (d,) and a time to all fields. It may
            depend on time; the projection then matches f - ∂G/∂t.
    """

    G: Lifting

    def faces(self, dim: int) -> Faces:
        return (("dirichlet", "dirichlet"),) * dim

    @property
    def lifting(self) -> Lifting | None:
        return self.G


@dataclass(frozen=True)
class Periodic(BoundaryCondition):
    """u and all its derivatives agree on opposite faces: inputs with whole numbers of periods, B = 1."""

    def faces(self, dim: int) -> Faces:
        return (("periodic", "periodic"),) * dim


@dataclass(frozen=True)
class Neumann(BoundaryCondition):
    """∂u/∂n = 0 on all faces: inputs that are even about each face, B = 1."""

    def faces(self, dim: int) -> Faces:
        return (("neumann", "neumann"),) * dim


@dataclass(frozen=True)
class Free(BoundaryCondition):
    """No condition, as for outflow or for all of space cut off: B = 1."""

    def faces(self, dim: int) -> Faces:
        return (("free", "free"),) * dim


@dataclass(frozen=True, init=False)
class Mixed(BoundaryCondition):
    """A kind for every face.

    Args:
        kinds: for each direction one kind for both faces, or a pair (lower, upper). The kinds are "dirichlet",
            "neumann", "periodic" (both faces or none) and "free".
        G: values on the Dirichlet faces as `G(x, t) -> (k,)`, zero when None. It must itself satisfy the periodic
            and Neumann conditions.

    Raises:
        ValueError: an unknown kind; periodic on one face alone.
    """

    kinds: Faces
    G: Lifting | None

    def __init__(self, kinds: Sequence[str | tuple[str, str]], G: Lifting | None = None):
        object.__setattr__(self, "kinds", tuple(_pair(i, kind) for i, kind in enumerate(kinds)))
        object.__setattr__(self, "G", G)

    def faces(self, dim: int) -> Faces:
        if len(self.kinds) != dim:
            raise ValueError(f"Mixed has faces for {len(self.kinds)} directions, but the domain has {dim}")
        return self.kinds

    @property
    def lifting(self) -> Lifting | None:
        return self.G


@dataclass(frozen=True)
class Penalty(BoundaryCondition):
    """u = value on all faces, approximately: points on the boundary join the projection, with B = 1.

    On these points the solution relaxes to the value, u_t = ∂value/∂t - rate·(u - value), which
    [`penalized`][offprint.neural_ivp.penalized] adds to a problem and its sampler.

    Args:
        value: `value(x, t) -> (k,)`.
        weight: of the boundary's mean square residual against the interior's.
        rate: how fast a deviation decays, in units of 1/time.
        share: points on the boundary for each point inside.

    Raises:
        ValueError: a number that is not positive.
    """

    value: Lifting
    weight: float | int = 1.0
    rate: float | int = 10.0
    share: float | int = 0.2

    def __post_init__(self):
        for name in ("weight", "rate", "share"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} of a penalty must be positive, but is {getattr(self, name)}")

    def faces(self, dim: int) -> Faces:
        return (("free", "free"),) * dim


def _pair(i: int, given: str | tuple[str, str]) -> tuple[str, str]:
    pair = (given, given) if isinstance(given, str) else tuple(given)
    if len(pair) != 2 or not set(pair) <= set(get_args(Kind)):
        raise ValueError(
            f"direction {i} must have one of the kinds {', '.join(get_args(Kind))}, or a pair of them, but is {given!r}"
        )
    if "periodic" in pair and pair != ("periodic", "periodic"):
        raise ValueError(f"direction {i} is periodic on one face alone, {pair}; make both faces periodic")
    return pair


def _factor(domain: Box, faces: Faces, x: Float[Array, " d"]) -> Float[Array, ""]:
    """Distances from the faces, not 1 - ξ², because these are exactly 0 on the faces in floating point."""
    if not any("dirichlet" in pair for pair in faces):
        return jnp.ones((), x.dtype)
    low, high = (np.array([pair[side] == "dirichlet" for pair in faces]) for side in (0, 1))
    even_low, even_high = (np.array([pair[side] == "neumann" for pair in faces]) for side in (0, 1))
    unit = (1 / domain.lengths).astype(x.dtype)
    from_low = (x - domain.lower.astype(x.dtype)) * unit
    from_high = (domain.upper.astype(x.dtype) - x) * unit
    product = jnp.where(low, from_low, 1) * jnp.where(high, from_high, 1) * np.where(low & high, 4, 1).astype(x.dtype)
    # s (2 - s) and (1 - s) (1 + s): zero on the Dirichlet face, with zero slope on the Neumann face opposite to it
    product *= jnp.where(low & even_high, 1 + from_high, 1) * jnp.where(high & even_low, 1 + from_low, 1)
    return reduce(operator.mul, product)  # not jnp.prod, whose higher derivatives are dear
