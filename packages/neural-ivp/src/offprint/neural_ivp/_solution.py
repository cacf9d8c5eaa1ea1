"""The solution of an initial-value problem: weights at the output times, and everything that happened between."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from offprint.neural_ivp._functional import Functional, functional
from offprint.neural_ivp._problem import Problem

FORMAT = "offprint-neural-ivp solution 1"


@dataclass(frozen=True, eq=False)
class Solution:
    """What `solve_ivp` gives.

    `sol(X, i)` are the values at the output time `ts[i]`, `sol(X, t=...)` those at a time between.
    """

    ts: Float[np.ndarray, " n"]
    """The output times that were reached: all that were asked for if `status` is "finished"."""
    thetas: Float[np.ndarray, "n p"]
    """The weights at these times, flat."""
    apply: Functional = field(repr=False)
    """The network, `apply(theta, x, t)`."""
    problem: Problem = field(repr=False)
    """The problem."""
    history: np.ndarray = field(repr=False)
    """A structured array with an entry for every attempted step, `history["rho"]`; `history.dtype.names` lists what
    there is: time `t` at its start, the step `h` tried, `accepted`, `error` relative to the solution, the relative
    residuals `rho` and `rho_fresh` on the points of the solve and on fresh ones, `cg_iters`, norms of theta and of its
    velocity, and so on."""
    restarts: tuple[dict[str, Any], ...]
    """The fits: the first one and every restart, with `t`, `reason`, `error`, `kept` and `seconds`."""
    status: str
    """"finished", or why not: "non-finite", "residual", "step size", "max steps" or "callback"."""
    message: str
    """The same in words."""
    t_last: float
    """The time that was reached."""
    theta_last: Float[np.ndarray, " p"] = field(repr=False)
    """The last good weights, at `t_last`."""
    num_rhs: int
    """Right-hand sides evaluated."""

    @property
    def success(self) -> bool:
        """Whether the last output time was reached."""
        return self.status == "finished"

    def params(self, i: int) -> PyTree:
        """The parameters of the network at `ts[i]`, as a pytree."""
        return self.apply.unflatten(jnp.asarray(self.thetas[i]))

    def model(self, i: int) -> nnx.Module:
        """The network at `ts[i]`, an NNX module."""
        return self.apply.model(jnp.asarray(self.thetas[i]))

    def __call__(
        self, x: Float[Array | np.ndarray, "*batch d"], i: int | None = None, *, t: float | int | None = None
    ) -> Float[Array, "*batch k"]:
        """Values of the solution.

        Between two outputs they are interpolated by a cubic in time whose slopes u_t = L[u] come from the equation.

        Args:
            x: one point (d,) or many.
            i: number of the output, from the end if negative.
            t: or a time, between the first and the last output.

        Returns:
            The k fields at each point.

        Raises:
            ValueError: neither or both of i and t, or a time that was not reached.
            IndexError: no such output.
        """
        if (i is None) == (t is None):
            raise ValueError("give either i, the number of an output, or t, a time")
        points = jnp.asarray(x)
        flat = points.reshape(-1, points.shape[-1])
        if i is not None:
            values = _values(self.apply, jnp.asarray(self.thetas[i]), flat, float(self.ts[i]))
        else:
            assert t is not None
            values = self._between(flat, float(t))
        return values.reshape(*points.shape[:-1], -1)

    def _between(self, x: Array, t: float) -> Array:
        if not self.ts[0] <= t <= self.ts[-1]:
            raise ValueError(f"t = {t} is not between the first and the last output, {self.ts[0]} and {self.ts[-1]}")
        i = int(np.searchsorted(self.ts, t))
        if self.ts[i] == t:
            return _values(self.apply, jnp.asarray(self.thetas[i]), x, t)
        a, b = self.ts[i - 1], self.ts[i]
        s, width = (t - a) / (b - a), b - a
        (u, f), (v, g) = (self._with_slope(x, j) for j in (i - 1, i))
        return (
            (1 + 2 * s) * (1 - s) ** 2 * u
            + s**2 * (3 - 2 * s) * v
            + width * (s * (1 - s) ** 2 * f - s**2 * (1 - s) * g)
        )

    def _with_slope(self, x: Array, i: int) -> tuple[Array, Array]:
        theta, t = jnp.asarray(self.thetas[i]), float(self.ts[i])
        return _values(self.apply, theta, x, t), _slopes(self.apply, self.problem, theta, x, t)

    def save(self, path: str | Path) -> None:
        """Write an `.npz` file that [`load`][offprint.neural_ivp.load] reads; no pickles are in it."""
        columns: dict[str, Any] = {f"history_{name}": self.history[name] for name in self.history.dtype.names or ()}
        text = {"restarts": self.restarts, "status": self.status, "message": self.message, "format": FORMAT}
        with Path(path).open("wb") as file:
            np.savez(
                file,
                ts=self.ts,
                thetas=self.thetas,
                t_last=self.t_last,
                theta_last=self.theta_last,
                num_rhs=self.num_rhs,
                text=json.dumps(text),
                **columns,
            )


def load(path: str | Path, problem: Problem, model: nnx.Module | Functional) -> Solution:
    """Read a solution that was saved.

    Args:
        path: the file.
        problem: the problem that was solved.
        model: a network of the same kind (its weights do not matter), or its `Functional`.

    Returns:
        The solution.

    Raises:
        ValueError: not such a file, or a network with another number of weights.
    """
    apply = model if isinstance(model, Functional) else functional(model, domain=problem.domain)[0]
    with np.load(path, allow_pickle=False) as arrays:
        if "text" not in arrays or json.loads(str(arrays["text"])).get("format") != FORMAT:
            raise ValueError(f"{path} is no solution that was saved by this package")
        text = json.loads(str(arrays["text"]))
        names = [name for name in arrays.files if name.startswith("history_")]
        columns = {name.removeprefix("history_"): arrays[name] for name in names}
        thetas = arrays["thetas"]
        if thetas.shape[1] != apply.num_params:
            raise ValueError(
                f"{path} holds networks of {thetas.shape[1]} weights, but the model given has {apply.num_params}"
            )
        return Solution(
            ts=arrays["ts"],
            thetas=thetas,
            apply=apply,
            problem=problem,
            history=structured(columns),
            restarts=tuple(text["restarts"]),
            status=text["status"],
            message=text["message"],
            t_last=float(arrays["t_last"]),
            theta_last=arrays["theta_last"],
            num_rhs=int(arrays["num_rhs"]),
        )


FIRST = ("step", "t", "h", "accepted", "error", "rho", "rho_fresh", "cg_iters")
"""The columns of the history that come first."""

WHOLE = {"step": np.int64, "accepted": np.bool_, "cg_iters": np.int64, "bad_stage": np.int64}


def structured(columns: dict[str, Any]) -> np.ndarray:
    """Columns as one structured array: float64 but for what is counted or true and false."""
    columns = {name: columns[name] for name in sorted(columns, key=lambda name: (*FIRST, name).index(name))}
    kinds = [(name, WHOLE.get(name, np.float64)) for name in columns]
    table = np.zeros(len(next(iter(columns.values()), ())), kinds)
    for name, values in columns.items():
        table[name] = values
    return table


@jax.jit(static_argnums=0)
def _values(apply: Functional, theta: Array, x: Array, t: Any) -> Array:
    return apply.values(theta, x, t)


@jax.jit(static_argnums=(0, 1))
def _slopes(apply: Functional, problem: Problem, theta: Array, x: Array, t: Any) -> Array:
    # with moving boundary values G the whole slope is wanted, not that of the network alone
    def one(point: Array) -> Array:
        return problem.pde(lambda y: apply(theta, y, t), point, t)

    return jax.vmap(one)(x)
