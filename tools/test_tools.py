"""The tools, on copies of a small repository that they made themselves."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bench_table
import pytest
from check_packages import main as check
from check_packages import problems_of
from check_wheel import check_wheel
from new_package import new_package, with_row
from release import bumped, release, rolled
from workspace import ROOT, Package, ToolError, find_package

TODAY = "2031-05-06"
CORE_INIT = '"""What the methods share."""\n\nimport jax\n'
CORE_DIGITS = '''
from offprint.core.experiments import experiment

@experiment("digits", reproduces="nothing")
def digits(config, run):
    """Trains on digits."""
'''


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of a very small core and of one method, `sound`, that new_package started."""
    root = tmp_path_factory.mktemp("repository")
    shutil.copy(ROOT / "LICENSE", root / "LICENSE")
    (root / "README.md").write_text(
        "| package | what |\n| --- | --- |\n| [core](packages/core/README.md) | shared |\n\nEnd.\n"
    )
    core = root / "packages" / "core"
    new_package_as_core(root, core)
    new_package("sound", "sounds, made visible", TODAY, root)
    return root


def new_package_as_core(root: Path, core: Path) -> None:
    """The files of a core, written from the same template."""
    core.mkdir(parents=True)
    (core / "pyproject.toml").write_text('[project]\nname = "offprint-core"\nversion = "0.3.1"\n')
    made = new_package("model", "what the methods share", TODAY, root)
    for path in sorted(made.rglob("*")):
        target = core / str(path.relative_to(made)).replace("model", "core")
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text().replace("model", "core")
            target.write_text(text.replace('  "offprint-core>=0.3,<0.4",\n', "").replace("0.1.0", "0.3.1"))
    source = core / "src" / "offprint" / "core"
    for path in source.glob("*.py"):
        path.unlink()
    (source / "__init__.py").write_text(CORE_INIT + "import jaxtyping\n")
    (source / "digits.py").write_text(CORE_DIGITS)
    pyproject = core / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("offprint.core.experiments", "offprint.core.digits"))
    shutil.rmtree(made)
    readme = root / "README.md"
    readme.write_text("".join(line for line in readme.open() if "model" not in line))


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    return copy


def test_a_new_package_passes_every_check(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check([], root) == 0, capsys.readouterr().out
    assert "[sound](packages/sound/README.md) | sounds, made visible" in (root / "README.md").read_text()
    pyproject = Package(root / "packages" / "sound").pyproject["project"]
    assert "offprint-core>=0.3,<0.4" in pyproject["dependencies"]


def edit(path: str, old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        file = folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


def append(path: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_text((folder / path).read_text() + text)


def remove(path: str) -> Callable[[Path], object]:
    return lambda folder: (folder / path).unlink()


SOURCE = "src/offprint/sound/"
CONCEPT = SOURCE + "_standardize.py"
BREAKS = {
    "missing file": (remove("CITATION.cff"), r"CITATION\.cff is missing"),
    "missing module": (remove(SOURCE + "data.py"), r"src/offprint/sound/data\.py is missing"),
    "missing test": (remove("tests/test_golden.py"), r"tests/test_golden\.py is missing"),
    "missing benchmark": (remove("benchmarks/bench_standardize.py"), r"benchmarks/ has no bench_"),
    "namespace": (
        lambda folder: (folder / "src/offprint/__init__.py").write_text(""),
        r"src/offprint/__init__\.py must go",
    ),
    "name": (edit("pyproject.toml", '"offprint-sound"', '"sound"'), "name must be 'offprint-sound'"),
    "toml": (append("pyproject.toml", "\n[oops"), "not valid TOML"),
    "editable": (edit("pyproject.toml", 'dev-mode-dirs = ["src"]', ""), "dev-mode-dirs"),
    "wheel": (edit("pyproject.toml", "offprint/sound/CITATION.cff", "CITATION.cff"), "wheel must take in"),
    "version": (edit("pyproject.toml", '"0.1.0"', '"0.2.0"'), r"CITATION\.cff has version 0\.1\.0, py.*0\.2\.0"),
    "version form": (edit("pyproject.toml", '"0.1.0"', '"0.1"'), "must be MAJOR.MINOR.PATCH"),
    "changelog": (edit("CHANGELOG.md", "## [0.1.0]", "## [0.0.9]"), r"newest release is 0\.0\.9"),
    "no release": (edit("CHANGELOG.md", "## [0.1.0]", "## First"), "has no heading like"),
    "date": (edit("CHANGELOG.md", TODAY, "2031-05-07"), "different dates"),
    "licence": (append("LICENSE", "and more"), "LICENSE differs"),
    "readme": (edit("README.md", "## Install", "## Setting up"), "no section 'Install'"),
    "citation": (edit("CITATION.cff", "type: software", ""), "type is missing"),
    "citation licence": (edit("CITATION.cff", "Apache-2.0", "MIT"), "license must be Apache-2.0, not MIT"),
    "yaml": (append("CITATION.cff", "\n: - {"), "not valid YAML"),
    "no paper": (edit("CITATION.cff", "preferred-citation", "other"), "the paper is missing"),
    "paper": (edit("CITATION.cff", "  year:", "  month:"), "year of the reference .* is missing"),
    "entry point": (
        edit("pyproject.toml", "sound.experiments", "sound.figures"),
        r"names offprint\.sound\.figures, which is not there",
    ),
    "entry name": (edit("pyproject.toml", 'sound = "off', 'noise = "off'), "must be named 'sound'"),
    "pin end": (edit("pyproject.toml", "core>=0.3,<0.4", "core>=0.3"), "no upper bound: add one, such as <0.4"),
    "pin range": (edit("pyproject.toml", ">=0.3,<0.4", ">=0.1,<0.3"), r"leaves out the core .*, 0\.3\.1"),
    "no pin": (edit("pyproject.toml", '  "offprint-core>=0.3,<0.4",\n', ""), "offprint-core is not among"),
    "undeclared": (append(CONCEPT, "import sklearn.svm\n"), "scikit-learn is imported but not among"),
    "unused": (edit("pyproject.toml", '"jax>=0.8"', '"jax>=0.8", "rich"'), "rich is .* nowhere imported"),
    "other method": (
        append(CONCEPT, "def f():\n    import offprint.noise\n"),
        r"_standardize\.py, line \d+: no method imports another: offprint\.noise",
    ),
    "concept imports data": (append(CONCEPT, "from offprint.sound import data\n"), r"must not import data"),
    "relative": (append(CONCEPT, "from . import experiments\n"), r"must not import experiments"),
    "concept imports program": (append(CONCEPT, "from offprint.sound import _command\n"), "must not import _command"),
    "data imports experiments": (
        append(SOURCE + "data.py", "from .experiments import moments\n"),
        r"data\.py must not import experiments",
    ),
    "name no literal": (
        edit(SOURCE + "experiments.py", '@experiment("moments"', "@experiment(NAME"),
        "experiment moments: name must be a string literal",
    ),
    "reproduces no literal": (
        edit(SOURCE + "experiments.py", "reproduces=", "reproduces=1 or "),
        "reproduces must be a string literal",
    ),
    "no docstring": (
        edit(SOURCE + "experiments.py", '    """Standard scores have zero mean and unit variance."""\n', ""),
        "experiment moments: has no docstring",
    ),
    "no experiment": (edit(SOURCE + "experiments.py", "@experiment", "@other"), "registers no experiment"),
    "syntax": (append(CONCEPT, "def (\n"), r"_standardize\.py, line \d+: invalid syntax"),
}


@pytest.mark.parametrize(("change", "message"), BREAKS.values(), ids=BREAKS)
def test_each_break_is_named(root: Path, change: Callable[[Path], object], message: str) -> None:
    folder = root / "packages" / "sound"
    change(folder)
    found = problems_of(Package(folder))
    assert any(re.search(message, problem) for problem in found), found
    assert all(problem.startswith("packages/sound: ") and "\n" not in problem for problem in found)


def test_the_program_may_use_everything(root: Path) -> None:
    folder = root / "packages" / "sound"
    text = "from offprint.sound import data, experiments, standardize\n"
    (folder / SOURCE / "_command.py").write_text(text, encoding="utf-8")
    assert problems_of(Package(folder)) == []


def test_core_imports_no_method(root: Path) -> None:
    folder = root / "packages" / "core"
    append("src/offprint/core/__init__.py", "import offprint.sound\n")(folder)
    assert any("core must not import the method" in problem for problem in problems_of(Package(folder)))


def test_a_package_needs_its_row_in_the_table(root: Path) -> None:
    edit("README.md", "packages/sound", "elsewhere")(root)
    assert any("no row that links to packages/sound" in one for one in problems_of(find_package("sound", root)))


def test_unknown_packages_get_the_nearest_name(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(["sond"], root) == 2
    assert "there is no package 'sond'; did you mean sound?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "description", "message"),
    [
        ("Sound", "x", "lower-case words"),
        ("a_b", "x", "lower-case words"),
        ("sound", "x", "exists already"),
        ("noise", " ", "1 to 100 characters"),
        ("noise", 'a "b"', "1 to 100 characters"),
    ],
)
def test_bad_new_packages(root: Path, method: str, description: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        new_package(method, description, TODAY, root)
    assert not (root / "packages" / "noise").exists()


def test_a_readme_without_a_table_is_an_error() -> None:
    with pytest.raises(ToolError, match="no table row"):
        with_row("# Nothing\n", "| [x](y) |")


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.org")
    (root / ".gitignore").write_text("__pycache__/\n")
    edit("packages/sound/CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n### Fixed\n\n- Echoes.\n")(root)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "Start")
    return root


def test_release_bumps_builds_commits_and_tags(repository: Path) -> None:
    assert release("sound", "minor", "2031-06-01", repository) == "sound-v0.2.0"
    folder = repository / "packages" / "sound"
    assert Package(folder).version == "0.2.0"
    citation = (folder / "CITATION.cff").read_text()
    assert "\nversion: 0.2.0\ndate-released: 2031-06-01\n" in citation
    assert "cff-version: 1.2.0" in citation
    changelog = (folder / "CHANGELOG.md").read_text()
    assert "## [Unreleased]\n\n## [0.2.0] - 2031-06-01\n\n### Fixed\n\n- Echoes.\n\n## [0.1.0]" in changelog
    assert check([], repository) == 0
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "tag", "--points-at", "HEAD").strip() == "sound-v0.2.0"
    changed = git(repository, "show", "--name-only", "--format=", "HEAD").split()
    assert changed == [f"packages/sound/{name}" for name in ("CHANGELOG.md", "CITATION.cff", "pyproject.toml")]


def untouched(repository: Path) -> bool:
    return git(repository, "status", "--porcelain") == "" and git(repository, "tag") == ""


def test_no_release_of_a_tree_that_is_not_clean(repository: Path) -> None:
    (repository / "new.txt").write_text("x")
    with pytest.raises(ToolError, match="the tree is not clean"):
        release("sound", "patch", TODAY, repository)


def test_no_release_without_a_changelog_entry(repository: Path) -> None:
    with pytest.raises(ToolError, match="nothing under '## "):
        release("core", "patch", TODAY, repository)
    assert untouched(repository)


def test_a_release_that_fails_a_check_leaves_the_tree_as_it_was(repository: Path) -> None:
    edit("packages/core/CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n- All new.\n")(repository)
    git(repository, "commit", "--quiet", "--all", "--message", "Note")
    with pytest.raises(ToolError, match=r"packages/sound: .*leaves out the core of this repository, 0\.4\.0"):
        release("core", "minor", TODAY, repository)
    assert untouched(repository)


def test_a_wheel_that_cannot_be_built_leaves_the_tree_as_it_was(repository: Path) -> None:
    edit("packages/sound/pyproject.toml", '"LICENSE"]', '"LICENSE", "/etc/passwd"]')(repository)
    git(repository, "commit", "--quiet", "--all", "--message", "Break")
    with pytest.raises(ToolError, match="building offprint-sound failed"):
        release("sound", "patch", TODAY, repository)
    assert untouched(repository)


def test_a_commit_that_is_refused_leaves_the_tree_as_it_was(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(ToolError, match=r"git commit .*: not today"):
        release("sound", "patch", TODAY, repository)
    assert untouched(repository)


def test_bumps() -> None:
    assert [bumped("1.2.3", part) for part in ("major", "minor", "patch")] == ["2.0.0", "1.3.0", "1.2.4"]
    with pytest.raises(ToolError, match=r"not MAJOR\.MINOR\.PATCH"):
        bumped("1.2", "patch")


def test_rolling_a_changelog_without_older_releases() -> None:
    text = rolled("# Changelog\n\n## [Unreleased]\n\n- First.\n", "0.1.0", TODAY, Path("CHANGELOG.md"))
    assert text == f"# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - {TODAY}\n\n- First.\n"


def test_wheel_check_names_what_is_wrong(root: Path, tmp_path: Path) -> None:
    package = find_package("sound", root)
    out = tmp_path / "dist"
    with pytest.raises(ToolError, match="holds 0 wheels"):
        check_wheel(package, out)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(package.folder)]
    subprocess.run(command, check=True, capture_output=True)
    assert check_wheel(package, out).name == "offprint_sound-0.1.0-py3-none-any.whl"
    (package.source / "_late.py").write_text("")
    with pytest.raises(ToolError, match=r"lacks _late\.py"):
        check_wheel(package, out)


def test_bench_table_from_output(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [{"workload": "a|b", "ours": 0.00012345, "peer": None}, {"workload": "c", "ours": 2, "ratio": 0.5}]
    output = tmp_path / "output.txt"
    output.write_text(f"a table for people\n{json.dumps(rows)}\nnox > done\n" + json.dumps({"workload": "d"}))
    assert bench_table.main([str(output)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| workload | ours | peer | ratio |",
        "| --- | ---: | ---: | ---: |",
        r"| a\|b | 0.0001234 | – | – |",
        "| c | 2 | – | 0.5 |",
        "| d | – | – | – |",
    ]
    output.write_text("nothing")
    assert bench_table.main([str(output)]) == 1


def test_bench_table_keeps_tables_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    rows = [{"table": "A", "x": 1}, {"table": "B", "y": "z"}, {"table": "A", "x": 2}]
    output.write_text("\n".join(map(json.dumps, rows)))
    assert bench_table.main([str(output)]) == 0
    assert capsys.readouterr().out == ("**A**\n\n| x |\n| ---: |\n| 1 |\n| 2 |\n\n**B**\n\n| y |\n| --- |\n| z |\n")
