"""A layer of experts of which each token uses k."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from offprint.sparsity.moe import (
    Gating,
    capacity,
    combine,
    cv_squared,
    dispatch,
    noisy_top_k,
    route,
    router_z_loss,
    switch_loss,
)
from offprint.sparsity.nnx._dropout import Noisy


class Balance(nnx.Variable):
    """Balancing losses of the last call, to be added to the loss: `balance_loss(model)`."""


class MoE(Noisy, nnx.Module):
    """Mixture of two-layer experts; each token is computed by its k experts only (shazeer2017moe, fedus2022switch).

    Experts have buffers of ceil(capacity_factor · k · tokens / experts) tokens, so the work for a token is that of
    k · capacity_factor experts, however many there are. A token that comes too late gets zeros from that expert: put
    the layer on a residual branch.
    With `k = 1` the gate of the chosen expert is its softmax probability among all, as in the Switch transformer; with
    more it is the softmax over those chosen. Noise (`noisy=True`) is for `train` mode.

    After a call, `balance_loss(model)` is the sum of the layers' balancing losses:
    `importance · CV²(importance) + load · CV²(load) + switch · E Σ f P + z · mean logsumexp²`.

    Args:
        features: of a token, in and out.
        hidden: of each expert.
        experts, k: how many there are, how many a token uses.
        importance, load, switch, z: weights of the balancing losses.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        experts: int,
        k: int = 2,
        *,
        capacity_factor: float = 1.25,
        noisy: bool = True,
        activation: Callable[[Array], Array] = nnx.relu,
        importance: float = 0.0,
        load: float = 0.0,
        switch: float = 0.01,
        z: float = 0.0,
        deterministic: bool = False,
        param_dtype: jnp.dtype | type = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        if not 1 <= k <= experts:
            raise ValueError(f"k must be between 1 and the {experts} experts; got {k}")
        init = nnx.initializers.lecun_normal(batch_axis=(0,))
        self.router = nnx.Linear(features, experts, use_bias=False, param_dtype=param_dtype, rngs=rngs)
        self.noise = nnx.Linear(
            features, experts, use_bias=False, kernel_init=nnx.initializers.zeros, param_dtype=param_dtype, rngs=rngs
        )
        self.kernel_in = nnx.Param(init(rngs.params(), (experts, features, hidden), param_dtype))
        self.kernel_out = nnx.Param(init(rngs.params(), (experts, hidden, features), param_dtype))
        self.bias_in = nnx.Param(jnp.zeros((experts, 1, hidden), param_dtype))
        self.bias_out = nnx.Param(jnp.zeros((experts, 1, features), param_dtype))
        self.loss = Balance(jnp.zeros((), param_dtype))
        self.experts, self.k, self.capacity_factor, self.noisy = experts, k, capacity_factor, noisy
        self.activation = activation
        self.weights = (importance, load, switch, z)
        self.deterministic = deterministic
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        tokens = x.reshape(-1, x.shape[-1])
        logits = self.router(tokens)
        gating = self._gate(tokens, logits)
        probabilities = jax.nn.softmax(logits, -1)
        gates = probabilities if self.k == 1 else gating.gates
        places = capacity(len(tokens), self.experts, self.capacity_factor, self.k)
        routing = route(gating.indices, self.experts, places)
        hidden = dispatch(tokens, routing, self.experts, places) @ self.kernel_in[...] + self.bias_in[...]
        y = self.activation(hidden) @ self.kernel_out[...] + self.bias_out[...]
        importance, load, switch, z = self.weights
        balance = (
            importance * cv_squared(gating.importance)
            + load * cv_squared(gating.load)
            + switch_loss(probabilities, gating.indices[:, 0], switch)
            + z * router_z_loss(logits)
        )
        self.loss[...] = balance.astype(self.loss[...].dtype)
        return combine(y, gates, routing).reshape(x.shape)

    def _gate(self, tokens: Array, logits: Array) -> Gating:
        if self.deterministic or not self.noisy:
            return noisy_top_k(logits, self.k)
        noise = jax.random.normal(self.rngs(), logits.shape, logits.dtype)
        return noisy_top_k(logits, self.k, nnx.softplus(self.noise(tokens)), noise)


def balance_loss(model: nnx.Module) -> Float[Array, ""]:
    """Sum of the balancing losses that the layers of `model` left in their last call.

    Raises:
        ValueError: a model without `MoE` layers.
    """
    losses = jax.tree.leaves(nnx.state(model, Balance))
    if not losses:
        raise ValueError("the model has no MoE layer")
    return jnp.sum(jnp.stack(losses))
