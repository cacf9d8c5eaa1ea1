"""Several ways of mixing on one batch: soft targets go through each by the same rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray

from offprint.moex._cutmix import check_spatial, cutmix_box, paste_box
from offprint.moex._plan import Box, CutMixPlan, MixPlan, Probability, box_plan, check_fraction, check_plan, switched
from offprint.moex._targets import mix_targets

Augmentation = Callable[[PRNGKeyArray, Array, Array], tuple[Array, Array]]
"""A way of mixing: (key, inputs, soft targets) -> (inputs, soft targets), such as `mixup` or `cutmix`."""


def compose(*steps: Augmentation) -> Augmentation:
    """The steps one after another, each with a key of its own: `compose(mixup, cutmix)(key, x, soft)`.

    Options are bound beforehand: `functools.partial(cutmix, alpha=0.5, p=0.3)`. Targets must be soft already where
    there is no step, or where a step has no `num_classes`; see `soft_targets`.
    """

    def composed(key: PRNGKeyArray, x: Array, targets: Array) -> tuple[Array, Array]:
        for step, own in zip(steps, jax.random.split(key, max(len(steps), 1)), strict=False):
            x, targets = step(own, x, targets)
        return x, targets

    return composed


def one_of(steps: Sequence[Augmentation], probabilities: Sequence[float | int]) -> Augmentation:
    """At most one of the steps: step k with probability p_k, none with what is left to 1.

    `one_of([cutmix, mixup], [0.5, 0.5])` switches between two with equal chance. Only the step that is drawn is
    computed. Targets must be soft: (B, K), of the dtype that the steps return.

    Raises:
        ValueError: not one probability for each step; one outside [0, 1]; a sum above 1.
    """
    if len(steps) != len(probabilities):
        raise ValueError(f"{len(steps)} steps and {len(probabilities)} probabilities; one for each step is needed")
    check_fraction("probabilities", np.asarray(probabilities, float))
    if sum(probabilities) > 1 + 1e-9:
        raise ValueError(f"probabilities={list(probabilities)} sum to {sum(probabilities):.6g}; at most 1 is needed")
    bounds = np.cumsum(probabilities)

    def switch(key: PRNGKeyArray, x: Array, targets: Array) -> tuple[Array, Array]:
        for_choice, for_step = jax.random.split(key)
        choice = jnp.searchsorted(jnp.asarray(bounds), jax.random.uniform(for_choice), side="right")
        branches = [*steps, lambda key, x, targets: (x, targets)]
        return jax.lax.switch(choice, branches, for_step, x, targets)

    return switch


@dataclass(frozen=True)
class Mixing:
    """What is mixed in a batch of training: moment exchange, alone or with CutMix.

    A pytree whose probabilities and weights are leaves, so that one compiled step serves other values of them.

    Raises:
        ValueError: a probability or λ outside [0, 1]; smoothing outside [0, 1); α not above 0; cutmix_p above 0
            without α; p + cutmix_p above 1 when exclusive.

    Source: public code of the paper; see `PRESETS`.
    """

    p: Probability = 0.0
    """Probability of a moment exchange in a batch."""
    lam: Probability = 0.9
    """λ of moment exchange: the weight of the label whose content is kept."""
    smoothing: Probability = 0.0
    """Label smoothing: that share of every target is spread over all classes."""
    cutmix_p: Probability = 0.0
    """Probability of CutMix in a batch."""
    cutmix_alpha: float | int | None = None
    """α of CutMix, λ_c ~ Beta(α, α); None: no CutMix, and inputs may be of any shape (B, ...)."""
    exclusive: bool = False
    """One draw decides between CutMix, moment exchange and neither, instead of two that may both be on."""
    same_permutation: bool = True
    """CutMix and moment exchange take the same π, as in the public code; else each its own."""

    def __post_init__(self) -> None:
        known = {name: value for name in _LEAVES if isinstance(value := getattr(self, name), int | float)}
        for name, value in known.items():
            check_fraction(name, value)
        if known.get("smoothing") == 1:
            raise ValueError("smoothing=1 leaves nothing of the labels; a number in [0, 1) is needed")
        if self.cutmix_alpha is None and known.get("cutmix_p", 0) > 0:
            raise ValueError(f"cutmix_p={self.cutmix_p} needs cutmix_alpha, such as 1.0")
        if self.cutmix_alpha is not None and not self.cutmix_alpha > 0:
            raise ValueError(f"cutmix_alpha={self.cutmix_alpha}; a number above 0 is needed for Beta(alpha, alpha)")
        if self.exclusive and known.get("p", 0) + known.get("cutmix_p", 0) > 1:
            raise ValueError(
                f"exclusive with p={self.p} and cutmix_p={self.cutmix_p}: their sum must be at most 1; lower one"
            )


_LEAVES = ("p", "lam", "smoothing", "cutmix_p")
jax.tree_util.register_dataclass(
    Mixing, data_fields=_LEAVES, meta_fields=("cutmix_alpha", "exclusive", "same_permutation")
)

PRESETS = {
    "cifar-pyramidnet": Mixing(p=0.25, lam=0.5),
    "cifar-pyramidnet-earlier": Mixing(p=0.5, lam=0.2),
    "imagenet": Mixing(p=1.0, lam=0.9),
    "imagenet-cutmix": Mixing(p=0.25, lam=0.9, cutmix_p=1.0, cutmix_alpha=1.0),
    "modelnet": Mixing(p=0.5, lam=0.9),
}
"""Probabilities and weights of the public code of the paper: its CIFAR script and an earlier README of it, its ImageNet
scripts without and with CutMix, its ModelNet script (whose norm is `in`)."""


class MixedBatch(NamedTuple):
    """What a training step needs; a pytree."""

    x: Num[Array, "batch *dims"]
    """(B, H, W, ...) inputs, with boxes pasted where CutMix is on."""
    targets: Float[Array, "batch *soft"]
    """(B, K) soft targets, after CutMix and moment exchange."""
    plan: MixPlan
    """For the network: `net(x, plan)`."""
    cutmix: CutMixPlan
    """What CutMix did; `dominant_labels` counts accuracy with it."""


def mix_batch(
    key: PRNGKeyArray,
    x: Num[Array | np.ndarray, "batch *dims"],
    targets: Num[Array | np.ndarray, "batch *labels"],
    mixing: Mixing,
    num_classes: int | None = None,
    *,
    spatial_axes: tuple[int, int] = (1, 2),
) -> MixedBatch:
    """Inputs, soft targets and the plan of moment exchange for one training step.

    CutMix is on with cutmix_p, moment exchange with p, independently: targets become t ← λ_c t + (1 - λ_c) t_π, then
    t ← λ t + (1 - λ) t_π. Exclusive: a uniform u < cutmix_p is CutMix, u < cutmix_p + p moment exchange.

    Args:
        key: a typed key.
        x: inputs (B, H, W, ...).
        targets: integer or soft labels, see `soft_targets`.
        mixing: the settings; one of `PRESETS`, or your own.
        num_classes: K; needed for integer labels.
        spatial_axes: see `paste_box`.

    Raises:
        ValueError: see `soft_targets`, `paste_box`.

    Warns:
        UserWarning: one sample, since there is no partner.

    Source: public code of the paper, ImageNet training scripts (combined and exclusive).
    """
    inputs, batch_size = jnp.asarray(x), x.shape[0]
    check_plan(batch_size, mixing.p, mixing.lam, mixing.cutmix_alpha, "batch")
    for_on, for_first, for_second, for_box = jax.random.split(key, 4)
    cutmix_on, exchange_on = _draw(for_on, mixing)
    first = jax.random.permutation(for_first, batch_size)
    second = first if mixing.same_permutation else jax.random.permutation(for_second, batch_size)
    if mixing.cutmix_alpha is None:
        cutmix = box_plan(cutmix_on, first, jnp.ones((), float), Box(*[jnp.zeros((), jnp.int32)] * 4))
    else:
        check_spatial(inputs.shape, spatial_axes)
        height, width = (inputs.shape[axis] for axis in spatial_axes)
        box, lam_c = cutmix_box(for_box, height, width, alpha=mixing.cutmix_alpha)
        cutmix = box_plan(cutmix_on, first, lam_c, box)
        inputs = jax.lax.cond(cutmix.on, lambda x: paste_box(x, cutmix, spatial_axes=spatial_axes), lambda x: x, inputs)
    plan = switched(exchange_on, second, jnp.asarray(mixing.lam, float))
    soft = mix_targets(mix_targets(targets, cutmix, num_classes, mixing.smoothing), plan)
    return MixedBatch(inputs, soft, plan, cutmix)


def _draw(key: PRNGKeyArray, mixing: Mixing) -> tuple[Array, Array]:
    """Whether CutMix is on, and whether moment exchange is."""
    p_cutmix = 0.0 if mixing.cutmix_alpha is None else mixing.cutmix_p
    u, v = jax.random.uniform(key, (2,))
    cutmix_on = u < p_cutmix
    return cutmix_on, ~cutmix_on & (u < p_cutmix + mixing.p) if mixing.exclusive else v < mixing.p
