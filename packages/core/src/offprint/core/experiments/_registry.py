"""Which methods are installed and which experiments they have, read without importing them."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from offprint.core._installed import UsageError, find_module, unknown
from offprint.core.experiments._experiment import Experiment

GROUP = "offprint.experiments"


@dataclass(frozen=True)
class Listing:
    """What the source says of an experiment: name, what it reproduces, a one-line summary, and whether it is long."""

    name: str
    reproduces: str
    summary: str
    long: bool = False


@dataclass(frozen=True)
class Method:
    """An installed package that advertises experiments.

    Attributes:
        name: as in `offprint run NAME/EXPERIMENT`.
        module: the module that holds its experiments.
        distribution: the installed distribution, `offprint-<name>`.
        version: the version installed.
        experiments: in the order of the source.
        problem: why the experiments could not be read; empty where they could.
    """

    name: str
    module: str
    distribution: str
    version: str
    experiments: tuple[Listing, ...]
    problem: str = ""

    @property
    def source(self) -> Path | None:
        """The file of the module, where it was found."""
        spec = find_module(self.module)
        return Path(spec.origin) if spec and spec.origin else None


@functools.cache
def methods() -> dict[str, Method]:
    """The installed methods by name, found through the entry-point group `offprint.experiments`."""
    return {entry.name: _method(entry) for entry in sorted(metadata.entry_points(group=GROUP), key=lambda e: e.name)}


def find_method(name: str) -> Method:
    """The method of that name; underscores may stand for hyphens.

    Raises:
        UsageError: where none is installed, with the nearest name.
    """
    found = methods().get(name.replace("_", "-").lower())
    if found is None:
        raise unknown("method", name, methods())
    return found


def find_experiment(target: str) -> tuple[Method, Listing]:
    """The experiment that `METHOD/EXPERIMENT` names.

    Raises:
        UsageError: where there is none, with the nearest name.
    """
    name, slash, experiment = target.partition("/")
    method = find_method(name)
    if method.problem:
        raise UsageError(f"the experiments of {method.name} cannot be read: {method.problem}")
    listed = {f"{method.name}/{listing.name}": listing for listing in method.experiments}
    if not slash or not experiment:
        raise UsageError(f"{target!r} names a method; name one of its experiments: {', '.join(listed) or 'none'}")
    found = listed.get(f"{method.name}/{experiment}")
    if found is None:
        raise unknown("experiment", target, listed)
    return method, found


def load(method: Method) -> dict[str, Experiment]:
    """Imports the experiments of a method, by name. What the import raises is passed on.

    Raises:
        LookupError: where the module does not export an experiment that its source defines.
    """
    module = importlib.import_module(method.module)
    found = {value.name: value for value in vars(module).values() if isinstance(value, Experiment)}
    if missing := [listing.name for listing in method.experiments if listing.name not in found]:
        raise LookupError(f"{method.module} defines {', '.join(missing)} but does not export it")
    return found


def _method(entry: metadata.EntryPoint) -> Method:
    listings: tuple[Listing, ...] = ()
    problem = ""
    try:
        listings = tuple(listing for path in _sources(entry.module) for listing in _read(path))
        names = [listing.name for listing in listings]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two experiments have the same name: {', '.join(twice)}")
    except (OSError, SyntaxError, ValueError) as error:
        listings, problem = (), str(error)
    dist = entry.dist
    return Method(
        name=entry.name,
        module=entry.module,
        distribution=dist.name if dist else "",
        version=dist.version if dist else "",
        experiments=listings,
        problem=problem,
    )


def _sources(module: str) -> list[Path]:
    """The file of a module, or every file directly in the folder of a package."""
    spec = find_module(module)
    if spec is None or not spec.origin:
        raise ValueError(f"module {module} is not found")
    origin = Path(spec.origin)
    return sorted(origin.parent.glob("*.py")) if spec.submodule_search_locations else [origin]


def _read(path: Path) -> Iterator[Listing]:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and re.search(r"\bexperiment$", ast.unparse(decorator.func)):
                    yield _listing(path, node, decorator)


def _listing(path: Path, function: ast.FunctionDef, decorator: ast.Call) -> Listing:
    given = {keyword.arg: keyword.value for keyword in decorator.keywords}
    if decorator.args:
        given["name"] = decorator.args[0]
    words = []
    for argument in ("name", "reproduces"):
        node = given.get(argument)
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            raise ValueError(f"{path.name}, line {decorator.lineno}: `{argument}` must be a literal string")
        words.append(node.value)
    summary = (ast.get_docstring(function) or "").partition("\n")[0]
    long = given.get("long", ast.Constant(False))
    if not (isinstance(long, ast.Constant) and isinstance(long.value, bool)):
        raise ValueError(f"{path.name}, line {decorator.lineno}: `long` must be True or False")
    return Listing(words[0], words[1], summary, long.value)
