"""Block multipliers and learning rates that keep training the same as the depth grows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import optax
from jaxtyping import PyTree

Optimizer = Literal["adam", "sgd"]
NAMES = ("standard", "neural-ode", "depth-mup")


@dataclass(frozen=True)
class Parametrisation:
    """How a residual network of a given depth and width is scaled.

    The learning-rate multipliers are relative to a learning rate that is tuned once, at any depth.
    """

    name: str
    block_multiplier: float
    """c of h + c·block(h), the same for all L blocks."""
    matrix_sd: float
    """Standard deviation of the entries of hidden matrices at initialisation."""
    adam: dict[str, float]
    """Adam's learning-rate multipliers of the labels `matrix`, `vector` (biases) and `other` (outside the blocks)."""
    sgd: dict[str, float]
    """The same for SGD."""

    def scale(
        self,
        optimizer: optax.GradientTransformation,
        labels: PyTree | Callable[[PyTree], PyTree] | None = None,
        *,
        kind: Optimizer = "adam",
    ) -> optax.GradientTransformation:
        """The optimiser with its learning rate multiplied as the parametrisation asks.

        Args:
            optimizer: with the learning rate that was tuned, such as `optax.adam(2**-4)`. Adam and its kin are "adam";
                SGD, with momentum or not, is "sgd". A decoupled weight decay is scaled along with the learning rate.
            labels: "matrix", "vector" or "other" for every leaf (or a prefix of the tree), or a function of the
                parameters that gives them; by default those of `layer_labels`.
            kind: which rule applies.

        Raises:
            ValueError: another `kind`.
        """
        if kind not in ("adam", "sgd"):
            raise ValueError(
                f"kind={kind!r} is unknown; 'adam' (any optimiser that divides by the gradient's size) or 'sgd'"
            )
        rates = self.adam if kind == "adam" else self.sgd
        scales = {label: optax.scale(rate) for label, rate in rates.items()}
        return optax.chain(optimizer, optax.partition(scales, layer_labels if labels is None else labels))


def parametrisation(name: str, depth: int, width: int, *, base_width: int | None = None) -> Parametrisation:
    """Multipliers for a stack of L one-layer residual blocks h + c σ(h A_k + b_k).

    | name | c | Adam | SGD |
    | --- | --- | --- | --- |
    | "standard" | 1 | 1 | 1 |
    | "neural-ode" | 1/L | 1 | L |
    | "depth-mup" | 1/√L | 1/√L | 1 |

    The rules for the learning rate follow from c · (change of the block) · L = O(1): Adam's change is its learning
    rate, SGD's is the learning rate times a gradient of order c. With `base_width`, "depth-mup" also has the rules of
    μP for the width: Adam's learning rate of the hidden matrices times base_width/width, SGD's of the biases times
    width/base_width.

    Args:
        name: one of the three.
        depth: L.
        width: d; hidden matrices start with standard deviation 1/√d.
        base_width: width at which the learning rate was tuned; the width itself by default.

    Raises:
        ValueError: another name; a depth or a width below 1.

    Source: Yang, Yu, Zhu, Hayou, Tensor Programs VI, arXiv:2310.02244; Marion et al. 2025 for 1/L and 1/√L.
    """
    if name not in NAMES:
        raise ValueError(f"parametrisation {name!r} is unknown; one of {', '.join(map(repr, NAMES))} is needed")
    base = width if base_width is None else base_width
    if bad := [
        f"{what}={value}" for what, value in (("depth", depth), ("width", width), ("base_width", base)) if value < 1
    ]:
        raise ValueError(f"depth and widths must be at least 1, got {', '.join(bad)}")
    multiplier = {"standard": 1.0, "neural-ode": 1 / depth, "depth-mup": depth**-0.5}[name]
    adam = {"matrix": 1.0, "vector": 1.0, "other": 1.0}
    sgd = dict(adam)
    if name == "neural-ode":
        sgd |= {"matrix": float(depth), "vector": float(depth)}
    if name == "depth-mup":
        adam |= {"matrix": multiplier * base / width, "vector": multiplier}
        sgd |= {"vector": width / base}
    return Parametrisation(name, multiplier, width**-0.5, adam, sgd)


def layer_labels(params: PyTree) -> PyTree:
    """Labels for stacked layers by the number of axes: (L, d, d) and more "matrix", (L, d) "vector", else "other"."""

    def label(leaf: Any) -> str:
        return {0: "other", 1: "other", 2: "vector"}.get(leaf.ndim, "matrix")

    return jax.tree.map(label, params)
