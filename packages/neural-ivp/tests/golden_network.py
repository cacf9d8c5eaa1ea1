"""The golden networks, plainly: one MLP for each component, as golden/README.md describes them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass
class PlainChain:
    layers: list
    activation: Any
    features: Any
    scale: Any


@dataclass(frozen=True)
class GoldenNetwork:
    """apply(theta, x, t), with θ ordered by (component, layer, bias before W)."""

    d: int
    L: int
    scaling: float
    width: int
    blocks: int

    @classmethod
    def of(cls, g):
        return cls(g["X"].shape[1], int(g["L"]), float(g["scaling"]), int(g["width"]), int(g["n_outputs"]))

    def features(self, x):
        w = (jnp.pi / 2) * 2.0 ** jnp.arange(self.L)
        phase = w[:, None] * x
        parts = [4 * wave(phase) / w[:, None] ** self.scaling for wave in (jnp.sin, jnp.cos)]
        return 1.5 * jnp.concatenate([part.reshape(-1) for part in parts])

    def scale(self, x):
        return jnp.prod(1 - x**2)

    def layers(self, theta):
        sizes = [2 * self.d * self.L, self.width, self.width, self.width, 1]
        layers, at = [], 0
        theta = theta.reshape(self.blocks, -1)
        for i, o in pairwise(sizes):
            b, W = theta[:, at : at + o], theta[:, at + o : at + o + i * o]
            layers.append((W.reshape(self.blocks, i, o), b))
            at += o + i * o
        return layers

    def chain(self, theta):
        return PlainChain(self.layers(theta), jax.nn.swish, self.features, self.scale)

    def __call__(self, theta, x, t=0.0):
        a = jnp.broadcast_to(self.features(x), (self.blocks, 2 * self.d * self.L))
        layers = self.layers(theta)
        for W, b in layers[:-1]:
            a = jax.nn.swish(jnp.einsum("bi,bio->bo", a, W) + b)
        W, b = layers[-1]
        return self.scale(x) * (jnp.einsum("bi,bio->bo", a, W) + b)[:, 0]


def positions(g):
    """Where each entry of θ, in the order (component, layer, bias before W), stands in the golden vectors."""
    k, at, found = int(g["n_outputs"]), 0, {}
    modules = {f"linear_{3 * o + j}" if 3 * o + j else "linear": (o, j) for o in range(k) for j in range(3)}
    modules |= {f"linear_{3 * k + o}": (o, 3) for o in range(k)}
    for name in sorted(modules):
        o, j = modules[name]
        size = g[f"b_out{o}_layer{j}"].size + g[f"W_out{o}_layer{j}"].size
        found[o, j] = np.arange(at, at + size)
        at += size
    return np.concatenate([found[o, j] for o in range(k) for j in range(4)])
