"""Deep rewiring: training as a random walk over networks of constant connectivity."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from offprint.sparsity._counts import Patterns, check_sparsity
from offprint.sparsity._growth import active_counts, grow_best
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity.methods._counts import Dist
from offprint.sparsity.methods._method import Change, Method, View
from offprint.sparsity.methods._random import normal_like, uniform_like
from offprint.sparsity.methods._static import start
from offprint.sparsity.methods._units import pick


@dataclass(frozen=True)
class DeepR(Method):
    """Deep R: weights of fixed sign; one that would change it goes dormant, a random one wakes (`bellec2018deepr`).

    w = s θ with θ >= 0. At every step θ <- θ - η s g - η α + sqrt(2 η T) ν with normal ν on active connections; those
    with θ < 0 become dormant, and as many dormant ones, drawn at random in the same leaf, become active with θ = 0. The
    number of active connections never changes. Use it with `optax.sgd(learning_rate)`, the paper's optimiser: the pull
    α and the noise are added to the gradient, so that the step is the formula above. Signs are drawn once; those of
    the weights that are there at the start are theirs.

    Attributes:
        sparsity: share of dormant connections, in [0, 1).
        learning_rate: η, for the size of the noise; the same as the inner optimiser's.
        l1: α.
        temperature: T.
        dist: density of the leaves, see `density_map`.
        criterion: first active ones: 'random' or by 'magnitude' of the initial weights.
        filter: which leaves; default: kernels.
    """

    paper: ClassVar[str] = "bellec2018deepr"
    keeps_dense: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    sparsity: float | int
    learning_rate: float = 0.05
    l1: float = 1e-4
    temperature: float = 0.0
    dist: Dist = "uniform"
    criterion: Literal["random", "magnitude"] = "random"
    pattern: ClassVar[Patterns] = UNSTRUCTURED

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        if self.learning_rate <= 0 or self.l1 < 0 or self.temperature < 0:
            raise ValueError(
                "DeepR needs learning_rate > 0, l1 >= 0 and temperature >= 0; got "
                f"{self.learning_rate}, {self.l1} and {self.temperature}"
            )

    @property
    def draws_first(self) -> bool:
        """Signs are random, and the masks may be."""
        return True

    @property
    def draws(self) -> bool:
        """Noise and growth are random."""
        return True

    def first_masks(self, params: PyTree, key: Key[Array, ""] | None) -> PyTree[Bool[Array, "..."]]:
        """The first active connections."""
        return start(self, params, key)

    def first_own(self, params: PyTree, masks: PyTree[Bool[Array, "..."]], key: Key[Array, ""] | None) -> PyTree:
        """Whether the sign of a connection is positive."""
        assert key is not None
        drawn = uniform_like(masks, jax.random.fold_in(key, 1))
        return jax.tree.map(
            lambda mask, w, u: jnp.where(mask & (w != 0), w > 0, u < 0.5), masks, pick(params, masks), drawn
        )

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """At every step."""
        return count >= 0

    def trained(self, view: View) -> PyTree[Bool[Array, "..."]]:
        """The active connections."""
        return view.masks

    def before(self, grads: PyTree, view: View) -> tuple[PyTree, PyTree]:
        """Add the pull towards zero and the noise."""
        assert view.key is not None
        noise = normal_like(view.masks, jax.random.fold_in(view.key, 2), view.axis_name)
        pulled = jax.tree.map(
            lambda g, positive, nu: (
                g if positive is None else deepr_gradient(
                    g, positive, nu.astype(g.dtype), self.learning_rate, self.l1, self.temperature
                )
            ),
            grads, view.own, noise,
        )  # fmt: skip
        return pulled, view.own

    def change(self, view: View) -> Change:
        """Dormant where the sign changed; others, drawn at random, take their place at zero."""
        chance = uniform_like(view.masks, view.key, view.axis_name)
        masks, weights = deepr_rewire(view.masks, pick(view.params, view.masks), view.own, chance, view.axis_name)
        return Change(masks, view.own, weights)

    @property
    def sets_values(self) -> bool:
        """The dense weights: dormant ones are zero."""
        return True


def deepr_gradient(
    grad: Float[Array, "*shape"],
    positive: Bool[Array, "*shape"],
    noise: Float[Array, "*shape"],
    learning_rate: float,
    l1: float,
    temperature: float,
) -> Float[Array, "*shape"]:
    """The gradient of w with which a step of SGD is that of Deep R: g + s (α - sqrt(2 T / η) ν) (`bellec2018deepr`)."""
    pull = l1 - (2 * temperature / learning_rate) ** 0.5 * noise
    return grad + jnp.where(positive, pull, -pull)


def deepr_rewire(
    masks: PyTree[Bool[Array, "..."]],
    weights: PyTree[Float[Array, "..."]],
    positive: PyTree[Bool[Array, "..."]],
    random: PyTree[Float[Array, "..."]],
    axis_name: str | None = None,
) -> tuple[PyTree[Bool[Array, "..."]], PyTree[Float[Array, "..."]]]:
    """(masks, weights) after the connections whose sign changed gave way to dormant ones (`bellec2018deepr`).

    Those that wake are the ones with the highest `random` number among all that are dormant then, those that have just
    gone included.
    """
    gone = jax.tree.map(lambda mask, w, up: mask & jnp.where(up, w < 0, w > 0), masks, weights, positive)
    kept = jax.tree.map(lambda mask, lost: mask & ~lost, masks, gone)
    active = grow_best(kept, random, active_counts(gone, axis_name), axis_name=axis_name)
    return active, jax.tree.map(lambda mask, w: jnp.where(mask, w, 0), kept, weights)
