"""Releases one package: ``nox -s release -- METHOD minor|patch|major``.

Bumps the version everywhere it stands, rolls the changelog, builds, checks the wheel, commits and tags.
Whatever fails before the commit leaves the tree as it was. Pushing the tag publishes the package.
"""

import argparse
import datetime
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from check_packages import problems_of
from check_wheel import check_wheel
from workspace import ROOT, Package, ToolError, find_package

UNRELEASED = "## [Unreleased]"


def bumped(version: str, part: str) -> str:
    """The next version: ``bumped("0.1.2", "minor")`` is 0.2.0."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version)
    if not match:
        raise ToolError(f"the version {version!r} is not MAJOR.MINOR.PATCH")
    major, minor, patch = map(int, match.groups())
    return {
        "major": f"{major + 1}.0.0",
        "minor": f"{major}.{minor + 1}.0",
        "patch": f"{major}.{minor}.{patch + 1}",
    }[part]


def replace_once(text: str, pattern: str, new: str, where: Path) -> str:
    """`text` with the first match of `pattern`, a whole line, replaced."""
    changed, count = re.subn(pattern, lambda _: new, text, count=1, flags=re.MULTILINE)
    if not count:
        raise ToolError(f"{where} has no line like {new!r} to change")
    return changed


def rolled(changelog: str, version: str, date: str, where: Path) -> str:
    """The changelog with what was unreleased under the new version, and an empty Unreleased above it."""
    match = re.search(rf"^{re.escape(UNRELEASED)}\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not match or not match[1].strip():
        raise ToolError(f"{where} has nothing under '{UNRELEASED}': write there what this release changes")
    section = f"{UNRELEASED}\n\n## [{version}] - {date}\n{match[1].rstrip()}\n\n"
    return (changelog[: match.start()] + section + changelog[match.end() :]).rstrip() + "\n"


def new_texts(package: Package, version: str, date: str) -> dict[Path, str]:
    """The files that a release changes, with their new text."""
    pyproject, citation, changelog = (
        package.folder / name for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")
    )
    cited = replace_once(citation.read_text(encoding="utf-8"), r"^version:.*$", f"version: {version}", citation)
    return {
        pyproject: replace_once(
            pyproject.read_text(encoding="utf-8"), r"^version = .*$", f'version = "{version}"', pyproject
        ),
        citation: replace_once(cited, r"^date-released:.*$", f"date-released: {date}", citation),
        changelog: rolled(changelog.read_text(encoding="utf-8"), version, date, changelog),
    }


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"git {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def build(package: Package) -> None:
    """Build sdist and wheel into a folder that goes away again, and check the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, str(package.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ToolError(f"building {package.distribution} failed:\n{done.stdout}{done.stderr}")
        check_wheel(package, Path(folder))


def release(method: str, part: str, date: str, root: Path = ROOT) -> str:
    """Release one package and return its tag."""
    package = find_package(method, root)
    if git(root, "status", "--porcelain"):
        raise ToolError("the tree is not clean: commit or stash first")
    version = bumped(package.version, part)
    tag = f"{method}-v{version}"
    if git(root, "tag", "--list", tag):
        raise ToolError(f"the tag {tag} exists already")
    texts = new_texts(package, version, date)
    before = {path: path.read_bytes() for path in texts}
    try:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        bumped_package = Package(package.folder)
        problems = problems_of(bumped_package)
        if method == "core":  # the methods must admit the new core
            problems += [one for other in root.glob("packages/*") for one in problems_of(Package(other))]
        if problems:
            raise ToolError("\n".join(dict.fromkeys(problems)))
        build(bumped_package)
        git(root, "add", *map(str, texts))
        git(root, "commit", "--quiet", "--message", f"Release {package.distribution} {version}")
    except BaseException:
        for path, content in before.items():
            path.write_bytes(content)
        git(root, "reset", "--quiet", "--", *map(str, texts))
        raise
    git(root, "tag", "--annotate", tag, "--message", f"{package.distribution} {version}")
    return tag


def main() -> None:
    parser = argparse.ArgumentParser(prog="nox -s release --", description="Release one package.")
    parser.add_argument("method", help="folder under packages/")
    parser.add_argument("part", choices=["major", "minor", "patch"], help="part of the version to raise")
    options = parser.parse_args()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        tag = release(options.method, options.part, today)
    except ToolError as error:
        sys.exit(f"no release: {error}")
    print(f"committed and tagged {tag}; `git push --follow-tags` publishes it")


if __name__ == "__main__":
    main()
