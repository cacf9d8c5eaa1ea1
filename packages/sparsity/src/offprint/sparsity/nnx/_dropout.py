"""Layers of the dropout family that `flax.nnx.Dropout` has not; `model.eval()` and `model.train()` switch them."""

from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from offprint.sparsity._dropout import (
    concrete_dropout,
    concrete_entropy,
    drop_block,
    dropconnect,
    spatial_dropout,
    stochastic_depth,
)


class Noisy:
    """Mixin of layers that draw noise in training only."""

    deterministic: bool

    def set_view(self, deterministic: bool | None = None) -> None:
        """What `nnx.view(model, deterministic=...)` calls."""
        if deterministic is not None:
            self.deterministic = deterministic


class ConcreteDropout(Noisy, nnx.Module):
    """Dropout with a learned rate, one for the layer (gal2017concrete).

    Add `regulariser()`, times the dropout weight of the paper (2 / N for classification), to the loss. In `eval`
    mode it is the identity.

    Args:
        rate: the rate at the start, in (0, 1).
        temperature: of the relaxation.
    """

    def __init__(
        self, rate: float = 0.1, *, temperature: float = 0.1, deterministic: bool = False, rngs: nnx.Rngs
    ) -> None:
        if not 0 < rate < 1:
            raise ValueError(f"rate must be in (0, 1); got {rate}")
        self.logit = nnx.Param(jnp.log(jnp.asarray(rate)) - jnp.log1p(-jnp.asarray(rate)))
        self.temperature = temperature
        self.deterministic = deterministic
        self.rngs = rngs["dropout"].fork()

    @property
    def rate(self) -> Float[Array, ""]:
        """The rate as learned so far."""
        return nnx.sigmoid(self.logit[...])

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        if self.deterministic:
            return x
        return concrete_dropout(x, self.rate.astype(x.dtype), temperature=self.temperature, key=self.rngs())

    def regulariser(self, units: int = 1) -> Float[Array, ""]:
        """Minus the entropy of `units` dropped units, in nats."""
        return -units * concrete_entropy(self.rate)


class DropConnectLinear(Noisy, nnx.Linear):
    """`flax.nnx.Linear` whose weights are dropped in training (wan2013dropconnect).

    In `eval` mode it multiplies with the whole kernel, the mean of what training draws.

    Args:
        rate: probability of dropping a weight, in [0, 1).
        per_example: a mask for each example; by default one for the batch.
        **linear: see `flax.nnx.Linear`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rate: float = 0.5,
        *,
        per_example: bool = False,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **linear: Any,
    ) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1); got {rate}")
        super().__init__(in_features, out_features, rngs=rngs, **linear)
        self.rate = rate
        self.per_example = per_example
        self.deterministic = deterministic
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:  # type: ignore[override]
        if self.deterministic or self.rate == 0:
            return super().__call__(x)
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype((x, self.kernel[...], bias), dtype=self.dtype)
        y = dropconnect(x, kernel, self.rate, key=self.rngs(), per_example=self.per_example)
        return y if bias is None else y + bias


class SpatialDropout(Noisy, nnx.Module):
    """Dropout of whole channels (tompson2015spatial); see `spatial_dropout`."""

    def __init__(self, rate: float, *, deterministic: bool = False, rngs: nnx.Rngs) -> None:
        self.rate = rate
        self.deterministic = deterministic
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "*batch height width channels"]) -> Float[Array, "*batch height width channels"]:
        return x if self.deterministic else spatial_dropout(x, self.rate, key=self.rngs())


class DropBlock(Noisy, nnx.Module):
    """Dropout of squares of pixels (ghiasi2018dropblock); see `drop_block`."""

    def __init__(self, rate: float, block: int, *, deterministic: bool = False, rngs: nnx.Rngs) -> None:
        self.rate = rate
        self.block = block
        self.deterministic = deterministic
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "*batch height width channels"]) -> Float[Array, "*batch height width channels"]:
        return x if self.deterministic else drop_block(x, self.rate, self.block, key=self.rngs())


class StochasticDepth(Noisy, nnx.Module):
    """A residual branch dropped whole (huang2016stochasticdepth); with `mode="batch"` LayerDrop (fan2020layerdrop)."""

    def __init__(
        self, rate: float, *, mode: Literal["row", "batch"] = "row", deterministic: bool = False, rngs: nnx.Rngs
    ) -> None:
        self.rate = rate
        self.mode = mode
        self.deterministic = deterministic
        self.rngs = rngs["dropout"].fork()

    def __call__(self, residual: Float[Array, "batch *features"]) -> Float[Array, "batch *features"]:
        if self.deterministic:
            return residual
        return stochastic_depth(residual, self.rate, key=self.rngs(), mode=self.mode)
