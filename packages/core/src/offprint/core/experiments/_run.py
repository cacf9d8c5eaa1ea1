"""One run of one experiment: what it is given, and the folder that it leaves behind."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offprint.core._installed import UsageError
from offprint.core.experiments._environment import environment
from offprint.core.experiments._experiment import Experiment, Profile, Unavailable
from offprint.core.experiments._files import as_json, encode, make_writable, read_json, write_json
from offprint.core.experiments._registry import Listing, Method
from offprint.core.experiments._results import Result, read_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Run:
    """What an experiment writes to while it runs.

    Attributes:
        folder: the run's own folder, `OUT/<method>/<experiment>`.
        profile: `quick` or `paper`; settings belong into the config, this is for labels.
        figures: name and caption of every figure so far.
    """

    def __init__(self, folder: Path, profile: Profile = "quick"):
        self.folder = Path(folder)
        self.profile = profile
        self.figures: dict[str, str] = {}
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints. A run that was cut short finds there what it had saved."""
        path = self.folder / "checkpoints"
        path.mkdir(exist_ok=True)
        return path

    def log(self, **row: Any) -> None:
        """Appends a row to `metrics.jsonl`. A run that goes on after an interruption appends to the rows it had."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(encode(row) + "\n")

    def figure(self, name: str, figure: Figure, caption: str = "") -> Path:
        """Saves a matplotlib figure as `figures/<name>.png` and frees it.

        Raises:
            ValueError: where the name is not made of letters, digits, `-`, `_` and `.` alone.
        """
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"a figure's name is made of letters, digits, '-', '_' and '.', got {name!r}")
        path = self.folder / "figures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{name}.tmp")
        figure.savefig(temporary, format="png", dpi=160, bbox_inches="tight")
        temporary.replace(path)
        figure.clear()
        if pyplot := sys.modules.get("matplotlib.pyplot"):  # pyplot keeps what was made through it
            pyplot.close(figure)
        self.figures[name] = caption
        return path


def run_experiment(
    method: Method, experiment: Experiment, config: Any, out: Path, *, profile: Profile = "quick", anew: bool = False
) -> Result:
    """Runs an experiment and writes its folder `out/<method>/<experiment>`.

    An exception of the experiment (`SystemExit` included) is recorded in `run.json`, not raised. Checkpoints are kept
    where an earlier run of the same config and version did not finish, so that it goes on; otherwise, or with `anew`,
    they are removed.

    Raises:
        UsageError: where the folder cannot be written.
        KeyboardInterrupt: after recording the run as interrupted.
    """
    folder = Path(out) / method.name / experiment.name
    record = first_record(method, experiment, profile)
    make_writable(folder)
    _clear(folder, keep=not anew and _unfinished(folder, config, record))
    run = Run(folder, profile)
    source = Path(inspect.getfile(experiment.function))
    write_json(folder / "config.json", config)
    write_json(folder / "environment.json", environment(config, source, devices=False))
    write_json(folder / "claims.json", [])
    write_json(folder / "run.json", record)
    began = time.monotonic()
    try:
        claims = []
        for claim in experiment(config, run):
            claims.append(claim.as_dict())
            write_json(folder / "claims.json", claims)
        record["status"] = "finished"
    except KeyboardInterrupt:
        record |= {"status": "interrupted", "error": "interrupted"}
        raise
    except (Exception, SystemExit) as error:
        record |= failure(error)
    finally:
        record |= {"seconds": round(time.monotonic() - began, 3), "figures": run.figures}
        write_json(folder / "environment.json", environment(config, source))
        write_json(folder / "run.json", record)
    return read_result(folder)


def finished_result(
    method: Method, experiment: Experiment, config: Any, out: Path, *, profile: Profile
) -> Result | None:
    """The result already in the folder, where it finished with this config, profile and version."""
    folder = Path(out) / method.name / experiment.name
    finished = _earlier(folder, "run.json").get("status") == "finished"
    same = _same_run(folder, config, first_record(method, experiment, profile))
    return read_result(folder) if finished and same else None


def first_record(method: Method, experiment: Experiment | Listing, profile: Profile) -> dict[str, Any]:
    """The content of `run.json` as a run begins."""
    return {
        "status": "running",
        "profile": profile,
        "package": method.distribution,
        "version": method.version,
        "reproduces": experiment.reproduces,
        "summary": experiment.summary,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": None,
        "error": None,
        "traceback": None,
        "figures": {},
    }


def failure(error: BaseException) -> dict[str, Any]:
    """The part of `run.json` that an exception fills."""
    if isinstance(error, Unavailable):
        return {"status": "unavailable", "error": str(error)}
    return {
        "status": "failed",
        "error": traceback.format_exception_only(error)[-1].strip(),
        "traceback": "".join(traceback.format_exception(error)),
    }


def record_failure(
    method: Method, listing: Listing, out: Path, failed: dict[str, Any], *, profile: Profile, begun: bool
) -> Result:
    """Records an experiment that could not do so itself: its worker died in it (`begun`) or never came to it."""
    folder = Path(out) / method.name / listing.name
    make_writable(folder)
    record = first_record(method, listing, profile)
    if begun:
        record |= _earlier(folder, "run.json")
    else:  # what an earlier run claimed is no longer shown
        (folder / "claims.json").unlink(missing_ok=True)
        shutil.rmtree(folder / "figures", ignore_errors=True)
    write_json(folder / "run.json", record | failed)
    return read_result(folder)


def _earlier(folder: Path, name: str) -> dict[str, Any]:
    """A file of an earlier run; where it is damaged, the run is made anew as if there had been none."""
    try:
        return read_json(folder / name, {})
    except UsageError:
        return {}


def _same_run(folder: Path, config: Any, record: dict[str, Any]) -> bool:
    run = _earlier(folder, "run.json")
    same_package = all(run.get(key) == record[key] for key in ("profile", "package", "version"))
    return same_package and _earlier(folder, "config.json") == as_json(config)


def _unfinished(folder: Path, config: Any, record: dict[str, Any]) -> bool:
    return _earlier(folder, "run.json").get("status") != "finished" and _same_run(folder, config, record)


def _clear(folder: Path, *, keep: bool) -> None:
    """Removes what an earlier run wrote; with `keep`, not its checkpoints and metrics, from which it goes on."""
    for name in ("run.json", "claims.json", "config.json", "environment.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "figures", ignore_errors=True)
    if not keep:
        (folder / "metrics.jsonl").unlink(missing_ok=True)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
