"""The packages of this repository: what every tool needs to know about one of them."""

import ast
import difflib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class ToolError(Exception):
    """What a maintainer must put right, in one line."""


@dataclass(frozen=True)
class Package:
    """One folder of packages/: the method `memory-capacity` is the module ``offprint.memory_capacity``."""

    folder: Path

    @property
    def method(self) -> str:
        return self.folder.name

    @property
    def distribution(self) -> str:
        return f"offprint-{self.method}"

    @property
    def module(self) -> str:
        return self.method.replace("-", "_")

    @property
    def source(self) -> Path:
        return self.folder / "src" / "offprint" / self.module

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        path = self.folder / "pyproject.toml"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ToolError(f"{path} is missing") from None
        except tomllib.TOMLDecodeError as error:
            raise ToolError(f"{path} is not valid TOML: {error}") from error

    @property
    def version(self) -> str:
        return str(self.pyproject.get("project", {}).get("version", ""))

    def entry_points(self, group: str) -> dict[str, str]:
        return dict(self.pyproject.get("project", {}).get("entry-points", {}).get(group, {}))

    def module_file(self, dotted: str) -> Path | None:
        """The file of a module of this package, such as offprint.core.digits; None where there is none."""
        base = self.folder.joinpath("src", *dotted.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
        return None

    def modules(self) -> Iterator[tuple[Path, ast.Module]]:
        """Every Python file of the package with its syntax tree."""
        for path in sorted(self.source.rglob("*.py")):
            try:
                yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))
            except SyntaxError as error:
                raise ToolError(f"{path}, line {error.lineno}: {error.msg}") from error


def all_packages(root: Path = ROOT) -> list[Package]:
    """Every folder of packages/ with a pyproject.toml, core first."""
    folders = [path.parent for path in (root / "packages").glob("*/pyproject.toml")]
    return [Package(folder) for folder in sorted(folders, key=lambda one: (one.name != "core", one.name))]


def find_package(method: str, root: Path = ROOT) -> Package:
    """The package of that name, or an error that names the nearest one."""
    packages = {package.method: package for package in all_packages(root)}
    if method in packages:
        return packages[method]
    near = difflib.get_close_matches(method, packages, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(packages)}"
    raise ToolError(f"there is no package {method!r}; {hint}")
