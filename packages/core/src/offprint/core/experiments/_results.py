"""The results folder read back: `OUT/<method>/<experiment>/` as one `Result`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offprint.core._installed import UsageError
from offprint.core.experiments._files import read_json


@dataclass(frozen=True)
class Result:
    """What a run left in its folder; also of a run that failed, was stopped, or is still going.

    Attributes:
        folder: where it stands.
        run: the content of `run.json`: `status` (`running`, `finished`, `failed`, `unavailable` or `interrupted`),
            `seconds`, `profile`, `error`, `traceback`, `package`, `version`, `reproduces`, `summary`, `started`,
            `figures`.
        claims: the content of `claims.json`.
        config: the content of `config.json`.
        environment: the content of `environment.json`.
    """

    folder: Path
    run: dict[str, Any]
    claims: list[dict[str, Any]]
    config: dict[str, Any]
    environment: dict[str, Any]

    @property
    def method(self) -> str:
        return self.folder.parent.name

    @property
    def experiment(self) -> str:
        return self.folder.name

    @property
    def name(self) -> str:
        """`METHOD/EXPERIMENT`."""
        return f"{self.method}/{self.experiment}"

    @property
    def finished(self) -> bool:
        return self.run.get("status") == "finished"

    @property
    def unavailable(self) -> bool:
        """Whether it needs what is not here, so that there was nothing to judge."""
        return self.run.get("status") == "unavailable"

    @property
    def figures(self) -> dict[str, str]:
        """The caption of every figure by its name, in the order of drawing; also of a run that was cut short."""
        captions = self.run.get("figures", {})
        drawn = sorted(path.stem for path in (self.folder / "figures").glob("*.png"))
        return captions | {name: "" for name in drawn if name not in captions}

    @property
    def error(self) -> str:
        """The last line of what went wrong; empty where nothing did."""
        if self.finished:
            return ""
        return self.run.get("error") or {"running": "it did not end"}.get(self.run.get("status", ""), "interrupted")


def read_result(folder: Path) -> Result:
    """The result in `OUT/<method>/<experiment>`."""
    return Result(
        folder=folder,
        run=read_json(folder / "run.json", {}),
        claims=read_json(folder / "claims.json", []),
        config=read_json(folder / "config.json", {}),
        environment=read_json(folder / "environment.json", {}),
    )


def read_results(out: Path) -> list[Result]:
    """Every result under `out`, by method and then in the paper's order (Figure 2 before Figure 10).

    Raises:
        UsageError: where there is none.
    """
    found = [read_result(path.parent) for path in Path(out).glob("*/*/run.json")]
    if not found:
        raise UsageError(f"there are no results in {out}; `offprint reproduce --out {out}` makes them")
    return sorted(found, key=lambda result: (result.method, _natural(result.run["reproduces"]), result.experiment))


def exit_status(results: Iterable[Result]) -> int:
    """0 where all finished and every claim holds, 1 where something did not finish, 3 where a claim does not hold.

    Experiments that need what is not here do not count, unless there are no others.
    """
    results = list(results)
    judged = [result for result in results if not result.unavailable]
    if not all(result.finished for result in judged) or (results and not judged):
        return 1
    return 0 if all(claim["holds"] for result in judged for claim in result.claims) else 3


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
