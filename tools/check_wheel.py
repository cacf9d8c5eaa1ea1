"""Checks that a built wheel is the package's, complete, and brings nothing that belongs to others.

Usage: ``python tools/check_wheel.py METHOD FOLDER``; FOLDER holds the wheel.
"""

import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from workspace import Package, ToolError, find_package


def check_wheel(package: Package, folder: Path) -> Path:
    """The package's one wheel in `folder`, found right; ToolError says what is wrong with it."""
    stem = package.distribution.replace("-", "_")
    wheels = sorted(folder.glob(f"{stem}-*.whl"))
    if len(wheels) != 1:
        raise ToolError(f"{folder} holds {len(wheels)} wheels of {package.distribution}, not one")
    (wheel,) = wheels
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = Parser().parsestr(archive.read(f"{stem}-{package.version}.dist-info/METADATA").decode())
    root = f"offprint/{package.module}/"
    info = f"{stem}-{package.version}.dist-info/"
    for name in (root + "__init__.py", root + "py.typed", root + "CITATION.cff", info + "licenses/LICENSE"):
        if name not in names:
            raise ToolError(f"{wheel.name} has no {name}")
    strangers = sorted(name for name in names if not name.startswith((root, info)))
    if strangers:
        raise ToolError(f"{wheel.name} brings {strangers[0]}, which is outside {root}")
    sources = {path.relative_to(package.source).as_posix() for path in package.source.rglob("*.py")}
    missing = sorted(name for name in sources if root + name not in names)
    if missing:
        raise ToolError(f"{wheel.name} lacks {missing[0]}")
    if (metadata["Name"], metadata["Version"]) != (package.distribution, package.version):
        raise ToolError(f"{wheel.name} says that it is {metadata['Name']} {metadata['Version']}")
    return wheel


if __name__ == "__main__":
    try:
        print(check_wheel(find_package(sys.argv[1]), Path(sys.argv[2])).name, "is complete")
    except (ToolError, KeyError, IndexError) as error:
        sys.exit(f"wheel check failed: {error}")
