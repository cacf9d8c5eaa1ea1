"""States of a recurrent network driven by an input series.

x_t = (1 - leak) x_{t-1} + leak * f(A x_{t-1} + C z_t + bias), with f the activation.

With the identity as activation the network is linear, and the recursion can be run in parallel over time:
see `simulate`.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._network import MeaningWarning

Activation = str | Callable[[Array], Array]
Method = Literal["scan", "associative", "eig", "chunked"] | str

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"tanh": jnp.tanh, "identity": lambda x: x}
PARALLEL = ("associative", "eig", "chunked")

# Products of states are the data that capacities are computed from: never in reduced precision (TF32).
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def simulate(
    A: ArrayLike,
    C: ArrayLike,
    z: ArrayLike,
    *,
    activation: Activation = "tanh",
    leak: float | int | Float[Array, ""] = 1.0,
    bias: ArrayLike | None = None,
    x0: ArrayLike | None = None,
    washout: int = 100,
    method: Method = "scan",
) -> Float[Array, "time neurons"]:
    """States (T - washout, N) of the network x_t = (1-leak) x_{t-1} + leak f(A x_{t-1} + C z_t + bias).

    Arguments:
    - `A`: (N, N); `C`: (N,) or (N, m); `z`: (T,) or (T, m). Row t of the states is driven by `z[washout + t]`.
    - `activation`: "tanh", "identity" (a linear network) or an elementwise function of arrays.
    - `leak`: in (0, 1]; `bias`: (N,), default zero; `x0`: the state before the first input (N,), default zero.
    - `washout`: how many first states to drop. Estimators that take a washout of their own want all the
      states: pass 0 here.
    - `method`: all give the same states up to rounding. "scan" steps through time and is the only one for a
      nonlinear network. For a linear one:
      "chunked" cuts the series into about sqrt(T) chunks that run side by side, so that the work is matrix
      products and the depth is 2 sqrt(T) steps instead of T, for devices where a step costs a launch;
      "associative" is the parallel prefix by doubling, depth log2(T), work T N^2 log2(T);
      "eig" works in the eigenbasis of A, O(T N) after one eigen-decomposition, and loses accuracy in
      proportion to the condition number of the eigenvectors (warns above 1e8; unusable for a defective A).

    Raises `ValueError` for wrong shapes, complex, NaN or infinite values, washout >= T, an unknown
    activation or method, a leak outside (0, 1], and a parallel method for a nonlinear network.
    """
    A, C = arguments.network(A, C)
    z = arguments.drive(z, C.shape[1])
    dtype = jnp.result_type(A, z)
    n_neurons, n_steps = A.shape[0], z.shape[0]
    washout = arguments.count("washout", washout, least=0)
    if washout >= n_steps:
        raise ValueError(f"washout={washout} drops all of the {n_steps} states; it has to be below the length of z.")
    arguments.one_of("method", method, ("scan", *PARALLEL))
    if isinstance(activation, str):
        arguments.one_of("activation", activation, ACTIVATIONS)
    if method in PARALLEL and activation != "identity":
        raise ValueError(
            f"method={method!r} needs a linear network, activation='identity'; "
            f"activation={activation!r} needs method='scan'."
        )
    arguments.fraction("leak", leak)
    offset = _per_neuron("bias", bias, n_neurons, dtype)
    start = _per_neuron("x0", x0, n_neurons, dtype)
    A, C, z, leak = A.astype(dtype), C.astype(dtype), z.astype(dtype), jnp.asarray(leak, dtype)
    if method == "eig" and arguments.is_concrete(A):
        _warn_of_eigenbasis(A)
    return _states(A, C, z, offset, start, leak, activation, method)[washout:]


@partial(jax.jit, static_argnames=("activation", "method"))
def _states(
    A: Float[Array, "N N"],
    C: Float[Array, "N m"],
    z: Float[Array, "T m"],
    bias: Float[Array, "N"],
    x0: Float[Array, "N"],
    leak: Float[Array, ""],
    activation: Activation,
    method: str,
) -> Float[Array, "T N"]:
    if method == "scan":
        f = ACTIVATIONS[activation] if isinstance(activation, str) else activation

        def step(x: Array, u: Array) -> tuple[Array, Array]:
            x = (1 - leak) * x + leak * f(_matmul(A, x) + u)
            return x, x

        return jax.lax.scan(step, x0, _matmul(z, C.T) + bias)[1]
    # A leaky linear network is a linear network, and a bias an input that is always 1.
    A = (1 - leak) * jnp.eye(A.shape[0], dtype=A.dtype) + leak * A
    C = leak * jnp.concatenate([C, bias[:, None]], axis=1)
    z = jnp.concatenate([z, jnp.ones((z.shape[0], 1), z.dtype)], axis=1)
    if method == "chunked":
        return _by_chunks(A, C, z, x0)
    return {"associative": _by_doubling, "eig": _in_eigenbasis}[method](A, _matmul(z, C.T), x0)


def _by_doubling(A: Float[Array, "N N"], u: Float[Array, "T N"], x0: Float[Array, "N"]) -> Float[Array, "T N"]:
    """x_t = sum_k A^k u_{t-k}: after s rounds the sums hold the last 2^s terms."""
    u = u.at[0].add(_matmul(A, x0))
    time = jnp.arange(u.shape[0])[:, None]

    def double(s: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        x, power = carry
        shift = 2**s
        earlier = jnp.where(time >= shift, jnp.roll(x, shift, axis=0), 0)
        return x + _matmul(earlier, power.T), _matmul(power, power)

    rounds = int(np.ceil(np.log2(u.shape[0]))) if u.shape[0] > 1 else 0
    return jax.lax.fori_loop(0, rounds, double, (u, A))[0]


def _in_eigenbasis(A: Float[Array, "N N"], u: Float[Array, "T N"], x0: Float[Array, "N"]) -> Float[Array, "T N"]:
    """N scalar recursions y_t = lambda y_{t-1} + v_t, by an associative scan."""
    poles, V = jnp.linalg.eig(A)
    v = jnp.linalg.solve(V, u.astype(V.dtype).T).T
    v = v.at[0].add(poles * jnp.linalg.solve(V, x0.astype(V.dtype)))

    def after(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    y: Complex[Array, "T N"] = jax.lax.associative_scan(after, (jnp.broadcast_to(poles, v.shape), v))[1]
    return _matmul(y, V.T).real


def _by_chunks(
    A: Float[Array, "N N"], C: Float[Array, "N m"], z: Float[Array, "T m"], x0: Float[Array, "N"]
) -> Float[Array, "T N"]:
    """Chunks of time that advance side by side, each from its own start.

    A chunk of length L that starts from s ends in A^L s + sum_j A^{L-1-j} C z_j. The sums of all chunks are one
    product with the Krylov matrix; then one recursion over chunks gives every chunk its start.
    """
    n_steps, n_neurons = z.shape[0], A.shape[0]
    length = max(1, int(np.sqrt(n_steps)))
    n_chunks = -(-n_steps // length)
    blocks = jnp.pad(z, ((0, n_chunks * length - n_steps), (0, 0))).reshape(n_chunks, length, -1)
    krylov = jax.lax.scan(lambda K, _: (_matmul(A, K), K), C, None, length=length)[1]
    ends = jnp.einsum("clm,lnm->cn", blocks[:, ::-1], krylov, precision=jax.lax.Precision.HIGHEST)
    leap = jnp.linalg.matrix_power(A, length)

    def next_start(start: Array, end: Array) -> tuple[Array, Array]:
        return _matmul(leap, start) + end, start

    def advance(x: Array, u: Array) -> tuple[Array, Array]:
        x = _matmul(x, A.T) + _matmul(u, C.T)
        return x, x

    starts = jax.lax.scan(next_start, x0, ends)[1]
    states = jax.lax.scan(advance, starts, blocks.swapaxes(0, 1))[1]
    return states.swapaxes(0, 1).reshape(-1, n_neurons)[:n_steps]


def _per_neuron(name: str, value: ArrayLike | None, n_neurons: int, dtype: np.dtype) -> Float[Array, "N"]:
    if value is None:
        return jnp.zeros(n_neurons, dtype)
    array = arguments.real_array(name, value)
    if array.shape not in ((), (n_neurons,)):
        raise ValueError(f"{name} has shape {array.shape}; ({n_neurons},), one value a neuron, is needed.")
    return jnp.broadcast_to(array.astype(dtype), (n_neurons,))


def _warn_of_eigenbasis(A: Float[Array, "N N"]) -> None:
    condition = float(np.linalg.cond(np.linalg.eig(np.asarray(A))[1]))
    if condition > 1e8:
        warnings.warn(
            f"the eigenvectors of A have condition number {condition:.1e}, so method='eig' loses "
            f"{np.log10(condition):.0f} digits; use method='chunked'.",
            MeaningWarning,
            stacklevel=3,
        )
