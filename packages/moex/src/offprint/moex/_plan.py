"""Plans: which samples of a batch are mixed with which, drawn outside the model so that model and loss agree."""

import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Per = Literal["batch", "elem"]
Probability = float | int | Float[Array | np.ndarray, ""]


class MixPlan(NamedTuple):
    """Who is mixed with whom, and how much; a pytree. Where it is off, π(i) = i and λ = 1."""

    on: Bool[Array, "*samples"]
    """() for the batch, or (B,) for each sample: whether anything is mixed."""
    swap_index: Int[Array, "batch"]
    """(B,) int32, π: sample i is mixed with sample π(i)."""
    lam: Float[Array, "*samples"]
    """() or (B,), λ: the weight of a sample's own label; 1 - λ is that of sample π(i)."""


class Box(NamedTuple):
    """Rows r0..r1-1 and columns c0..c1-1; every field int32, () or with the shape of a batch of boxes."""

    r0: Int[Array, "*boxes"]
    r1: Int[Array, "*boxes"]
    c0: Int[Array, "*boxes"]
    c1: Int[Array, "*boxes"]


class CutMixPlan(NamedTuple):
    """A plan of CutMix; a pytree. Where it is off, π(i) = i, λ = 1 and the box is empty."""

    on: Bool[Array, "*samples"]
    """() for the batch, or (B,) for each sample."""
    swap_index: Int[Array, "batch"]
    """(B,) int32, π: sample i gets a box of sample π(i)."""
    lam: Float[Array, "*samples"]
    """() or (B,), λ_c: 1 minus the share of the box in the area."""
    box: Box
    """The box, () or (B,)."""


def sample_plan(
    key: PRNGKeyArray,
    batch_size: int,
    p: Probability = 0.5,
    lam: float | int | Float[Array | np.ndarray, "*samples"] = 0.9,
    *,
    alpha: float | int | None = None,
    per: Per = "batch",
) -> MixPlan:
    """Draw with probability p a random permutation π of the batch, else the plan that changes nothing.

    Args:
        key: a typed key.
        batch_size: number of samples B; odd is fine.
        p: probability that the plan is on; may be traced, such as a schedule's value.
        lam: λ, fixed, as in the paper: () or (B,).
        alpha: draw λ ~ Beta(α, α) instead, as Mixup does; `lam` is then not looked at.
        per: `"batch"`: one draw for all; `"elem"`: each sample is on with probability p by itself, and with
            `alpha` has its own λ.

    Returns:
        `MixPlan`, with `on` and `lam` of shape () for a batch, (B,) for elements or a λ for each sample.

    Raises:
        ValueError: p or λ outside [0, 1], α not above 0, a λ of another length, `per` unknown.

    Warns:
        UserWarning: one sample and p > 0, since there is no partner.

    Source: Li et al., CVPR 2021, section 3.1.
    """
    check_plan(batch_size, p, lam, alpha, per)
    for_on, for_index, for_lam = jax.random.split(key, 3)
    shape = () if per == "batch" else (batch_size,)
    on = jax.random.bernoulli(for_on, jnp.asarray(p, float), shape)
    weight = jnp.asarray(lam, float) if alpha is None else symmetric_beta(for_lam, alpha, shape)
    return switched(on, jax.random.permutation(for_index, batch_size), weight)


def identity_plan(batch_size: int) -> MixPlan:
    """The plan that changes nothing."""
    return MixPlan(jnp.asarray(False), jnp.arange(batch_size, dtype=jnp.int32), jnp.ones((), float))


def switched(on: Bool[Array, "*on"], swap_index: Int[Array, "batch"], lam: Float[Array, "*lam"]) -> MixPlan:
    """The plan with this permutation and λ where `on`, and the identity elsewhere."""
    own = jnp.arange(swap_index.shape[0], dtype=jnp.int32)
    return MixPlan(on, jnp.where(on, swap_index.astype(jnp.int32), own), jnp.where(on, lam, 1.0))


def box_plan(on: Bool[Array, "*on"], swap_index: Int[Array, "batch"], lam: Float[Array, "*on"], box: Box) -> CutMixPlan:
    """The plan of CutMix with this permutation, λ_c and box where `on`; elsewhere the identity with an empty box."""
    return CutMixPlan(*switched(on, swap_index, lam), Box(*(jnp.where(on, edge, 0) for edge in box)))


def scheduled_probability(
    p: float | int, *, start: int = 0, stop: int | None = None
) -> Callable[[int | Int[Array | np.ndarray, ""]], Float[Array, ""]]:
    """A function of the epoch: p from epoch `start` up to but not including `stop`, else 0.

    Its value may go into `sample_plan` under `jit`: on and off epochs share one compilation.

    Raises:
        ValueError: p outside [0, 1]; a window that is empty or starts before epoch 0.
    """
    check_fraction("p", p)
    if start < 0 or (stop is not None and stop <= start):
        raise ValueError(f"start={start} and stop={stop}; 0 <= start < stop is needed (stop=None for no end)")

    def probability(epoch: int | Int[Array | np.ndarray, ""]) -> Float[Array, ""]:
        inside = jnp.asarray(epoch) >= start
        if stop is not None:
            inside &= jnp.asarray(epoch) < stop
        return jnp.where(inside, float(p), 0.0)

    return probability


def symmetric_beta(key: PRNGKeyArray, alpha: float | int, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Beta(α, α); with α = 1 it is uniform, which needs no rejection sampling."""
    return jax.random.uniform(key, shape) if alpha == 1 else jax.random.beta(key, alpha, alpha, shape)


def check_plan(
    batch_size: int,
    p: Probability,
    lam: float | int | Float[Array | np.ndarray, "*samples"],
    alpha: float | int | None,
    per: str,
) -> None:
    """The errors and the warning of `sample_plan`, for every function that draws a plan."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; at least 1 sample is needed")
    if per not in get_args(Per):
        raise ValueError(f"per={per!r} is unknown; 'batch' or 'elem' is needed")
    check_fraction("p", p)
    check_fraction("lam", lam)
    if np.shape(lam) not in ((), (batch_size,)):
        raise ValueError(
            f"lam has shape {np.shape(lam)}; one number or one for each sample, ({batch_size},), is needed"
        )
    if alpha is not None and not alpha > 0:
        raise ValueError(f"alpha={alpha}; a number above 0 is needed for Beta(alpha, alpha)")
    if batch_size == 1 and not isinstance(p, jax.core.Tracer) and p > 0:
        warnings.warn("a batch of one sample has no partner to mix with: every plan is the identity", stacklevel=3)


def check_fraction(name: str, value: float | int | Float[Array | np.ndarray, "..."]) -> None:
    """ValueError unless every known value lies in [0, 1]."""
    if isinstance(value, jax.core.Tracer):
        return
    values = np.asarray(value, float)
    if not np.all((values >= 0) & (values <= 1)):
        needed = "numbers in [0, 1] are needed" if values.ndim else "a number in [0, 1] is needed"
        raise ValueError(f"{name}={value}; {needed}")
