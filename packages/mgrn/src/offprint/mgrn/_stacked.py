"""Layers of layers: one on top of another, and both directions of time."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from offprint.mgrn._checks import check_sequences
from offprint.mgrn._lengths import reverse_sequences
from offprint.mgrn._modules import count_params


@runtime_checkable
class Layer(Protocol):
    """What every recurrent layer of this package is: see `MGRN`."""

    @property
    def features(self) -> int: ...

    @property
    def units(self) -> int: ...

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        sequences: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Array: ...


class Stacked(nnx.Module):
    """Layers on top of each other: each reads the states of all steps of the one below.

    Called as every layer of this package, see `MGRN`.

    Args:
        layers: from the input upwards.

    Raises:
        ValueError: no layer; one whose features are not the units of the one below.
    """

    def __init__(self, layers: Sequence[Layer]):
        if not layers:
            raise ValueError("Stacked needs at least one layer.")
        for k, (below, above) in enumerate(pairwise(layers)):
            if above.features != below.units:
                raise ValueError(
                    f"layer {k + 1} of the stack has features={above.features}, but layer {k} has units={below.units}; "
                    "they must be equal."
                )
        self.layers = nnx.List(layers)

    @property
    def features(self) -> int:
        """Of the lowest layer."""
        return self.layers[0].features

    @property
    def units(self) -> int:
        """Of the top layer."""
        return self.layers[-1].units

    @property
    def num_parameters(self) -> int:
        """Of all layers."""
        return count_params(self)

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        sequences: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
        """The top layer's state after the last valid step (B, units), or of all steps (B, T, units)."""
        states, checked = check_sequences(x, self.features, lengths)
        for layer in self.layers[:-1]:
            states = layer(states, lengths=checked, sequences=True, rngs=rngs)
        return self.layers[-1](states, lengths=checked, sequences=sequences, rngs=rngs)


class Bidirectional(nnx.Module):
    """Two layers, of which the second reads every sequence backwards from its last valid step.

    Called as every layer of this package, see `MGRN`. The units are those of both: with `sequences`, step t has what
    the one has read up to t and the other from the end down to t; else both have read everything.

    Args:
        ahead: the layer that reads forwards.
        back: the layer that reads backwards.

    Raises:
        ValueError: layers of different features; the same object twice.
    """

    def __init__(self, ahead: Layer, back: Layer):
        if ahead.features != back.features:
            raise ValueError(
                f"both directions read the same input, but features are {ahead.features} and {back.features}."
            )
        if ahead is back:
            raise ValueError("both directions need a layer of their own, but the same object was given twice.")
        self.ahead: Any = ahead
        self.back: Any = back

    @property
    def features(self) -> int:
        """Of either layer."""
        return self.ahead.features

    @property
    def units(self) -> int:
        """Of both layers together."""
        return self.ahead.units + self.back.units

    @property
    def num_parameters(self) -> int:
        """Of both layers."""
        return count_params(self)

    def __call__(
        self,
        x: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        sequences: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "batch units"] | Float[Array, "batch time units"]:
        """States of both layers side by side, (B, units) or (B, T, units) with `sequences`."""
        array, checked = check_sequences(x, self.features, lengths)
        ahead = self.ahead(array, lengths=checked, sequences=sequences, rngs=rngs)
        back = self.back(reverse_sequences(array, checked), lengths=checked, sequences=sequences, rngs=rngs)
        if sequences:
            back = reverse_sequences(back, checked)
        return jnp.concatenate([ahead, back], axis=-1)
