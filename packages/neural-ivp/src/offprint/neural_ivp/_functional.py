"""A network as a function of one flat vector of weights: what is projected, solved for and integrated."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.neural_ivp._domain import Box

Scalar = float | int | Float[Array | np.ndarray, ""]


@dataclass(frozen=True)
class Chain:
    """A network that is a chain of dense layers: u(x) = (terms without weights) + scale(x) · head(…act(y W₀ + b₀)…).

    The terms without weights are the lifting G and, in an anchored network, the initial condition: u itself is to be
    taken from `apply`; the Jacobian is that of the chain.
    """

    layers: list[tuple[Array, Array]]
    """W (blocks, n_in, n_out) and b (blocks, n_out), from the first layer to the head."""
    activation: Callable[[Array], Array]
    features: Callable[[Array], Array]
    """x (d,) to the inputs (n_in,) of the first layer, which all blocks share."""
    scale: Callable[[Array], Array]
    """x (d,) to the factor of the head's outputs: a scalar, or (k,)."""

    def hidden(self, x: Float[Array, " d"]) -> Float[Array, "blocks width"]:
        """The inputs of the head, for each block."""
        y = self.features(x)
        for kernel, bias in self.layers[:-1]:
            y = self.activation(jnp.einsum("i,bio->bo" if y.ndim == 1 else "bi,bio->bo", y, kernel) + bias)
        return jnp.broadcast_to(y, (self.layers[0][0].shape[0], y.shape[-1]))


class _Same:
    """Arrays that are a part of a function: compared by identity, so that the function can be hashed."""

    def __init__(self, value: PyTree):
        self.value = value


@dataclass(frozen=True)
class Functional:
    """u(x; θ): call it as `apply(theta, x, t)`. It is static under `jit` and made by `functional`.

    θ (p,) holds the weights block after block (a block is the network of one field, see `blocks`), in a block layer
    after layer, in a layer first b, then W row by row. So `theta.reshape(blocks, -1)` are the weights of the blocks.
    """

    forward: Callable[[PyTree, Array, Any], Array]
    treedef: Any
    shapes: tuple[tuple[tuple[int, ...], str], ...]  # of the leaves: shape, dtype
    blocks: int
    """k if each field has a network of its own, so that the Gram matrix is block diagonal; else 1."""
    n_fields: int
    """Fields k."""
    domain: Box | None
    make: Callable[[PRNGKeyArray], PyTree] | None

    def __call__(
        self, theta: Float[Array | np.ndarray, " p"], x: Float[Array | np.ndarray, " d"], t: Scalar = 0.0
    ) -> Float[Array, " k"]:
        """The fields (k,) at the point x (d,)."""
        return self.forward(self.unflatten(theta), jnp.asarray(x), t)

    def values(
        self, theta: Float[Array | np.ndarray, " p"], x: Float[Array | np.ndarray, "n d"], t: Scalar = 0.0
    ) -> Float[Array, "n k"]:
        """The fields at many points."""
        params = self.unflatten(theta)
        return jax.vmap(lambda point: self.forward(params, point, t))(jnp.asarray(x))

    @property
    def num_params(self) -> int:
        """p."""
        return sum(int(np.prod(shape)) for shape, _ in self.shapes)

    def unflatten(self, theta: Float[Array | np.ndarray, " p"]) -> PyTree:
        """θ as the parameters of the network, in their own dtypes.

        Raises:
            ValueError: a vector of another length.
        """
        if theta.shape != (self.num_params,):
            raise ValueError(f"theta must have shape ({self.num_params},), but has {theta.shape}")
        rows = theta.reshape(self.blocks, -1)
        sizes = [int(np.prod(shape)) // self.blocks for shape, _ in self.shapes]
        parts = jnp.split(rows, np.cumsum(sizes)[:-1].tolist(), axis=1)
        leaves = [part.reshape(shape).astype(dtype) for part, (shape, dtype) in zip(parts, self.shapes)]
        return jax.tree.unflatten(self.treedef, leaves)

    def flatten(self, params: PyTree) -> Float[Array, " p"]:
        """The parameters as θ: float64 if x64 is enabled, else float32.

        Raises:
            ValueError: parameters of another network.
        """
        leaves, treedef = jax.tree.flatten(params)
        if treedef != self.treedef or [np.shape(leaf) for leaf in leaves] != [shape for shape, _ in self.shapes]:
            raise ValueError(f"these parameters are not those of the network; it has {self.treedef}")
        return _flat(leaves, self.blocks)

    def model(self, theta: Float[Array | np.ndarray, " p"]) -> nnx.Module:
        """The NNX module with the weights θ.

        Raises:
            TypeError: the functional was made from a function, not from a module.
        """
        if not isinstance(self.forward, _ModuleCall):
            raise TypeError("this functional was made from a function and its parameters: it has no module")
        return self.forward.merge(self.unflatten(theta))

    def chain(self, theta: Float[Array | np.ndarray, " p"]) -> Chain | None:
        """The layers with the weights θ, or None for a network that is no chain of dense layers."""
        if not (isinstance(self.forward, _ModuleCall) and self.forward.has_chain):
            return None
        model: Any = self.model(theta)
        return model.chain()

    def lift_rate(self, x: Float[Array, " d"], t: Scalar) -> Float[Array, " k"] | None:
        """∂G/∂t (k,), which is subtracted from the right-hand side; None without boundary values."""
        lifting = self.forward.lifting if isinstance(self.forward, _ModuleCall) else None
        if lifting is None:
            return None
        t = jnp.asarray(t, x.dtype)
        return jax.jvp(lambda time: jnp.asarray(lifting(x, time), x.dtype), (t,), (jnp.ones_like(t),))[1]

    def init(self, key: PRNGKeyArray) -> Float[Array, " p"]:
        """New random weights, as a restart begins with them.

        Raises:
            ValueError: the network does not say how it is drawn.
        """
        if self.make is None:
            raise ValueError(
                "new random weights of this network cannot be drawn: give the module a method fresh(rngs) that returns "
                "a new one, or pass init= to functional"
            )
        return self.flatten(self.make(key))


@dataclass(frozen=True)
class _ModuleCall:
    """The call of an NNX module as a function of its parameters."""

    graphdef: Any
    rest: _Same | None
    takes_time: bool
    has_chain: bool
    lifting: Callable[[Array, Any], Array] | None

    def merge(self, params: PyTree) -> nnx.Module:
        others = () if self.rest is None else (self.rest.value,)
        return nnx.merge(self.graphdef, params, *others, copy=True)

    def __call__(self, params: PyTree, x: Array, t: Any) -> Array:
        model: Any = self.merge(params)
        return model(x, t) if self.takes_time else model(x)


@dataclass(frozen=True)
class _Fresh:
    """Parameters of a newly drawn module of the same kind."""

    call: _ModuleCall
    params: _Same

    def __call__(self, key: PRNGKeyArray) -> PyTree:
        model: Any = self.call.merge(self.params.value)
        return nnx.state(model.fresh(nnx.Rngs(key)), nnx.Param)

    def __eq__(self, other: object) -> bool:
        # the old weights serve for their structure alone, which `call` holds
        return isinstance(other, _Fresh) and self.call == other.call

    def __hash__(self) -> int:
        return hash(self.call)


@dataclass(frozen=True)
class _WithoutTime:
    """A function (params, x) as one of (params, x, t)."""

    function: Callable[[PyTree, Array], Array]

    def __call__(self, params: PyTree, x: Array, t: Any) -> Array:
        return self.function(params, x)


def functional(
    model: nnx.Module | Callable[..., Array],
    params: PyTree | None = None,
    *,
    domain: Box | None = None,
    init: Callable[[PRNGKeyArray], PyTree] | None = None,
) -> tuple[Functional, Float[Array, " p"]]:
    """A network as `apply(theta, x, t)` and its present weights as one vector.

    Args:
        model: an NNX module with the call `model(x)` or `model(x, t)` from a point (d,) to the fields (k,), or a
            function `model(params, x)` or `model(params, x, t)`. A module says `blocks = k` if all its parameters
            have a leading axis of k and the i-th field depends on the i-th entries alone.
        params: the parameters, for a function.
        domain: the box; by default the module's own `domain`. If both are there they must agree.
        init: new random parameters from a key, for restarts; by default the module's method `fresh(rngs)`.

    Returns:
        (apply, θ): θ is flat (p,), float64 if x64 is enabled.

    Raises:
        ValueError: no domain, or two different ones; a module without parameters; fields that are not a vector.
        TypeError: a function without parameters, or a module with them.
    """
    own = getattr(model, "domain", None)
    if domain is not None and own is not None and domain != own:
        raise ValueError(f"the model is made for {own}, but the domain is {domain}; make the model with this domain")
    domain = own if domain is None else domain
    if domain is None:
        raise ValueError("the model does not say what its domain is: pass domain=Box(lo, hi)")
    if isinstance(model, nnx.Module):
        if params is not None:
            raise TypeError("an NNX module has its own parameters: leave params out")
        call, params = _of_module(model)
        forward: Callable[..., Array] = call
        blocks = getattr(model, "blocks", 1)
        if init is None and hasattr(model, "fresh"):
            init = _Fresh(call, _Same(params))
    else:
        if params is None:
            raise TypeError("a function needs its parameters: functional(function, params, domain=...)")
        forward, blocks = model if _takes_time(model, 3) else _WithoutTime(model), 1
    leaves, treedef = jax.tree.flatten(params)
    if not leaves:
        raise ValueError("the model has no parameters (nnx.Param) to evolve")
    if any(np.shape(leaf)[:1] != (blocks,) for leaf in leaves) and blocks > 1:
        raise ValueError(f"the model says blocks={blocks}, so all its parameters need a leading axis of {blocks}")
    shapes = tuple((np.shape(leaf), str(jnp.result_type(leaf))) for leaf in leaves)
    n_fields = _count_fields(forward, params, domain)
    return Functional(forward, treedef, shapes, blocks, n_fields, domain, init), _flat(leaves, blocks)


def _of_module(model: nnx.Module) -> tuple[_ModuleCall, PyTree]:
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    held = _Same(rest) if jax.tree.leaves(rest) else None
    lifting = getattr(getattr(model, "bc", None), "lifting", None)
    return _ModuleCall(graphdef, held, _takes_time(model, 2), hasattr(model, "chain"), lifting), params


def _takes_time(function: Callable, arguments: int) -> bool:
    """Whether the call has a place for t after those before it."""
    places = inspect.signature(function).parameters.values()
    return len([p for p in places if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]) >= arguments


def _count_fields(forward: Callable, params: PyTree, domain: Box) -> int:
    fields = jax.eval_shape(forward, params, jax.ShapeDtypeStruct((domain.dim,), jnp.result_type(float)), 0.0)
    if getattr(fields, "ndim", None) != 1:
        raise ValueError(
            f"the model must map one point (d,) to a vector of fields (k,), but gives shape "
            f"{getattr(fields, 'shape', type(fields).__name__)}; hint: a single field is u[None]"
        )
    return fields.shape[0]


def _flat(leaves: list[Array], blocks: int) -> Float[Array, " p"]:
    rows = [jnp.asarray(leaf, jnp.result_type(float)).reshape(blocks, -1) for leaf in leaves]
    return jnp.concatenate(rows, axis=1).reshape(-1)
