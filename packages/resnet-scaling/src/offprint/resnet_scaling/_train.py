"""Training of several members (seeds, learning rates) of one depth at once: an epoch is one compiled program."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from offprint.resnet_scaling._first_layers import first_layers
from offprint.resnet_scaling._forward import Activation, Layers, Remat, sigma_of
from offprint.resnet_scaling._network import Delta, ResNetParams, layer_multipliers, resnet_apply
from offprint.resnet_scaling._parallel import parallel_hidden

# RMSprop with the constants of PyTorch, which differ from those of optax.
OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "sgd": optax.identity,
    "rmsprop": lambda: optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False),
}


Depth = Int[Array, ""] | None
"""Layers in use, known when the program runs; None where it is all of them."""


class TrainTest(NamedTuple):
    """Examples in rows: to train on, and to test with."""

    x_train: Any
    y_train: Any
    x_test: Any
    y_test: Any


class Network(NamedTuple):
    """How parameters become a network: what is static in a compiled program."""

    activation: Activation
    delta: Delta
    alpha: float | int | None
    remat: Remat
    unroll: int
    mode: str


class Member(NamedTuple):
    """What training changes."""

    params: ResNetParams
    optimizer: PyTree


class Trained(NamedTuple):
    """What an epoch tells."""

    members: Member
    loss: Float[Array, "members"]
    """Mean of the batch losses, each before its update."""


class Diagnosis(NamedTuple):
    """What is looked at before and after training, each with a leading axis of members."""

    test_loss: Float[Array, "members"]
    norms: Float[Array, "members states probes"]
    """|h_k|, k = 0 ... L."""
    increments: Float[Array, "members depth probes"]
    """|h_{k+1} - h_k|, k = 0 ... L-1."""


def mean_squared_error(prediction: Float[Array, "batch dim"], y: Float[Array, "batch dim"]) -> Float[Array, ""]:
    """Averaged over batch and coordinates."""
    return jnp.mean((prediction - y) ** 2)


def output(network: Network, params: ResNetParams, x: Float[Array, "batch dim"], depth: Depth) -> Array:
    """What the network, or its first `depth` layers, gives for the rows of x."""
    if depth is None:
        result = resnet_apply(params, x, **network._asdict())
        assert isinstance(result, jax.Array)
        return result
    return states(network, params, x, depth)[depth]


def states(network: Network, params: ResNetParams, x: Float[Array, "batch dim"], depth: Depth) -> Array:
    """All hidden states (L + 1, batch, dim); those behind h_depth mean nothing."""
    if depth is None:
        return resnet_apply(params, x, **network._asdict(), return_hidden=True)[1]
    mask = (jnp.arange(params.b.shape[0]) < depth).astype(params.b.dtype)
    c = layer_multipliers(params, network.delta, alpha=network.alpha, mask=mask)
    layers, sigma = Layers(params.A, params.b, c), sigma_of(network.activation)
    return parallel_hidden(layers, x, sigma)[0] if network.mode == "parallel" else first_layers(layers, x, sigma, depth)


def evaluate_loss(
    params: ResNetParams,
    x: Float[Array, "batch dim"] | Float[np.ndarray, "batch dim"],
    y: Float[Array, "batch dim"] | Float[np.ndarray, "batch dim"],
    *,
    activation: Activation = "tanh",
    delta: Delta = "shared",
    alpha: float | int | None = None,
    mode: str = "scan",
) -> Float[Array, ""]:
    """Mean squared error of a network, averaged over batch and coordinates.

    With the parameters of `denoised_params`, it is the loss that is left when the weights are replaced by their trend.
    For stacked members use `jax.vmap` over `params`.

    Raises:
        ValueError: x and y of different shapes, and those of `resnet_apply`.
    """
    if x.shape != y.shape:
        raise ValueError(f"x has shape {x.shape} and y {y.shape}; they must be equal")
    network = Network(activation, delta, alpha, remat=None, unroll=1, mode=mode)
    prediction = output(network, params, jnp.asarray(x), None)
    return mean_squared_error(prediction, jnp.asarray(y, prediction.dtype))


def start(params: ResNetParams, optimizer: str) -> Member:
    """A member at the start of training."""
    return Member(params, OPTIMIZERS[optimizer]().init(params))


def _epoch(
    network: Network,
    optimizer: str,
    members: Member,
    active: Bool[Array, "members"],
    rates: Float[Array, "members"],
    rows: Int[Array, "members steps batch"],
    x: Float[Array, "samples dim"],
    y: Float[Array, "samples dim"],
    depth: Depth,
) -> Trained:
    """All batches of an epoch, for all members; those that are not active stay as they are."""
    update = OPTIMIZERS[optimizer]().update

    def loss(params: ResNetParams, batch: Int[Array, "batch"]) -> Array:
        return mean_squared_error(output(network, params, x[batch], depth), y[batch])

    def one_member(member: Member, active: Array, rate: Array, rows: Array) -> tuple[Member, Array]:
        def step(now: Member, batch: Array) -> tuple[Member, Array]:
            value, gradient = jax.value_and_grad(loss)(now.params, batch)
            change, state = update(gradient, now.optimizer, now.params)
            params = jax.tree.map(lambda p, u: p - rate * u, now.params, change)
            return Member(params, state), value

        after, losses = jax.lax.scan(step, member, rows)
        return jax.tree.map(lambda new, old: jnp.where(active, new, old), after, member), losses.mean()

    return Trained(*jax.vmap(one_member)(members, active, rates, rows))


def _diagnose(
    network: Network,
    params: ResNetParams,
    x: Float[Array, "samples dim"],
    y: Float[Array, "samples dim"],
    probes: Float[Array, "members probes dim"],
    depth: Depth,
) -> Diagnosis:
    """Test loss, and the norms of hidden states and of their increments for the probes."""
    network = network._replace(remat=None)

    def one_member(params: ResNetParams, probes: Array) -> tuple[Array, Array, Array]:
        loss = mean_squared_error(output(network, params, x, depth), y)
        hidden = states(network, params, probes, depth)
        return loss, jnp.linalg.norm(hidden, axis=-1), jnp.linalg.norm(jnp.diff(hidden, axis=0), axis=-1)

    return Diagnosis(*jax.vmap(one_member)(params, probes))


@lru_cache(maxsize=64)
def _program(name: str, static: tuple, shapes: tuple, treedef: Any) -> tuple[Callable, float]:
    """A compiled program and the seconds that its compilation took."""
    function: Any = _epoch if name == "epoch" else _diagnose
    donated = (0,) if name == "epoch" else ()  # the members
    arguments = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes])
    began = time.perf_counter()
    program = jax.jit(lambda *given: function(*static, *given), donate_argnums=donated)
    return program.lower(*arguments).compile(), time.perf_counter() - began


def compiled(name: str, static: tuple, *arguments: Any) -> tuple[Any, float]:
    """The program "epoch" or "diagnose" for these arguments, and the seconds that its compilation took.

    Compiled once for each set of shapes, and kept for later sweeps; 0 seconds where it was already there.
    """
    leaves, treedef = jax.tree.flatten(arguments)
    shapes = tuple((leaf.shape, np.dtype(leaf.dtype)) for leaf in leaves)
    known = _program.cache_info().misses
    program, seconds = _program(name, static, shapes, treedef)
    return program, seconds if _program.cache_info().misses > known else 0.0
