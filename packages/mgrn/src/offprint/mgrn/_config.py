"""Static configuration of the layer: its sizes, its dropout rates, and how it is executed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import jax

from offprint.mgrn._groups import Groups, group_sizes, num_features, parse_groups


@dataclass(frozen=True)
class MGRNConfig:
    """The sizes of a memory-gated recurrent network, in the paper's symbols in brackets.

    Hashable, so that it can be a static argument of jitted functions.

    Raises:
        ValueError: groups that are no partition, H < 1, int(s·H) < 1, fewer than one output.
    """

    groups: Groups
    """Columns of every group (k = 1..G)."""
    hidden: int
    """Units of every marginal memory (H)."""
    size_of: float | int = 1.0
    """Joint units per marginal unit (s): J = int(s·H)."""
    outputs: int | None = 1
    """Outputs of the linear head (C); None for no head."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", parse_groups(self.groups))
        if self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}.")
        if self.joint < 1:
            raise ValueError(
                f"the joint memory needs at least 1 unit, but int(size_of * hidden) = int({self.size_of:g} * "
                f"{self.hidden}) = {self.joint}; give a larger size_of or hidden."
            )
        if self.outputs is not None and self.outputs < 1:
            raise ValueError(f"outputs must be at least 1, or None for no head, got {self.outputs}.")

    @property
    def num_groups(self) -> int:
        """G."""
        return len(self.groups)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Columns per group (f_k)."""
        return group_sizes(self.groups)

    @property
    def features(self) -> int:
        """Columns of the input (F)."""
        return num_features(self.groups)

    @property
    def joint(self) -> int:
        """Units of the joint memory (J = int(s·H))."""
        return int(self.size_of * self.hidden)


@dataclass(frozen=True)
class DropoutRates:
    """Probabilities of dropping, each in [0, 1) (dropouti, dropoutw, dropouto of the official layer).

    Raises:
        ValueError: a rate outside [0, 1).
    """

    input: float | int = 0.0
    """Of an input feature, and of a candidate read by the joint memory: one mask per sequence, shared over time."""
    recurrent: float | int = 0.0
    """Of a recurrent weight (DropConnect on w_hh and u_z): one mask per call, shared over time and batch."""
    output: float | int = 0.0
    """Of a joint unit, before the head."""

    def __post_init__(self) -> None:
        for name in ("input", "recurrent", "output"):
            check_rate(f"the {name} dropout rate", getattr(self, name))

    @property
    def any(self) -> bool:
        """Whether anything is dropped."""
        return bool(self.input or self.recurrent or self.output)


def check_rate(name: str, rate: float | int) -> None:
    """Refuses a dropout rate outside [0, 1) by a ValueError."""
    if not 0 <= rate < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {rate}.")


@dataclass(frozen=True)
class Execution:
    """How the recurrences run. The results are the same to rounding, whatever is chosen.

    Raises:
        ValueError: a value that is not one of those named.
    """

    unroll: int | Literal["auto"] = "auto"
    """Steps per iteration of the loop; "auto" unrolls at most 8 steps whole and takes 1 per iteration beyond (4 on
    a GPU)."""
    precision: jax.lax.PrecisionLike = field(default=None)
    """Of every matrix product, as in `jax.numpy.matmul`; None is JAX's default (TF32 on some GPUs)."""
    vjp: Literal["custom", "autodiff"] = "custom"
    """Backward pass: the hand-derived recurrences, or JAX's own derivative of the scan."""
    kernel: Literal["scan", "pallas", "interpret"] = "scan"
    """Marginal recurrence: `lax.scan`, one Pallas GPU kernel over all of time, or that kernel interpreted (tests)."""
    remat: int | bool = False
    """Steps per chunk of which only the states at its start are kept for the backward pass (memory against one
    more forward pass); True takes about sqrt(T)."""

    def __post_init__(self) -> None:
        if self.unroll != "auto" and self.unroll < 1:
            raise ValueError(f'unroll must be at least 1 or "auto", got {self.unroll!r}.')
        if self.vjp not in ("custom", "autodiff"):
            raise ValueError(f'vjp must be "custom" or "autodiff", got {self.vjp!r}.')
        if self.kernel not in ("scan", "pallas", "interpret"):
            raise ValueError(f'kernel must be "scan", "pallas" or "interpret", got {self.kernel!r}.')
        if self.kernel != "scan" and self.vjp == "autodiff":
            raise ValueError(f'kernel={self.kernel!r} has no automatic derivative; use vjp="custom".')
        if self.remat < 0:
            raise ValueError(f"remat must be True, False or a number of steps, got {self.remat!r}.")

    def steps_per_iteration(self, steps: int) -> int:
        """`unroll` for a loop of that many steps, on the default device."""
        if self.unroll != "auto":
            return min(self.unroll, max(steps, 1))
        if steps <= 8:
            return max(steps, 1)
        return 1 if jax.default_backend() == "cpu" else 4


def make_config(
    groups: Sequence[int] | Sequence[Sequence[int]],
    hidden: int,
    size_of: float | int = 1.0,
    outputs: int | None = 1,
    *,
    features: int | None = None,
) -> MGRNConfig:
    """An `MGRNConfig` from sizes or column lists; `features` is F where it is known from elsewhere."""
    return MGRNConfig(parse_groups(groups, features), hidden, size_of, outputs)
