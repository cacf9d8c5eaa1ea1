"""The fully connected residual network of the paper, with one array for all layers of each kind of parameter.

h_0 = x, h_{k+1} = h_k + L^{-α} δ_k σ(h_k A_k + b_k), output h_L. Rows are samples: `A[k]` here is the transpose of the
paper's A_k, which no statistic of the paper notices.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.resnet_scaling import weights
from offprint.resnet_scaling._forward import Activation, Layers, Remat, remat_chunk, run_layers, sigma_of
from offprint.resnet_scaling._parallel import MAX_ITERATIONS, ParallelInfo, parallel_hidden

Delta = str | float | int
DELTAS = ("shared", "multi", "none")
INITS = ("xavier", "xavier-depth", "iid", "fbm", "rbf", "zero")


class ResNetParams(NamedTuple):
    """Parameters of L layers of width d."""

    A: Float[Array, "depth dim dim"]
    """Weights; row vectors: h @ A[k]."""
    b: Float[Array, "depth dim"]
    """Biases."""
    delta: Float[Array, "multipliers"]
    """(1,) for "shared", whose absolute value multiplies every layer; (L,), signed, for "multi"; (0,), nothing to
    train, for "none" and for a fixed number."""


def delta_kind(delta: Delta) -> str:
    """ "shared", "multi", "none" or "fixed".

    Raises:
        ValueError: neither one of these three names nor a finite number.
    """
    if isinstance(delta, str):
        return one_of("delta", delta, DELTAS, "or a number")
    if isinstance(delta, bool) or not math.isfinite(delta):
        raise ValueError(f"delta={delta!r}; a finite number, or one of {', '.join(map(repr, DELTAS))}, is needed")
    return "fixed"


def init_params(
    key: PRNGKeyArray,
    depth: int,
    dim: int,
    *,
    delta: Delta = "shared",
    init: str = "xavier",
    initial_sd: float | int | None = None,
    hurst: float | int = 0.7,
    dtype: DTypeLike | None = None,
) -> ResNetParams:
    """Parameters at initialisation (the official code's laws, and those of Marion et al. 2025).

    | init | A | b |
    | --- | --- | --- |
    | "xavier" | N(0, (s/d)²) | N(0, (s/√d)²) |
    | "xavier-depth" | the same, divided by L | the same, divided by L |
    | "iid" | s/√d times standard normal entries, independent between layers | 0 |
    | "fbm" | s/√d times fractional Gaussian noise of unit variance along the layers | 0 |
    | "rbf" | s/√d times the increments of a smooth Gaussian process, normalised | 0 |
    | "zero" | 0 | 0 |

    δ starts at 1/L ("shared") or as N(0, 1/L²) ("multi").

    Args:
        key: typed key.
        depth: L.
        dim: d.
        delta: "shared", "multi", "none", or the fixed number that multiplies every layer.
        init: one of the laws above.
        initial_sd: s; by default 0.01 for the xavier laws and 1 for the others.
        hurst: Hurst exponent of "fbm", in (0, 1).
        dtype: floating-point type; JAX's default when None.

    Raises:
        ValueError: an unknown `delta` or `init`, a depth or dim below 1, a negative `initial_sd`.
    """
    kind = delta_kind(delta)
    one_of("init", init, INITS)
    for name, size in (("depth", depth), ("dim", dim)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    sd = (0.01 if init.startswith("xavier") else 1.0) if initial_sd is None else float(initial_sd)
    if not 0 <= sd < math.inf:
        raise ValueError(f"initial_sd={initial_sd!r}; a finite number that is not negative is needed")
    dtype = np.dtype(jnp.result_type(float) if dtype is None else dtype)
    key, key_sequence = jax.random.split(key)
    normals = jax.random.normal(key, (padded_depth(depth), dim * dim + dim + 1), dtype)
    params = params_from_normals(normals[:depth], depth, kind, init, sd)
    if init.startswith("xavier"):
        return params
    return params._replace(A=sd / math.sqrt(dim) * _unit_sequence(init, key_sequence, depth, dim, hurst, dtype))


def padded_depth(depth: int) -> int:
    """The length at which random numbers are drawn and to which a padded sweep fills up networks of `depth` layers.

    The next power of 8 up to 4096, then the next multiple of 4096: few lengths, so that few programs are compiled.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    longer = 8
    while longer < min(depth, 4096):
        longer *= 8
    return longer if depth <= longer else -(-depth // 4096) * 4096


def params_from_normals(
    normals: Float[Array, "layers numbers"], depth: int | Array, kind: str, init: str, sd: float
) -> ResNetParams:
    """Parameters of the xavier laws (A and b are 0 for the others), each layer from a row of standard normal numbers.

    A program that draws random numbers takes long to compile. Rows are drawn at a padded length, and those beyond
    `depth` are not used, so that one program serves many depths.
    """
    layers, dim = normals.shape[0], math.isqrt(normals.shape[1])
    scale: Array | float = sd if init.startswith("xavier") else 0.0
    if init == "xavier-depth":
        scale = scale / depth
    A = scale / dim * normals[:, : dim * dim].reshape(layers, dim, dim)
    b = scale / math.sqrt(dim) * normals[:, dim * dim : -1]
    if kind == "shared":
        return ResNetParams(A, b, jnp.ones((1,), normals.dtype) / depth)
    return ResNetParams(A, b, normals[:, -1] / depth if kind == "multi" else normals[0, :0])


def _unit_sequence(init: str, key: PRNGKeyArray, depth: int, dim: int, hurst: float | int, dtype: np.dtype) -> Array:
    """Entries of unit variance along the layers (L, d, d)."""
    shape = (dim, dim)
    match init:
        case "iid":
            return jax.random.normal(key, (depth, *shape), dtype)
        case "fbm":  # increments over a time step of 1/L have the standard deviation L^{-H}
            return depth**hurst * weights.fbm_increments(key, depth, shape, hurst=hurst, dtype=dtype)
        case "rbf":
            return weights.rbf(key, depth, shape, dtype=dtype)
        case _:
            return jnp.zeros((depth, *shape), dtype)


def layer_multipliers(
    params: ResNetParams,
    delta: Delta,
    *,
    alpha: float | int | None = None,
    mask: Float[Array, "depth"] | None = None,
) -> Float[Array, "depth"]:
    """c_k = L^{-α} |δ| ("shared"), L^{-α} δ_k ("multi"), L^{-α} ("none") or L^{-α} times the fixed number.

    With a mask, L is the number of layers that it keeps, and the others get 0.
    """
    depth = params.b.shape[0]
    match delta_kind(delta):
        case "shared":
            c = jnp.broadcast_to(jnp.abs(params.delta), (depth,))
        case "multi":
            c = params.delta
        case "none":
            c = jnp.ones((depth,), params.A.dtype)
        case _:
            c = jnp.full((depth,), float(delta), params.A.dtype)
    layers = depth if mask is None else jnp.sum(mask)
    if alpha is not None:
        c = c * jnp.asarray(layers, c.dtype) ** -alpha
    return c if mask is None else c * mask


def resnet_apply(
    params: ResNetParams,
    x: Float[Array, "*batch dim"] | Float[np.ndarray, "*batch dim"],
    *,
    activation: Activation = "tanh",
    delta: Delta = "shared",
    alpha: float | int | None = None,
    mask: Float[Array, "depth"] | None = None,
    remat: Remat = None,
    unroll: int = 1,
    mode: str = "scan",
    return_hidden: bool | int = False,
) -> Float[Array, "*batch dim"] | tuple[Float[Array, "*batch dim"], Float[Array, "kept *batch dim"]]:
    """The output h_L of the network, and the hidden states on request.

    Args:
        params: of L layers of width d.
        x: inputs, one in each row; any number of leading axes. Taken in the type of the parameters.
        activation: "tanh", "relu", "identity", or a function that acts on each entry by itself.
        delta: what `params.delta` is: "shared", "multi", "none", or the fixed number that multiplies every layer.
        alpha: multiplies every layer by L^{-alpha} besides.
        mask: 1 for layers and 0 for layers that do nothing; see `pad_params`.
        remat: in mode "scan", keep for the gradient only the state before each chunk of this many layers and compute
            the rest again; "auto" takes ⌈√L⌉ layers, for memory of O(√L). With hidden states of a stride, the stride
            is the chunk. It has no forward-mode derivative (`jax.jvp`), as the parallel mode.
        unroll: in mode "scan", layers in one turn of the loop.
        mode: "scan", layer after layer; "parallel", all layers at once by Newton iterations, which falls back to the
            scan by itself where they do not converge (see `parallel_apply`).
        return_hidden: True for all states, or a stride s for h_0, h_s, h_2s, ...

    Returns:
        h_L, of the shape of `x`; with `return_hidden`, the pair of h_L and the states
        (⌊L/s⌋ + 1, batch, d).

    Raises:
        ValueError: an unknown option, or parameters and inputs whose shapes do not fit.
    """
    one_of("mode", mode, ("scan", "parallel"))
    stride = int(return_hidden)
    if stride < 0:
        raise ValueError(f"return_hidden={return_hidden}; False, True or a positive stride is needed")
    sigma = sigma_of(activation)
    layers, x = _as_layers(params, x, delta, alpha, mask)
    if mode == "parallel":
        hidden = parallel_hidden(layers, x, sigma)[0]
        return (hidden[-1], hidden[::stride]) if stride else hidden[-1]
    chunk = remat_chunk(remat, layers.b.shape[0])
    output, kept = run_layers(layers, x, sigma, chunk=chunk, unroll=unroll, stride=stride)
    return output if kept is None else (output, kept)


def parallel_apply(
    params: ResNetParams,
    x: Float[Array, "*batch dim"] | Float[np.ndarray, "*batch dim"],
    *,
    activation: Activation = "tanh",
    delta: Delta = "shared",
    alpha: float | int | None = None,
    mask: Float[Array, "depth"] | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[Float[Array, "*batch dim"], ParallelInfo]:
    """`resnet_apply` in mode "parallel", with an account of its Newton iterations.

    Returns:
        The output h_L, of the shape of `x`, and iterations, residual and whether they converged; where they did not,
        the output is that of the scan.

    Raises:
        ValueError: as `resnet_apply`; fewer than one iteration.
    """
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    sigma = sigma_of(activation)
    layers, x = _as_layers(params, x, delta, alpha, mask)
    hidden, info = parallel_hidden(layers, x, sigma, max_iterations=max_iterations)
    return hidden[-1], info


def _as_layers(
    params: ResNetParams, x: ArrayLike, delta: Delta, alpha: float | int | None, mask: Array | None
) -> tuple[Layers, Array]:
    """Checked parameters as layers, and the inputs in their type."""
    check_params(params, delta)
    depth, dim = params.b.shape
    x = jnp.asarray(x, params.A.dtype)
    if x.shape[-1:] != (dim,):
        raise ValueError(f"x has shape {x.shape} where A has shape {params.A.shape}; rows of {dim} features are needed")
    if mask is not None and mask.shape != (depth,):
        raise ValueError(f"mask has shape {mask.shape} where A has {depth} layers; ({depth},) is needed")
    return Layers(params.A, params.b, layer_multipliers(params, delta, alpha=alpha, mask=mask)), x


def check_params(params: ResNetParams, delta: Delta) -> None:
    """Whether shapes fit each other and the kind of delta.

    Raises:
        ValueError: they do not; says which and what is needed.
    """
    A, b = params.A, params.b
    if A.ndim != 3 or A.shape[1] != A.shape[2] or A.shape[0] < 1 or b.shape != A.shape[:2]:
        raise ValueError(f"A has shape {A.shape} and b {b.shape}; (L, d, d) and (L, d) with L >= 1 are needed")
    needed = {"shared": (1,), "multi": (A.shape[0],)}.get(delta_kind(delta))
    if needed is not None and params.delta.shape != needed:
        raise ValueError(
            f"delta has shape {params.delta.shape} where A has {A.shape[0]} layers; "
            f"{needed} is needed for delta={delta!r}"
        )


def one_of(name: str, value: str, allowed: tuple[str, ...], otherwise: str = "") -> str:
    """The value, if it is one of the allowed names.

    Raises:
        ValueError: it is not.
    """
    if value not in allowed:
        choices = " ".join(filter(None, (", ".join(map(repr, allowed)), otherwise)))
        raise ValueError(f"{name}={value!r} is unknown; one of {choices} is needed")
    return value
