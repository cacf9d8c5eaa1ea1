"""What is solved: u_t = pde(u, x, t) on a box, from u(x, 0) = ic(x)."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._bc import ZeroDirichlet
from offprint.neural_ivp._domain import Box

Field = Callable[[Array], Array]
"""A function of one point, `x (d,) -> (n_fields,)`."""

Real = float | int | Array
"""A number, perhaps a traced one: coefficients of a problem can be differentiated through a solve."""


@dataclass(frozen=True, eq=False)
class Problem:
    """An initial-value problem u_t = L[u], first order in time, for n_fields components on a box of d dimensions.

    Everything is written for one point x of shape (d,); the solver maps over points. An equation of second order in
    time becomes one of first order: u_tt = A u is (u, w) with u_t = w, w_t = A u. Two problems are equal when they
    are the same object, so that one serves as a static argument of a jitted function: build it once, outside loops.

    Attributes:
        pde: `pde(u, x, t) -> (n_fields,)`, the right-hand side L[u](x, t); `u` is a function of a point, to be
            differentiated by `offprint.neural_ivp.ops` or by JAX.
        ic: `ic(x) -> (n_fields,)`, the initial condition.
        domain: the box.
        bc: boundary condition, built into networks; zero on the boundary when not given.
        n_fields: number of components k.
        exact: `exact(x, t) -> (n_fields,)`, a solution to compare with, or None.
        name: for messages and tables.
        conserved: quantities to watch, `offprint.neural_ivp._conserved.Quantity`.

    Raises:
        ValueError: pde or ic that does not give (n_fields,) from one point.
    """

    pde: Callable[[Field, Array, Any], Array]
    ic: Field
    domain: Box
    bc: Any = field(default_factory=ZeroDirichlet)
    n_fields: int = 1
    exact: Callable[[Array, Any], Array] | None = None
    name: str = ""
    conserved: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if self.n_fields < 1:
            raise ValueError(f"n_fields={self.n_fields}; a problem has at least 1 field")
        x = jax.ShapeDtypeStruct((self.dim,), float_dtype())
        _check_shape("ic", lambda x: self.ic(x), x, self.n_fields)
        # A stand-in of the right shape, so that a wrong pde is told from a wrong ic.
        _check_shape("pde", lambda x: self.pde(_stand_in(self.n_fields), x, jnp.zeros((), x.dtype)), x, self.n_fields)

    @property
    def dim(self) -> int:
        """Number of space dimensions d."""
        return self.domain.dim

    def replace(self, **changes: Any) -> "Problem":
        """The same problem with some of its fields changed."""
        return dataclasses.replace(self, **changes)


def check_positive(**values: Real) -> None:
    """Raise unless every number is positive; what is traced is not looked at.

    Raises:
        ValueError: the first that is not.
    """
    for name, value in values.items():
        if not isinstance(value, jax.core.Tracer) and not np.all(np.asarray(value) > 0):
            raise ValueError(f"{name}={value}; it must be positive")


def float_dtype() -> Any:
    """float64 where JAX has it switched on, otherwise float32."""
    return jnp.result_type(float)


def _stand_in(n_fields: int) -> Field:
    """A smooth function that depends on every coordinate; only its shape matters."""

    def u(x: Float[Array, "d"]) -> Float[Array, "k"]:
        if x.ndim != 1:
            raise ValueError(f"u was called with an x of shape {x.shape}")
        return jnp.sin(x.sum() + jnp.arange(1, n_fields + 1, dtype=x.dtype))

    return u


def _check_shape(what: str, function: Callable[[Array], Array], x: jax.ShapeDtypeStruct, n_fields: int) -> None:
    """Trace `function` at one point, without computing anything, and look at what comes out."""
    try:
        out = jax.eval_shape(function, x)
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"{what} failed at one point: {error}\n{what} is given one x of shape {x.shape}, no batch of points: "
            "mapping over points (vmap) is done for you"
        ) from error
    shape = getattr(out, "shape", type(out).__name__)
    if shape != (n_fields,):
        hint = "write value[None] or jnp.stack([...])" if shape == () else "one number for each field is needed"
        raise ValueError(
            f"{what} must return shape ({n_fields},) (n_fields={n_fields}) at one x of shape {x.shape}, got {shape}; "
            f"{hint}"
        )
