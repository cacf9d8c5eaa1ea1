"""What can be told about a problem before it is solved: finite values, the boundary, the order, the network."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from offprint.neural_ivp._problem import Field, Problem, float_dtype

NUM_POINTS = 1024
BOUNDARY_TOLERANCE = 1e-4
"""Share of the largest value that the initial condition may have on a Dirichlet boundary without a warning."""


def check_problem(problem: Problem, key: PRNGKeyArray, t: float | int = 0.0) -> None:
    """Evaluate the problem at random points; outside jit, once, before solving.

    Args:
        problem: its pde is evaluated with `u = ic`.
        key: of the points.
        t: time at which the solve starts.

    Raises:
        ValueError: a value that is not finite, with the first point where it happens.

    Warns:
        UserWarning: an initial condition that is not what the boundary condition says on a Dirichlet face.
    """
    inside, faces = jax.random.split(key)
    middle = jnp.asarray((problem.domain.lower + problem.domain.upper) / 2, float_dtype())
    X = jnp.concatenate([middle[None], problem.domain.uniform(inside, NUM_POINTS - 1)])
    values = np.asarray(jax.jit(jax.vmap(problem.ic))(X))
    _check_finite("ic", values, X)
    rates = jax.jit(jax.vmap(lambda x: problem.pde(problem.ic, x, t)))(X)
    _check_finite("pde (with u = ic)", np.asarray(rates), X)
    _check_boundary(problem, float(np.abs(values).max()), faces, t)


def check_model(problem: Problem, u: Field) -> None:
    """See whether a network fits the problem; outside jit, once, before solving.

    Args:
        problem: the problem.
        u: the network at its start, `x (d,) -> (n_fields,)`.

    Raises:
        ValueError: a network for points of another dimension, or with another number of outputs.

    Warns:
        UserWarning: a network with rectified linear units for an equation with second derivatives.
    """
    x = jax.ShapeDtypeStruct((problem.dim,), float_dtype())
    try:
        shape = jax.eval_shape(u, x).shape
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"the model failed at one x of shape {x.shape}, a point of the domain: {error}") from error
    if shape != (problem.n_fields,):
        raise ValueError(
            f"the model returns shape {shape} at one x of shape {x.shape}; the problem has n_fields={problem.n_fields}"
        )
    if has_relu(u, problem.dim) and spatial_order(problem) >= 2:
        warnings.warn(
            "the model has rectified linear units and the pde has second derivatives: those of such a network are 0 "
            "almost everywhere; take a smooth activation, such as swish or tanh",
            stacklevel=2,
        )


def spatial_order(problem: Problem, t: float | int = 0.0) -> int:
    """The highest derivative of u that the pde takes at a point, from 0 to 4.

    Found by adding to a smooth function (w·(y - x))^m, of which only the m-th derivatives at x are not 0: they change
    the right-hand side if it has them, and else by nothing but round-off.
    """
    d, k = problem.dim, problem.n_fields
    x = jnp.asarray(problem.domain.lower + 0.37 * problem.domain.lengths, float_dtype())
    w = jnp.asarray(1 + 0.1 * np.arange(d), x.dtype)
    mixing = jnp.asarray(1 + 0.2 * np.arange(k), x.dtype)

    def rate(amounts: Array) -> Array:
        def u(y: Array) -> Array:
            s = w @ (y - x)
            added = sum(amounts[m] * s**m for m in range(5))
            return jnp.sin(y.sum() + mixing) + mixing * added

        return problem.pde(u, x, t)

    rates = np.asarray(jax.jit(jax.vmap(rate))(jnp.concatenate([jnp.zeros((1, 5)), jnp.eye(5)]).astype(x.dtype)))
    change = np.abs(rates[1:] - rates[0]).max(axis=1)
    seen = change > 16 * np.finfo(rates.dtype).eps * (np.abs(rates[0]).max() + change.max())
    return int(np.flatnonzero(seen).max(initial=0))


def has_relu(u: Callable[[Array], Any], dim: int) -> bool:
    """Whether a function of a point takes the maximum with a constant, as rectified linear units do."""
    closed = jax.make_jaxpr(u)(jax.ShapeDtypeStruct((dim,), float_dtype()))
    return any(
        eqn.primitive.name == "max" and any(hasattr(operand, "val") for operand in eqn.invars)
        for eqn in _equations(closed.jaxpr)
    )


def _equations(jaxpr: Any) -> Iterator[Any]:
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def _check_finite(what: str, values: np.ndarray, X: Array) -> None:
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{what} is not finite at {bad.sum()} of {len(bad)} points, first at x={np.asarray(X[first]).tolist()}, "
            f"where it is {values[first].tolist()}; a singular coefficient or metric? Choose a domain without it"
        )


def _check_boundary(problem: Problem, scale: float, key: PRNGKeyArray, t: float | int) -> None:
    X = _dirichlet_points(problem, key)
    if not len(X):
        return
    given = problem.bc.lifting
    wanted = (lambda x: jnp.zeros(problem.n_fields, x.dtype)) if given is None else (lambda x: given(x, t))
    gaps = np.abs(np.asarray(jax.jit(jax.vmap(lambda x: problem.ic(x) - wanted(x)))(X))).max(axis=1)
    worst = int(gaps.argmax())
    if gaps[worst] > max(BOUNDARY_TOLERANCE * scale, 1e-8):
        what = "is not zero on the zero-Dirichlet boundary" if given is None else "differs from the boundary values"
        share = f"{gaps[worst] / scale:.2g} of its size inside" if scale else "inside it is zero"
        warnings.warn(
            f"ic {what}: up to {gaps[worst]:.3g}, {share}, at x={np.asarray(X[worst]).tolist()}; the network cannot "
            "fit it there. Enlarge the domain, or choose another bc",
            stacklevel=3,
        )


def _dirichlet_points(problem: Problem, key: PRNGKeyArray) -> Array:
    """(m, d) the middles of the Dirichlet faces, and random points of them."""
    box, d = problem.domain, problem.dim
    points = []
    for axis, kinds in enumerate(problem.bc.faces(d)):
        for side, (kind, bound) in enumerate(zip(kinds, (box.lo[axis], box.hi[axis]))):
            if kind == "dirichlet":
                random = box.uniform(jax.random.fold_in(key, 2 * axis + side), 32)
                middle = jnp.asarray((box.lower + box.upper) / 2, random.dtype)[None]
                points.append(jnp.concatenate([middle, random]).at[:, axis].set(bound))
    return jnp.concatenate(points) if points else jnp.zeros((0, d))
