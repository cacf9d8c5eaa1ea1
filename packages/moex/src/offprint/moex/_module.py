"""Moment exchange inside a network: as a module, or between two functions."""

from collections.abc import Callable
from typing import Any, Literal

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.moex._exchange import AxisName, moment_exchange
from offprint.moex._norms import NormSpec, parse_norm
from offprint.moex._plan import MixPlan, check_fraction, sample_plan

Branch = Literal["cond", "where"]


def apply_plan(
    h: Float[Array, "batch *features"],
    plan: MixPlan | None,
    norm: str | NormSpec = "pono",
    *,
    branch: Branch = "cond",
    **options: Any,
) -> Float[Array, "batch *features"]:
    """Features with moments exchanged as the plan says; without a plan, as they are.

    Args:
        h: features (B, ..., C).
        plan: from `sample_plan`.
        norm: see `moment_exchange`.
        branch: `"cond"`: a plan for the batch that is off costs nothing (under `vmap` both branches are computed);
            `"where"`: always computed, with the identity permutation when off. The results are the same bits.
            Plans for each sample, and `axis_name`, always take the second.
        **options: further arguments of `moment_exchange`.

    Raises:
        ValueError: an unknown branch; see `moment_exchange`.
    """
    if branch not in ("cond", "where"):
        raise ValueError(f"branch={branch!r} is unknown; 'cond' or 'where' is needed")
    if plan is None:
        return h

    def exchange(h: Array) -> Array:
        return moment_exchange(h, plan.swap_index, norm, **options)

    if branch == "where" or plan.on.ndim or options.get("axis_name") is not None:
        return exchange(h)
    if not isinstance(plan.on, jax.core.Tracer):
        return exchange(h) if plan.on else h
    return jax.lax.cond(plan.on, exchange, lambda h: h, h)


class MoEx(nnx.Module):
    """Moment exchange at the place where the module stands in a network: called as `moex(h, plan)`.

    It has no parameters and draws nothing: the plan is drawn outside, with `moex.sample_plan(key, B)` or
    `sample_plan`, so that the loss mixes the targets of the same samples. Without a plan, and in evaluation
    (`model.eval()`), features pass through, whatever the plan.

    Args:
        norm: see `moment_exchange`.
        p, lam: probability and λ of `sample_plan`; the paper's recipes have them in `PRESETS`.
        channel_axis, eps, ddof, positive_only, detach_moments, axis_name: see `moment_exchange`.
        branch: see `apply_plan`.

    Raises:
        ValueError: an unknown norm; p or λ outside [0, 1].

    Source: Li et al., CVPR 2021, section 3; for the place in each network, section 4 and the public code.
    """

    def __init__(
        self,
        norm: str | NormSpec = "pono",
        *,
        p: float | int = 0.5,
        lam: float | int = 0.9,
        channel_axis: int = -1,
        eps: float | int = 1e-5,
        ddof: int = 1,
        positive_only: bool = False,
        detach_moments: bool = False,
        axis_name: AxisName | None = None,
        branch: Branch = "cond",
    ) -> None:
        check_fraction("p", p)
        check_fraction("lam", lam)
        self.norm = parse_norm(norm)
        self.p, self.lam = p, lam
        self.channel_axis, self.eps, self.ddof = channel_axis, eps, ddof
        self.positive_only, self.detach_moments = positive_only, detach_moments
        self.axis_name, self.branch = axis_name, branch
        self.deterministic = False

    def __call__(
        self, h: Float[Array, "batch *features"], plan: MixPlan | None = None
    ) -> Float[Array, "batch *features"]:
        """Features (B, ..., C) with moments exchanged by the plan; the shape and dtype of `h`."""
        if plan is None or self.deterministic:
            return h
        return apply_plan(
            h,
            plan,
            self.norm,
            branch=self.branch,
            channel_axis=self.channel_axis,
            eps=self.eps,
            ddof=self.ddof,
            positive_only=self.positive_only,
            detach_moments=self.detach_moments,
            axis_name=self.axis_name,
        )

    def sample_plan(self, key: PRNGKeyArray, batch_size: int) -> MixPlan:
        """A plan with this module's p and λ; see `sample_plan`."""
        return sample_plan(key, batch_size, self.p, self.lam)


def wrap(
    stem: Callable[..., Any], rest: Callable[[Any], Any], norm: str | NormSpec = "pono", **options: Any
) -> Callable[..., Any]:
    """Moment exchange between the two parts of any model: x, plan -> rest(exchange(stem(x), plan)).

    Args:
        stem: from the input to the features (B, ..., C) where moments are exchanged.
        rest: from there to the output.
        norm: see `moment_exchange`.
        **options: arguments of `apply_plan`.

    Returns:
        `apply(*inputs, plan=None)`; without a plan it is rest(stem(*inputs)), as in evaluation.

    Raises:
        ValueError: an unknown norm.
    """
    spec = parse_norm(norm)

    def apply(*inputs: Any, plan: MixPlan | None = None) -> Any:
        return rest(apply_plan(stem(*inputs), plan, spec, **options))

    return apply
