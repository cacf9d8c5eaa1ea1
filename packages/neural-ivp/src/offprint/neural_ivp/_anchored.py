"""Networks built from networks: an exact initial condition, and boundary factors around a network of one's own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from offprint.neural_ivp._bc import BoundaryCondition, ZeroDirichlet
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._functional import Chain
from offprint.neural_ivp._mlp import lifted


class Anchor(nnx.Variable):
    """Weights that stay as they are."""


class Anchored(nnx.Module):
    """u(x, t) = u₀(x) + N(x, t; θ) - N(x, 0; θ₀), with θ₀ the weights that the network has when it is wrapped.

    It satisfies the initial condition exactly and needs no fit. Its Jacobian is that of N, which a fit can destroy: a
    field that is 0 at the start is fitted by zero weights in the last layer, and then no other layer can move it. u₀
    must itself satisfy the boundary conditions.

    Args:
        network: N, such as a [`SinusoidalMLP`][offprint.neural_ivp.SinusoidalMLP], random or fitted to u₀.
        ic: u₀, from a point (d,) to the fields (k,).
    """

    def __init__(self, network: nnx.Module, ic: Callable[[Array], Array]):
        self.network, self.ic = network, ic
        self.anchor = Anchor(tuple(jax.tree.leaves(nnx.state(network, nnx.Param))))
        own: Any = network
        self.domain, self.bc, self.blocks = own.domain, getattr(own, "bc", None), getattr(own, "blocks", 1)

    def __call__(self, x: Float[Array, " d"], t: float | int | Float[Array, ""] = 0.0) -> Float[Array, " k"]:
        """The fields (k,) at one point x (d,)."""
        network: Any = self.network
        return self.ic(x) + network(x, t) - self._start()(x)

    def _start(self) -> Any:
        graphdef, params, rest = nnx.split(self.network, nnx.Param, ...)
        held = jax.tree.unflatten(jax.tree.structure(params), self.anchor.get_value())
        return nnx.merge(graphdef, held, rest, copy=True)

    def chain(self) -> Chain | None:
        """The layers of the network, whose Jacobian is that of u."""
        network: Any = self.network
        return network.chain() if hasattr(network, "chain") else None

    def fresh(self, rngs: nnx.Rngs) -> "Anchored":
        """New random weights θ; u₀ and θ₀ stay, so that u is not u₀ until it is fitted."""
        network: Any = self.network
        new = Anchored(network.fresh(rngs), self.ic)
        new.anchor = Anchor(self.anchor.get_value())
        return new


class Constrained(nnx.Module):
    """u(x, t) = G(x, t) + B(x) · network(x): Dirichlet conditions for a network of one's own.

    Periodic and Neumann conditions are symmetries of the network's inputs and cannot be had by a factor: give the
    network inputs that have them.

    Args:
        network: an NNX module with the call `network(x)` from a point (d,) to the fields (k,).
        domain: the box.
        bc: the boundary conditions; zero on all faces by default.

    Raises:
        ValueError: conditions that are periodic or Neumann on a face.
    """

    def __init__(self, network: nnx.Module, domain: Box, bc: BoundaryCondition | None = None):
        self.network, self.domain, self.bc = network, domain, ZeroDirichlet() if bc is None else bc
        self.blocks = getattr(network, "blocks", 1)
        kinds = {kind for pair in self.bc.faces(domain.dim) for kind in pair}
        if bad := sorted(kinds & {"periodic", "neumann"}):
            raise ValueError(
                f"a factor cannot make a network {' or '.join(bad)}; use SinusoidalMLP(..., bc=...), whose inputs can"
            )

    def __call__(self, x: Float[Array, " d"], t: float | int | Float[Array, ""] = 0.0) -> Float[Array, " k"]:
        """The fields (k,) at one point x (d,)."""
        network: Any = self.network
        return lifted(self.bc, self.bc.factor(self.domain, x) * jnp.asarray(network(x)), x, t)

    def fresh(self, rngs: nnx.Rngs) -> "Constrained":
        """New random weights, if the network can draw them by `fresh(rngs)`."""
        network: Any = self.network
        return Constrained(network.fresh(rngs), self.domain, self.bc)
