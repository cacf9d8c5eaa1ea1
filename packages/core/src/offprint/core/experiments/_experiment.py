"""An experiment: a function with a dataclass config that yields claims, registered by a decorator."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

from offprint.core.experiments._claims import Claim

if TYPE_CHECKING:
    from offprint.core.experiments._run import Run

Profile = Literal["quick", "paper"]
_FLAGS_OF_RUN = {"profile", "out", "anew", "debug", "help"}


class Unavailable(Exception):
    """Raised by an experiment that needs what cannot be fetched for the user: licensed data, a certain device.

    The message says what is needed and how to provide it. `offprint reproduce` lists the experiment as not run and
    judges the others; `offprint run`, which asked for this one, ends with exit status 1.
    """


@dataclass(frozen=True)
class Experiment:
    """A registered experiment; call it with a config and a `Run` to get its claims.

    Attributes:
        name: its name within the method, as in `offprint run METHOD/NAME`.
        reproduces: the table, figure or theorem of the paper.
        function: the generator function `(config, run) -> Iterator[Claim]` behind it.
        quick: the config of the quick profile (two CPU cores, about a minute at most, compilation included).
        paper: the config of the paper's own scale.
        x64: whether it runs with JAX's 64-bit types enabled.
        long: whether its quick profile takes more than a minute and a half, or is none; `offprint reproduce --short`
            leaves it out.
    """

    name: str
    reproduces: str
    function: Callable[[Any, Run], Iterable[Claim]]
    quick: Any
    paper: Any
    x64: bool = False
    long: bool = False

    def config(self, profile: Profile) -> Any:
        """The config of a profile."""
        return {"quick": self.quick, "paper": self.paper}[profile]

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def __call__(self, config: Any, run: Run) -> Iterator[Claim]:
        """Runs the experiment, yielding claims as they are settled.

        Raises:
            TypeError: where it yields something else than claims.
            ValueError: where it ends without a claim.
        """
        count = 0
        with _float64() if self.x64 else contextlib.nullcontext():
            for claim in self.function(config, run) or ():
                if not isinstance(claim, Claim):
                    raise TypeError(f"experiment {self.name!r} yielded {claim!r}; it must yield Claim(...)")
                count += 1
                yield claim
        if not count:
            raise ValueError(f"experiment {self.name!r} ended without a claim; it must yield at least one")


def experiment(
    name: str, *, reproduces: str, quick: Any = None, paper: Any = None, x64: bool = False, long: bool = False
) -> Callable[[Callable[[Any, Run], Iterable[Claim]]], Experiment]:
    """Registers a function `(config, run) -> Iterator[Claim]` as an experiment of the module it stands in.

    `name`, `reproduces` and `long` are written as literals: `offprint list` reads them, and the first line of the
    docstring, from the source file without importing it. The type of `config` is the function's annotation.

    Args:
        name: lower-case words joined by hyphens.
        reproduces: the table, figure or theorem of the paper.
        quick: the config of the quick profile; the config type's defaults where not given.
        paper: the config of the paper profile; that of the quick profile where not given.
        x64: run with JAX's 64-bit types enabled (`jax.enable_x64`).
        long: say that its quick profile takes more than a minute and a half, or is none (it raises `Unavailable`).

    Raises:
        TypeError: where `config` is not annotated with a dataclass, or a profile is of another type.
        ValueError: where a config field has the name of a flag of `offprint run`.
    """

    def register(function: Callable[[Any, Run], Iterable[Claim]]) -> Experiment:
        config_type = _config_type(name, function)
        smaller = config_type() if quick is None else quick
        larger = smaller if paper is None else paper
        for profile, config in (("quick", smaller), ("paper", larger)):
            if not isinstance(config, config_type):
                raise TypeError(
                    f"experiment {name!r}: {profile} must be a {config_type.__name__}, got {type(config).__name__}"
                )
        return Experiment(name, reproduces, function, smaller, larger, x64, long)

    return register


def _config_type(name: str, function: Callable) -> type:
    annotation = next(iter(inspect.signature(function, eval_str=True).parameters.values())).annotation
    if not (isinstance(annotation, type) and is_dataclass(annotation)):
        raise TypeError(f"experiment {name!r}: annotate its first parameter with a dataclass, got {annotation!r}")
    if taken := _FLAGS_OF_RUN.intersection(field.name for field in fields(annotation)):
        raise ValueError(f"experiment {name!r}: config fields cannot be named {', '.join(sorted(taken))}")
    return annotation


def _float64() -> contextlib.AbstractContextManager:
    import jax  # only an experiment that asks for 64 bits needs it here

    return jax.enable_x64(True)
