"""Which way the arrows go: what a package may import, read from its source without running it."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from workspace import Package

DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "orbax": "orbax-checkpoint"}
"""Distributions that are not named like the module that they bring."""


def check_imports(package: Package) -> Iterator[str]:
    """One-way imports, exactly the declared dependencies, and experiments that can be listed unrun."""
    used: set[str] = set()
    for path, tree in package.modules():
        name = path.relative_to(package.folder)
        for module, line in imported(path, tree, package):
            top, *rest = module.split(".")
            if top == "offprint":
                used.add("offprint-core" if rest[:1] == ["core"] else "")
                yield from (f"{name}, line {line}: {why}" for why in wrong_way(package, path, module))
            elif top not in sys.stdlib_module_names:
                used.add(canonical(DISTRIBUTIONS.get(top, top)))
    yield from check_declared(package, used - {""})
    yield from check_decorators(package)


def imported(path: Path, tree: ast.Module, package: Package) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in a file, with its line; relative names made absolute."""
    parents = path.relative_to(package.folder / "src").parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from offprint.x import data` imports the module offprint.x.data
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def wrong_way(package: Package, path: Path, module: str) -> Iterator[str]:
    """Why an import of offprint.<something> is not allowed here, if it is not."""
    _, other, *rest = [*module.split("."), ""]
    if package.method == "core":
        if other != "core":
            yield f"core must not import the method {module}"
        return
    if other not in ("core", package.module):
        yield f"no method imports another: {module}; move what both need to core"
    room = path.relative_to(package.source).parts[0].removesuffix(".py")
    # The method's own program stands outermost, beside the experiments: it reads files and may use everything.
    if other != package.module or room == "experiments" or room.startswith("_command"):
        return
    forbidden = ("experiments",) if room in ("data", "__init__") else ("data", "experiments")
    if rest[0] in forbidden or rest[0].startswith("_command"):
        inside = rest[0]
        yield f"{path.name} must not import {inside}: the arrows go program, experiments -> data, concepts -> core"


def check_declared(package: Package, used: set[str]) -> Iterator[str]:
    """pyproject.toml declares what is imported and nothing else; extras may be imported too."""
    project = package.pyproject.get("project", {})
    dependencies = {canonical(Requirement(text).name) for text in project.get("dependencies", [])}
    extras = [text for group in project.get("optional-dependencies", {}).values() for text in group]
    optional = {canonical(Requirement(text).name) for text in extras}
    for name in sorted(used - dependencies - optional - {package.distribution}):
        yield f"pyproject.toml: {name} is imported but not among the dependencies"
    for name in sorted(dependencies - used):
        yield f"pyproject.toml: {name} is among the dependencies but nowhere imported"


def check_decorators(package: Package) -> Iterator[str]:
    """`offprint list` reads @experiment("name", reproduces="...") from the source: literals only."""
    for module in package.entry_points("offprint.experiments").values():
        path = package.module_file(module)
        if path is None:
            continue
        found = 0
        # `offprint list` reads every file of a package of experiments.
        for source in sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]:
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.FunctionDef):
                    continue
                for call in filter(is_experiment, node.decorator_list):
                    found += 1
                    where = f"{source.relative_to(package.folder)}, line {node.lineno}: experiment {node.name}"
                    yield from (f"{where}: {why}" for why in check_decorator(call, node))
        if not found:
            yield f"{path.relative_to(package.folder)} registers no experiment"


def is_experiment(node: ast.expr) -> bool:
    function = node.func if isinstance(node, ast.Call) else node
    return (isinstance(function, ast.Name) and function.id == "experiment") or (
        isinstance(function, ast.Attribute) and function.attr == "experiment"
    )


def check_decorator(call: ast.expr, function: ast.FunctionDef) -> Iterator[str]:
    if not isinstance(call, ast.Call):
        yield 'write @experiment("name", reproduces="...")'
        return
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if call.args:
        given["name"] = call.args[0]
    for argument in ("name", "reproduces"):
        value = given.get(argument)
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value):
            yield f"{argument} must be a string literal, so that it can be listed without importing JAX"
    if not ast.get_docstring(function):
        yield "has no docstring: its first line is what `offprint list` shows"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
