"""How often the decision procedure is right: random sequences of known regime, many at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from offprint.resnet_scaling import weights
from offprint.resnet_scaling._arguments import checked_depths
from offprint.resnet_scaling._classify import ScalingReport, classify_statistics
from offprint.resnet_scaling._statistics import scaling_statistics

Column = Callable[[PRNGKeyArray, int, tuple[int, ...], Array], Array]

COLUMNS: dict[str, tuple[Column, str]] = {
    "smooth": (lambda key, L, shape, x: weights.smooth(key, L, shape, beta=x), "smooth"),
    "trend and noise": (
        lambda key, L, shape, x: (
            weights.smooth(key, L, shape, beta=1.0) + weights.brownian(jax.random.fold_in(key, 1), L, shape)
        ),
        "diffusive",
    ),
    "brownian": (lambda key, L, shape, x: weights.brownian(key, L, shape), "diffusive"),
    "fractional": (lambda key, L, shape, x: weights.fbm_increments(key, L, shape, hurst=x), "rough"),
    "iid": (lambda key, L, shape, x: weights.iid(key, L, shape, beta=x), "rough"),
    "sparse": (lambda key, L, shape, x: weights.sparse(key, L, shape), "sparse"),
}
"""Name -> how a sequence is drawn (key, depth, shape of a layer, exponent), and its regime."""


@dataclass(frozen=True)
class Study:
    """Draws of one column."""

    regime: str
    """The true one."""
    exponents: np.ndarray
    """(draws,): β of "smooth" and "iid", H of "fractional"; of no effect in the others."""
    reports: tuple[ScalingReport, ...]

    @property
    def accuracy(self) -> float:
        """Share of the draws whose regime is found."""
        return sum(report.regime == self.regime for report in self.reports) / len(self.reports)


def classification_study(
    key: PRNGKeyArray,
    draws: int,
    *,
    depths: Sequence[int] = (32, 64, 128, 256, 512, 1024, 2048, 4096),
    dim: int = 3,
) -> dict[str, Study]:
    """Classify `draws` random sequences of d x d layers from each column of the paper's table of statistics.

    β of smooth weights is uniform on [0, 1], H and the β of independent layers on [0.15, 0.3] or [0.7, 0.85]: far
    enough from ½ to count as rough. A smooth sequence has the same Ā at every depth, the others are new at each.

    Raises:
        ValueError: fewer than one draw, or fewer than 4 depths.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}; at least 1 is needed")
    L = checked_depths(depths, 4)
    key_exponent, key_side, key_draw = jax.random.split(key, 3)
    uniform = jax.random.uniform(key_exponent, (draws,))
    far = 0.15 + 0.15 * uniform + 0.55 * jax.random.bernoulli(key_side, 0.5, (draws,))
    exponents = jnp.stack([uniform if name == "smooth" else far for name in COLUMNS])
    keys = jax.random.split(key_draw, draws)
    statistics = [_statistics_at(int(depth), dim, keys, exponents) for depth in L]
    return {
        name: Study(
            regime,
            np.asarray(exponents[row]),
            tuple(
                classify_statistics(
                    tuple(L.tolist()),
                    {key: np.stack([at[key][row, draw] for at in statistics])[:, None] for key in statistics[0]},
                    n_boot=0,
                )
                for draw in range(draws)
            ),
        )
        for row, (name, (_, regime)) in enumerate(COLUMNS.items())
    }


def _statistics_at(depth: int, dim: int, keys: Key[Array, "draws"], exponents: Array) -> dict[str, np.ndarray]:
    """(columns, draws) of each statistic, by one compiled program."""

    def one(key: PRNGKeyArray, exponents: Array) -> dict[str, Array]:
        sequences = [
            draw(key if name == "smooth" else jax.random.fold_in(key, depth), depth, (dim, dim), x)
            for (name, (draw, _)), x in zip(COLUMNS.items(), exponents)
        ]
        return jax.vmap(scaling_statistics)(jnp.stack(sequences))

    found = jax.jit(jax.vmap(one, in_axes=(0, 1), out_axes=1))(keys, exponents)
    return {name: np.asarray(value, float) for name, value in found.items()}
