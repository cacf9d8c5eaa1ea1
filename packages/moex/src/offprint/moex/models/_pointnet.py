"""PointNet++ for point clouds (Qi et al. 2017), with fixed shapes: every cloud has the same number of points."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from offprint.moex._module import MoEx
from offprint.moex._plan import MixPlan
from offprint.moex.models._blocks import BatchNorm, Number, exchange, linear


@partial(jax.jit, static_argnums=1)
def farthest_point_sampling(positions: Float[Array, "points space"], count: int) -> Int[Array, "count"]:
    """Indices of `count` points, each the farthest from those before it; the first is point 0.

    Args:
        positions: coordinates (T, D).
        count: how many, 1 to T; static.

    Raises:
        ValueError: a count outside 1 to T.
    """
    points = positions.shape[0]
    if not 1 <= count <= points:
        raise ValueError(f"count={count}; between 1 and the {points} points of the cloud are needed")

    def add(distances: Array, last: Array) -> tuple[tuple[Array, Array], Array]:
        distances = jnp.minimum(distances, jnp.square(positions - positions[last]).sum(-1))
        return (distances, jnp.argmax(distances)), last

    far = jnp.full(points, jnp.inf, positions.dtype)
    _, chosen = jax.lax.scan(lambda carry, _: add(*carry), (far, jnp.argmin(far)), length=count)
    return chosen.astype(jnp.int32)


@partial(jax.jit, static_argnums=3)
def ball_query(
    positions: Float[Array, "points space"],
    centres: Float[Array, "centres space"],
    radius: Number | Float[Array, ""],
    neighbours: int,
) -> Int[Array, "centres neighbours"]:
    """Indices of the nearest `neighbours` points within `radius` of every centre; free places repeat the nearest.

    Repetition does not change a maximum over the neighbours, so a ball with few points needs no mask.

    Args:
        positions: coordinates (T, D).
        centres: coordinates (S, D).
        radius: of the balls, in the unit of the coordinates.
        neighbours: places K of every ball, at most T; static.

    Raises:
        ValueError: a number of neighbours outside 1 to T.
    """
    points = positions.shape[0]
    if not 1 <= neighbours <= points:
        raise ValueError(f"neighbours={neighbours}; between 1 and the {points} points of the cloud are needed")
    squared = jnp.square(centres[:, None] - positions[None]).sum(-1)
    negative, nearest = jax.lax.top_k(-squared, neighbours)
    return jnp.where(-negative <= radius**2, nearest, nearest[:, :1]).astype(jnp.int32)


class PointMLP(nnx.Module):
    """Linear, ReLU, BN, for every point alike."""

    def __init__(self, widths: Sequence[int], *, rngs: nnx.Rngs):
        pairs = list(pairwise(widths))
        self.linears = nnx.List([linear(inputs, outputs, rngs=rngs) for inputs, outputs in pairs])
        self.norms = nnx.List([BatchNorm(outputs, rngs=rngs) for outputs in widths[1:]])

    def __call__(self, x: Float[Array, "*points inputs"]) -> Float[Array, "*points outputs"]:
        for layer, norm in zip(self.linears, self.norms):
            x = norm(nnx.relu(layer(x)))
        return x


class SetAbstraction(nnx.Module):
    """Features of a share of the points, each the maximum over its ball of an MLP of features and offsets.

    Args:
        ratio: share of the points that are kept.
        radius: of the balls.
        neighbours: places K in a ball (fewer where a cloud has fewer points).
        features: channels of the input's features; 0 where there are positions only.
        widths: outputs of the MLP's layers.
        rngs: where the parameters are drawn from.
    """

    def __init__(
        self,
        ratio: Number,
        radius: Number,
        neighbours: int,
        features: int,
        widths: Sequence[int],
        *,
        rngs: nnx.Rngs,
    ):
        self.ratio, self.radius, self.neighbours = ratio, radius, neighbours
        self.mlp = PointMLP((features + 3, *widths), rngs=rngs)

    def __call__(
        self, features: Float[Array, "batch points channels"] | None, positions: Float[Array, "batch points 3"]
    ) -> tuple[Float[Array, "batch centres outputs"], Float[Array, "batch centres 3"]]:
        """Features and positions of the points that are kept."""
        points = positions.shape[1]
        count, places = max(1, round(self.ratio * points)), min(self.neighbours, points)
        take = jax.vmap(lambda rows, index: rows[index])
        centres = take(positions, jax.vmap(lambda p: farthest_point_sampling(p, count))(positions))
        near = jax.vmap(lambda p, c: ball_query(p, c, self.radius, places))(positions, centres)
        grouped = take(positions, near) - centres[:, :, None]
        if features is not None:
            grouped = jnp.concatenate([take(features, near), grouped], axis=-1)
        return self.mlp(grouped).max(axis=2), centres


class PointNet2(nnx.Module):
    """PointNet++ with single-scale grouping: two set abstractions, a global one, and a classifier with dropout.

    Moments are exchanged on the features (B, T, C) after the first set abstraction; positions stay with their cloud.
    The official code's norm there is "in", over the points. Clouds should fill the unit ball.

    Args:
        classes: number of logits.
        moex: the exchange, or None for a network without one.
        ratios: share of the points kept by the two set abstractions.
        radii: of their balls.
        neighbours: places in their balls.
        width: factor of all layer widths; 1 is the published network.
        dropout: rate, in the classifier.
        rngs: where parameters and dropout are drawn from.
    """

    def __init__(
        self,
        classes: int,
        *,
        moex: MoEx | None = None,
        ratios: tuple[Number, Number] = (0.5, 0.25),
        radii: tuple[Number, Number] = (0.2, 0.4),
        neighbours: int = 64,
        width: Number = 1,
        dropout: Number = 0.5,
        rngs: nnx.Rngs,
    ):
        def scaled(*widths: int) -> list[int]:
            return [max(1, round(width * one)) for one in widths]

        first, second, third = scaled(64, 64, 128), scaled(128, 128, 256), scaled(256, 512, 1024)
        self.sa1 = SetAbstraction(ratios[0], radii[0], neighbours, 0, first, rngs=rngs)
        self.moex = moex
        self.sa2 = SetAbstraction(ratios[1], radii[1], neighbours, first[-1], second, rngs=rngs)
        self.sa3 = PointMLP([second[-1] + 3, *third], rngs=rngs)
        hidden = scaled(512, 256)
        self.fc1 = linear(third[-1], hidden[0], rngs=rngs)
        self.fc2 = linear(hidden[0], hidden[1], rngs=rngs)
        self.fc3 = linear(hidden[1], classes, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(
        self, positions: Float[Array, "batch points 3"], plan: MixPlan | None = None
    ) -> Float[Array, "batch classes"]:
        """Logits of clouds (B, T, 3); moments are exchanged by `plan` in train mode."""
        h, centres = self.sa1(None, positions)
        h, centres = self.sa2(exchange(self.moex, h, plan), centres)
        h = self.sa3(jnp.concatenate([h, centres], axis=-1)).max(axis=1)
        h = self.dropout(nnx.relu(self.fc1(h)))
        h = self.dropout(nnx.relu(self.fc2(h)))
        return self.fc3(h)
