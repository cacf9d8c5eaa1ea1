"""What preparing a log removed, step by step."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PrepareStep:
    """What is left after one step."""

    name: str
    """What was done, such as "rating >= 4"."""
    users: int
    """Users that are left."""
    items: int
    """Items that are left."""
    interactions: int
    """Interactions that are left."""


@dataclass(frozen=True)
class PrepareReport:
    """Counts from the raw log to the sequences; print it for a table."""

    steps: tuple[PrepareStep, ...]
    """In the order in which they were done; the first is the log itself."""
    duplicates: int
    """Interactions whose user had the same item before; removed unless `dedup` is "none"."""
    short_users: int
    """Users dropped because they had fewer than `min_length` items."""

    def __str__(self) -> str:
        width = max(len(step.name) for step in self.steps)
        lines = [f"{'':{width}}  {'users':>9}  {'items':>9}  {'interactions':>12}"]
        lines += [f"{s.name:{width}}  {s.users:>9}  {s.items:>9}  {s.interactions:>12}" for s in self.steps]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and lists, ready for JSON; `from_dict` is the way back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PrepareReport":
        """The report that `as_dict` has written down."""
        steps = tuple(PrepareStep(**step) for step in values["steps"])
        return cls(steps, values["duplicates"], values["short_users"])
