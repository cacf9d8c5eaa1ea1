"""Checks that every package keeps the floor plan, and that versions, citations and dependencies agree.

Run by ``nox -s checks``; prints one line per problem and exits with 1 if there is any.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from check_imports import check_imports
from packaging.requirements import Requirement
from workspace import ROOT, Package, ToolError, all_packages, find_package

FILES = ("README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "pyproject.toml")
METHOD_MODULES = ("data", "experiments")
METHOD_TESTS = ("test_golden.py", "test_bad_input.py", "test_experiments.py")
README_SECTIONS = ("Install", "60-second example", "Citation")
CITATION_FIELDS = ("cff-version", "message", "title", "type", "authors", "version", "date-released", "license")
PAPER_FIELDS = ("type", "title", "authors", "year")

Problems = Iterator[str]


def check_floor_plan(package: Package) -> Problems:
    """The files that every package has, in the places where a reader looks for them."""
    wanted = [package.folder / name for name in FILES]
    wanted += [package.source / name for name in ("__init__.py", "py.typed")]
    if package.method != "core":
        wanted += [package.folder / "tests" / name for name in METHOD_TESTS]
    for path in wanted:
        if not path.is_file():
            yield f"{path.relative_to(package.folder)} is missing"
        elif path.stat().st_size == 0 and path.name != "py.typed":
            yield f"{path.relative_to(package.folder)} is empty"
    if package.method != "core":
        for name in METHOD_MODULES:
            if package.module_file(f"offprint.{package.module}.{name}") is None:
                yield f"src/offprint/{package.module}/{name}.py is missing"
    if not list((package.folder / "tests").glob("test_*.py")):
        yield "tests/ has no test_*.py"
    if not list((package.folder / "benchmarks").glob("bench_*.py")):
        yield "benchmarks/ has no bench_*.py"
    for path in package.source.parent.iterdir():
        if path.name not in (package.module, "__pycache__"):
            yield f"src/offprint/{path.name} must go: offprint is a namespace that all packages share"


def check_project(package: Package) -> Problems:
    """What pyproject.toml says, beyond the version."""
    project = package.pyproject.get("project", {})
    wanted = {"name": package.distribution, "license": "Apache-2.0", "readme": "README.md"}
    for field, value in wanted.items():
        if project.get(field) != value:
            yield f"pyproject.toml: {field} must be {value!r}, not {project.get(field)!r}"
    if not project.get("description"):
        yield "pyproject.toml: description is missing"
    if "test" not in package.pyproject.get("dependency-groups", {}):
        yield "pyproject.toml: the dependency group 'test' is missing"
    wheel = package.pyproject.get("tool", {}).get("hatch", {}).get("build", {}).get("targets", {}).get("wheel", {})
    if wheel.get("force-include", {}).get("CITATION.cff") != f"offprint/{package.module}/CITATION.cff":
        yield f"pyproject.toml: the wheel must take in CITATION.cff as offprint/{package.module}/CITATION.cff"
    if wheel.get("dev-mode-dirs") != ["src"]:
        yield "pyproject.toml: dev-mode-dirs of the wheel must be ['src'], else an editable install fails"


def check_versions(package: Package) -> Problems:
    """One version in pyproject.toml, CITATION.cff and the newest entry of the changelog."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", package.version):
        yield f"pyproject.toml: version must be MAJOR.MINOR.PATCH, not {package.version!r}"
        return
    cited = str(citation_of(package).get("version"))
    if cited != package.version:
        yield f"CITATION.cff has version {cited}, pyproject.toml {package.version}"
    changelog = read(package.folder / "CHANGELOG.md")
    headings = re.findall(r"^## \[?(\d+\.\d+\.\d+)\]? - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    if not headings:
        yield "CHANGELOG.md has no heading like '## [0.1.0] - 2026-01-31'"
    elif headings[0][0] != package.version:
        yield f"CHANGELOG.md's newest release is {headings[0][0]}, pyproject.toml has {package.version}"
    elif str(citation_of(package).get("date-released", headings[0][1])) != headings[0][1]:
        yield "CITATION.cff and CHANGELOG.md give different dates for the newest release"


def check_license(package: Package) -> Problems:
    top = package.folder.parent.parent / "LICENSE"
    if read(package.folder / "LICENSE") != read(top):
        yield "LICENSE differs from the one at the top: copy that one"


def check_readme(package: Package) -> Problems:
    """The sections that a newcomer needs, and the row in the table of the top README."""
    headings = re.findall(r"^#+ +(.+)$", read(package.folder / "README.md"), re.MULTILINE)
    for section in README_SECTIONS:
        if not any(section.lower() in heading.lower() for heading in headings):
            yield f"README.md has no section '{section}'"
    top = read(package.folder.parent.parent / "README.md")
    if f"](packages/{package.method}" not in top:
        yield f"the table of the top README.md has no row that links to packages/{package.method}"


def check_citation(package: Package) -> Problems:
    """CITATION.cff describes the software; a method's also describes the paper."""
    citation = citation_of(package)
    for field in CITATION_FIELDS:
        if not citation.get(field):
            yield f"CITATION.cff: {field} is missing"
    if citation and str(citation.get("license")) != "Apache-2.0":
        yield f"CITATION.cff: license must be Apache-2.0, not {citation.get('license')}"
    if package.method == "core":
        return
    papers = [*citation.get("references", []), *filter(None, [citation.get("preferred-citation")])]
    if not papers:
        yield "CITATION.cff: the paper is missing: give it as preferred-citation or in references"
    for paper in papers:
        for field in PAPER_FIELDS:
            if not paper.get(field):
                yield f"CITATION.cff: {field} of the reference {str(paper.get('title'))!r} is missing"


def check_entry_points(package: Package) -> Problems:
    """Experiments and data sets are advertised under the method's name, by modules that are there."""
    for group, required in (("offprint.experiments", True), ("offprint.data", False)):
        points = package.entry_points(group)
        if required and not points:
            yield f"pyproject.toml: the entry point {package.method!r} of the group {group} is missing"
        for name, value in points.items():
            if name != package.method:
                yield f"pyproject.toml: the entry point {name!r} of {group} must be named {package.method!r}"
            if package.module_file(value) is None:
                yield f"pyproject.toml: the entry point {name!r} of {group} names {value}, which is not there"


def check_core_pin(package: Package) -> Problems:
    """A method works with a range of offprint-core that has an end and holds the core beside it."""
    if package.method == "core":
        return
    core = Package(package.folder.parent / "core")
    for text in package.pyproject.get("project", {}).get("dependencies", []):
        requirement = Requirement(text)
        if requirement.name != core.distribution:
            continue
        if not any(one.operator in ("<", "~=", "==") for one in requirement.specifier):
            yield f"pyproject.toml: {text!r} has no upper bound: add one, such as <{next_minor(core.version)}"
        if not requirement.specifier.contains(core.version):
            yield f"pyproject.toml: {text!r} leaves out the core of this repository, {core.version}"
        return
    yield "pyproject.toml: offprint-core is not among the dependencies"


CHECKS: tuple[Callable[[Package], Problems], ...] = (
    check_floor_plan,
    check_project,
    check_versions,
    check_license,
    check_readme,
    check_citation,
    check_entry_points,
    check_core_pin,
    check_imports,
)


def next_minor(version: str) -> str:
    major, minor, *_ = version.split(".")
    return f"{major}.{int(minor) + 1}"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def citation_of(package: Package) -> dict:
    """CITATION.cff as a mapping; empty where it is missing."""
    text = read(package.folder / "CITATION.cff")
    try:
        found = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        raise ToolError(f"CITATION.cff is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ToolError("CITATION.cff is not a YAML mapping of fields")
    return found


def problems_of(package: Package) -> list[str]:
    found: list[str] = []
    for check in CHECKS:
        try:
            found += check(package)
        except ToolError as error:
            found.append(str(error))
    return list(dict.fromkeys(f"packages/{package.method}: {problem}" for problem in found))


def main(methods: list[str], root: Path = ROOT) -> int:
    try:
        packages = [find_package(method, root) for method in methods] or all_packages(root)
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    found = [problem for package in packages for problem in problems_of(package)]
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(packages)} packages checked, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
