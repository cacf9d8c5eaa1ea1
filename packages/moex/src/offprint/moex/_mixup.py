"""Mixup: two samples, or their features at a hidden layer, in the proportion of their labels."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from offprint.moex._plan import MixPlan, Per, Probability, sample_plan
from offprint.moex._targets import mix_targets


def mix_features(h: Float[Array | np.ndarray, "batch *features"], plan: MixPlan) -> Float[Array, "batch *features"]:
    """h_i ← λ h_i + (1 - λ) h_π(i), computed in float32 at least; the shape and dtype of `h`.

    Of the input it is Mixup (Zhang et al., ICLR 2018), of a hidden layer Manifold Mixup (Verma et al., ICML 2019).

    Raises:
        TypeError: `h` is not floating.
        ValueError: a plan for another number of samples.
    """
    if not jnp.issubdtype(h.dtype, jnp.floating):
        raise TypeError(f"features must be floating, got {h.dtype}: scale integer images first, as in x / 255")
    if plan.swap_index.shape != h.shape[:1]:
        raise ValueError(f"the plan is for {plan.swap_index.shape[0]} samples, but there are {h.shape[0]}")
    features = jnp.asarray(h)
    dtype = jnp.promote_types(features.dtype, jnp.float32)
    own = features.astype(dtype)
    lam = plan.lam.astype(dtype).reshape(-1, *[1] * (features.ndim - 1))
    return jnp.where(lam < 1, lam * own + (1 - lam) * own[plan.swap_index], own).astype(features.dtype)


def mixup(
    key: PRNGKeyArray,
    x: Float[Array | np.ndarray, "batch *dims"],
    targets: Num[Array | np.ndarray, "batch *labels"],
    *,
    alpha: float | int = 1.0,
    p: Probability = 1.0,
    per: Per = "batch",
    num_classes: int | None = None,
    smoothing: Probability = 0.0,
) -> tuple[Float[Array, "batch *dims"], Float[Array, "batch *soft"]]:
    """Inputs mixed in pairs with λ ~ Beta(α, α), and their soft targets.

    Args:
        key: a typed key.
        x: inputs (B, ...).
        targets: integer or soft labels, see `soft_targets`.
        alpha: α; 1 draws λ uniformly.
        p: probability that anything is mixed.
        per: `"batch"`: one λ for all; `"elem"`: for each sample its own.
        num_classes, smoothing: see `soft_targets`.

    Returns:
        (inputs of the shape and dtype of `x`, soft targets (B, K)).

    Raises:
        TypeError: `x` is not floating.
        ValueError: see `sample_plan`, `soft_targets`.

    Source: Zhang et al., ICLR 2018, equation 1.
    """
    plan = sample_plan(key, x.shape[0], p, alpha=alpha, per=per)
    return mix_features(x, plan), mix_targets(targets, plan, num_classes, smoothing)


class ManifoldMixup(nnx.Module):
    """Manifold Mixup at the place where the module stands in a network: called like `MoEx`, as `mixup(h, plan)`.

    The plan is drawn outside with `sample_plan(key, B, p, alpha=alpha)`; without one, and in evaluation
    (`model.eval()`), features pass through.
    """

    def __init__(self) -> None:
        self.deterministic = False

    def __call__(
        self, h: Float[Array, "batch *features"], plan: MixPlan | None = None
    ) -> Float[Array, "batch *features"]:
        """Features (B, ...) mixed by the plan."""
        return h if plan is None or self.deterministic else mix_features(h, plan)
