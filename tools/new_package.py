"""Starts a package that passes every check: ``nox -s new -- METHOD "one-line description"``.

The files come from tools/template/, with $names filled in. They hold one small worked concept to be replaced.
"""

import argparse
import datetime
import re
import shutil
import string
import subprocess
import sys
from pathlib import Path

from workspace import ROOT, Package, ToolError

TEMPLATE = Path(__file__).parent / "template"
ROW_START = "| ["


def new_package(method: str, description: str, date: str, root: Path = ROOT) -> Path:
    """Write packages/<method> and its row in the table of the top README; returns the new folder."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", method):
        raise ToolError(f"the name {method!r} must be lower-case words joined by '-', such as memory-capacity")
    if not 0 < len(description.strip()) <= 100 or re.search(r'["\\|\n]', description):
        raise ToolError('the description must be one line of 1 to 100 characters without ", \\ and |')
    folder = root / "packages" / method
    if folder.exists():
        raise ToolError(f"{folder} exists already")
    core = Package(root / "packages" / "core").version
    package = Package(folder)
    names = {
        "method": method,
        "module": package.module,
        "description": description.strip(),
        "date": date,
        "year": date[:4],
        "core_range": core_range(core),
    }
    readme = root / "README.md"
    row = f"| [{method}](packages/{method}/README.md) | {description.strip()} | beta |"
    table = with_row(readme.read_text(encoding="utf-8"), row)
    for source in sorted(TEMPLATE.rglob("*.in")):
        target = destination(package, source)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = string.Template(source.read_text(encoding="utf-8")).substitute(names)
        target.write_text(text, encoding="utf-8")
    shutil.copy(root / "LICENSE", folder / "LICENSE")
    readme.write_text(table, encoding="utf-8")
    return folder


def destination(package: Package, source: Path) -> Path:
    """Where a template goes: template/src/x.in becomes src/offprint/<module>/x."""
    inside = source.relative_to(TEMPLATE).with_suffix("")
    if inside.parts[0] == "src":
        return package.source.joinpath(*inside.parts[1:])
    return package.folder / inside


def core_range(version: str) -> str:
    """The versions of core that a new package works with: from this minor version to before the next.

    >>> core_range("0.3.1")
    '>=0.3,<0.4'
    """
    major, minor, _ = version.split(".")
    return f">={major}.{minor},<{major}.{int(minor) + 1}"


def with_row(readme: str, row: str) -> str:
    """The README with one more row at the end of its table of methods."""
    lines = readme.splitlines()
    rows = [number for number, line in enumerate(lines) if line.startswith(ROW_START)]
    if not rows:
        raise ToolError(f"README.md has no table row that starts with {ROW_START!r} to add the method to")
    lines.insert(rows[-1] + 1, row)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="nox -s new --", description="Start a package.")
    parser.add_argument("method", help="its name, such as memory-capacity")
    parser.add_argument("description", help="one line: what the method does")
    options = parser.parse_args()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        folder = new_package(options.method, options.description, today)
    except ToolError as error:
        sys.exit(f"no package: {error}")
    # Names of different length sort and wrap differently: ruff has the last word.
    subprocess.run(["ruff", "check", "--quiet", "--fix", str(folder)], cwd=ROOT, check=True)
    subprocess.run(["ruff", "format", "--quiet", str(folder)], cwd=ROOT, check=True)
    print(f"{folder.relative_to(ROOT)} is there; `nox -s checks tests -- {options.method}` passes from the start")
    print("next: the paper in CITATION.cff, its concepts in _<concept>.py, its claims in experiments.py")


if __name__ == "__main__":
    main()
