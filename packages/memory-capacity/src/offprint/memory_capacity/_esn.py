"""Echo state network: a fixed reservoir with a trained linear readout (Jaeger 2001), as a flax module."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._simulate import Activation, Method, simulate

RIDGE_SOLVERS = ("svd", "qr", "cholesky")


class Fixed(nnx.Variable):
    """A parameter that is drawn and never trained: no `nnx.Param`, so that optimisers leave it alone."""


class ESN(nnx.Module):
    """An echo state network x_t = (1-leak) x_{t-1} + leak f(A x_{t-1} + C z_t + bias), y_t = W x_t + offset.

    `A` (N, N), `C` (N,) or (N, m), `bias` (N,) and `leak` are `Fixed` variables; the readout `weights`
    (N, outputs) and `offset` (outputs,) are `nnx.Param`, zero until `fit`, and can be trained by gradient
    too. Arguments and errors as in `simulate`.
    """

    def __init__(
        self,
        A: ArrayLike,
        C: ArrayLike,
        *,
        n_outputs: int = 1,
        activation: Activation = "tanh",
        leak: float | int = 1.0,
        bias: ArrayLike | None = None,
        washout: int = 100,
        method: Method = "scan",
    ):
        matrix, mask = arguments.network(A, C)
        n_neurons = matrix.shape[0]
        self.A, self.C = Fixed(matrix), Fixed(mask)
        self.bias = Fixed(jnp.zeros(n_neurons, matrix.dtype) if bias is None else arguments.real_array("bias", bias))
        self.leak = Fixed(jnp.asarray(arguments.fraction("leak", leak), matrix.dtype))
        self.weights = nnx.Param(jnp.zeros((n_neurons, arguments.count("n_outputs", n_outputs)), matrix.dtype))
        self.offset = nnx.Param(jnp.zeros(n_outputs, matrix.dtype))
        self.activation, self.washout, self.method = activation, washout, method

    def states(self, z: ArrayLike, *, x0: ArrayLike | None = None) -> Float[Array, "time neurons"]:
        """States (T - washout, N) for inputs (T,) or (T, m)."""
        return simulate(
            self.A[...],
            self.C[...],
            z,
            activation=self.activation,
            leak=self.leak[...],
            bias=self.bias[...],
            x0=x0,
            washout=self.washout,
            method=self.method,
        )

    def __call__(self, z: ArrayLike, *, x0: ArrayLike | None = None) -> Float[Array, "time outputs"]:
        """Outputs (T - washout, outputs) for inputs (T,) or (T, m); row t belongs to input washout + t."""
        X = self.states(z, x0=x0)
        return jnp.matmul(X, self.weights[...], precision=jax.lax.Precision.HIGHEST) + self.offset[...]

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        alpha: float | Float[Array, ""] = 1e-6,
        solver: Literal["svd", "qr", "cholesky"] | str = "svd",
    ) -> "ESN":
        """Sets the readout by ridge regression, and returns the network.

        `X` are inputs (T,) or (T, m), `Y` targets (T,) or (T, outputs) of the same times, whose first
        `washout` rows are dropped with the states. `alpha`, `solver` and errors as in `ridge_readout`.
        """
        targets = arguments.real_array("Y", Y)
        states = self.states(X)
        if targets.shape[0] != states.shape[0] + self.washout:
            raise ValueError(
                f"Y has {targets.shape[0]} rows and X has {states.shape[0] + self.washout}; they are of the same times."
            )
        weights, offset = ridge_readout(states, targets[self.washout :], alpha, solver)
        if weights.shape != self.weights[...].shape:
            raise ValueError(
                f"Y has {weights.shape[1]} outputs and the network {self.weights[...].shape[1]}; "
                f"make it with n_outputs={weights.shape[1]}."
            )
        self.weights[...], self.offset[...] = weights, offset
        return self


def ridge_readout(
    states: ArrayLike,
    targets: ArrayLike,
    alpha: float | Float[Array, ""] = 1e-6,
    solver: Literal["svd", "qr", "cholesky"] | str = "svd",
) -> tuple[Float[Array, "neurons outputs"], Float[Array, "outputs"]]:
    """Weights (N, outputs) and offset (outputs,) that minimise sum ‖Y - X W - offset‖² + alpha ‖W‖².

    `states` X (T, N), `targets` Y (T,) or (T, outputs); the offset is not penalised; alpha >= 0 is on the
    scale of the sum, not the mean, as in scikit-learn. "svd" drops directions below max(T, N) eps of the
    largest, so alpha = 0 gives the least-norm solution; "qr" solves the stacked system [X; sqrt(alpha) I];
    "cholesky" the normal equations, with the square of the condition number.

    Raises `ValueError` for mismatched lengths, a negative alpha, an unknown solver.
    """
    X, Y = arguments.real_array("states", states), arguments.real_array("targets", targets)
    arguments.one_of("solver", solver, RIDGE_SOLVERS)
    if X.ndim != 2 or Y.ndim not in (1, 2) or X.shape[0] != Y.shape[0]:
        raise ValueError(
            f"states has shape {X.shape} and targets {Y.shape}; (T, N), and (T,) or (T, outputs), are needed."
        )
    if arguments.is_concrete(alpha) and not float(alpha) >= 0:
        raise ValueError(f"alpha={alpha!r}; a penalty that is not negative is needed.")
    dtype = jnp.result_type(X, Y)
    X, Y = X.astype(dtype), Y.astype(dtype).reshape(Y.shape[0], -1)
    weights = _solve_ridge(X - X.mean(axis=0), Y - Y.mean(axis=0), jnp.asarray(alpha, dtype), solver)
    return weights, Y.mean(axis=0) - jnp.matmul(X.mean(axis=0), weights, precision=jax.lax.Precision.HIGHEST)


def _solve_ridge(
    X: Float[Array, "T N"], Y: Float[Array, "T p"], alpha: Float[Array, ""], solver: str
) -> Float[Array, "N p"]:
    n_samples, n_neurons = X.shape
    identity = jnp.eye(n_neurons, dtype=X.dtype)
    with jax.default_matmul_precision("highest"):
        if solver == "cholesky":
            return jax.scipy.linalg.solve(X.T @ X + alpha * identity, X.T @ Y, assume_a="pos")
        if solver == "qr":
            stacked = jnp.concatenate([X, jnp.sqrt(alpha) * identity])
            Q, R = jnp.linalg.qr(stacked)
            return jax.scipy.linalg.solve_triangular(R, Q[:n_samples].T @ Y)
        U, s, Vh = jnp.linalg.svd(X, full_matrices=False)
        keep = s > s[0] * max(X.shape) * jnp.finfo(X.dtype).eps
        gain = jnp.where(keep, s / jnp.where(keep, s**2 + alpha, 1), 0)
        return Vh.T @ (gain[:, None] * (U.T @ Y))
