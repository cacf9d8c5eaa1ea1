"""Every task that a person runs. `nox` alone is the whole check; `nox -l` lists the rest.

A folder under packages/ with a pyproject.toml is picked up by all sessions. Package names after `--` choose
some of them (`nox -s tests -- mgrn`); what else stands there goes to the program that the session runs.
"""

import difflib
import os
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.sessions = ["lint", "types", "checks", "build", "tests", "reproduce"]

ROOT = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13"]
PACKAGES = sorted(
    (path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")), key=lambda name: (name != "core", name)
)
AFTER_DASHES = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
MISNAMED = AFTER_DASHES and not AFTER_DASHES[0].startswith("-")
# A name that is no package is reported by `split`, by one session instead of all.
CHOSEN = [name for name in PACKAGES if name in AFTER_DASHES] or (PACKAGES[:1] if MISNAMED else PACKAGES)
# `nox -s tests` runs this Python; a version is offered as a session when it is asked for: `nox -s tests-3.13`.
WANTED = " ".join([*sys.argv, os.environ.get("NOXSESSION", "")])
ASKED_PYTHONS = [version for version in PYTHONS if f"tests-{version}" in WANTED] or None

# Sessions were chosen, so that it is not the whole check, which tries each experiment once: long ones at a reduced
# size, in the tests, and the others as the quick profile has them.
CHOOSING = ("-s", "-e", "--session", "-k", "--keyword", "-t", "--tag")
SOME_SESSIONS = "NOXSESSION" in os.environ or any(word.startswith(CHOOSING) for word in sys.argv[1:])

# The environments are made anew, and used by many programs, each of which would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def module_of(package: str) -> str:
    return "offprint." + package.replace("-", "_")


def group(package: str, name: str) -> tuple[str, ...]:
    """The requirements of one dependency group of a package; none where it has no such group."""
    pyproject = nox.project.load_toml(ROOT / "packages" / package / "pyproject.toml")
    groups = pyproject.get("dependency-groups", {})
    return nox.project.dependency_groups(pyproject, name) if name in groups else ()


def editable(*packages: str) -> list[str]:
    """Install arguments for packages from this tree, core always among them."""
    return [part for package in dict.fromkeys(["core", *packages]) for part in ("-e", f"packages/{package}")]


def split(session: nox.Session) -> tuple[list[str], list[str]]:
    """The packages that were named after `--`, and the other arguments; a name that is none is an error."""
    packages = [argument for argument in session.posargs if argument in PACKAGES]
    others = [argument for argument in session.posargs if argument not in PACKAGES]
    if session.posargs and not packages and not others[0].startswith("-"):
        near = difflib.get_close_matches(others[0], PACKAGES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(PACKAGES)}"
        session.error(f"there is no package {others[0]!r}; {hint}")
    return packages, others


def run_tests(session: nox.Session, package: str, *install: str) -> None:
    """The package's tests, whole files side by side: most of their time is compilation, which uses one core."""
    _, options = split(session)
    session.install(*install, *editable(package), *group(package, "test"), "pytest-xdist>=3.6")
    # With core, always: while a checked module is imported, the hook lends its bytecode cache to what that imports, so
    # that core would be checked or not by what was tested before.
    checked = ",".join(dict.fromkeys(["offprint.core", module_of(package)]))
    left_out = () if SOME_SESSIONS else ("-m", "not in_quick")
    hook = f"--jaxtyping-packages={checked},beartype.beartype"
    session.run(
        *("pytest", "-q", "-n", "auto", "--dist", "loadfile", hook, f"packages/{package}/tests", *left_out, *options),
        env={"OPENBLAS_NUM_THREADS": "1", **quick_compilation(session, package)},  # the workers have the cores
    )


def quick_compilation(session: nox.Session, package: str) -> dict[str, str]:
    """XLA's settings for tests, which compile for longer than they run.

    Where the package's pyproject says `quick-compilation = true` in [tool.offprint], XLA optimises little, which takes
    half of the time; results differ in rounding, so its tests must allow that. Flags that this XLA doesn't know would
    end every program, so they are tried first.
    """
    settings = nox.project.load_toml(ROOT / "packages" / package / "pyproject.toml").get("tool", {})
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_parallel_codegen_split_count=1"
    if settings.get("offprint", {}).get("quick-compilation", False):
        flags += (
            " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
            " --xla_cpu_use_fusion_emitters=false"
        )
    python = Path(session.bin) / "python"
    done = subprocess.run(
        [python, "-c", "import jax; jax.numpy.zeros(1)"], env={**os.environ, "XLA_FLAGS": flags}, capture_output=True
    )
    return {"XLA_FLAGS": flags} if done.returncode == 0 else {}


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format, by ruff."""
    session.install("ruff>=0.12")
    session.run("ruff", "check", "--quiet")
    session.run("ruff", "format", "--check", "--quiet")


@nox.session
def types(session: nox.Session) -> None:
    """Types of every package, of the tools and of this file, by mypy."""
    session.install("mypy>=1.17", "types-PyYAML", "types-requests", "nox", "pytest", *editable(*PACKAGES))
    paths = [str(path) for path in sorted(ROOT.glob("packages/*/src"))]
    modules = [argument for package in PACKAGES for argument in ("-p", module_of(package))]
    session.run("mypy", *modules, env={"MYPYPATH": os.pathsep.join(paths)})
    session.run("mypy", "noxfile.py", "tools", env={"MYPYPATH": str(ROOT / "tools")})


@nox.session
def checks(session: nox.Session) -> None:
    """Floor plan, versions, citations, imports; and the tests of the tools that see to it."""
    session.install("build", "hatchling", "packaging", "pytest", "pyyaml")
    session.run("pytest", "-q", "tools")
    session.run("python", "tools/check_packages.py")


@nox.session
@nox.parametrize("package", CHOSEN, ids=CHOSEN)
def build(session: nox.Session, package: str) -> None:
    """Build sdist and wheel; install the wheel alone into an empty environment and use it there."""
    split(session)
    session.install("build", "hatchling", "packaging", "pyyaml")
    folder = Path(session.create_tmp()).resolve()
    for old in folder.glob("offprint_*"):
        old.unlink()
    for name in dict.fromkeys(["core", package]):
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(folder), f"packages/{name}", silent=True)
        session.run("python", "tools/check_wheel.py", name, str(folder))
    python = empty_environment(session, folder / "env")
    wheels = [str(path) for path in sorted(folder.glob("offprint_*.whl"))]
    if session.venv_backend == "uv":
        session.run("uv", "pip", "install", "--quiet", "--python", python, *wheels, silent=True)
    else:
        session.run(python, "-m", "pip", "install", "--quiet", *wheels, external=True, silent=True)
    with session.chdir(folder):  # out of the tree, so that only what the wheel brought can be imported
        session.run(python, "-I", "-c", f"import {module_of(package)}", external=True)
        listed = str(session.run(str(Path(python).parent / "offprint"), "list", external=True, silent=True))
    if f"{package} " not in listed or "cannot be read" in listed:
        session.error(f"`offprint list` does not show the experiments of {package}:\n{listed}")


def empty_environment(session: nox.Session, folder: Path) -> str:
    """A new environment with nothing in it; the path of its Python."""
    if session.venv_backend == "uv":
        session.run("uv", "venv", "--quiet", "--clear", "--no-project", str(folder), silent=True)
    else:
        session.run("python", "-m", "venv", "--clear", str(folder), silent=True)
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


@nox.session(python=ASKED_PYTHONS)
@nox.parametrize("package", CHOSEN, ids=CHOSEN)
def tests(session: nox.Session, package: str) -> None:
    """Tests of each package in its own environment; also as tests-3.11, tests-3.12 and tests-3.13."""
    run_tests(session, package)


@nox.session(python="3.11", venv_backend="uv")
@nox.parametrize("package", CHOSEN, ids=CHOSEN)
def tests_lowest(session: nox.Session, package: str) -> None:
    """Tests with the oldest versions that the package says it works with."""
    run_tests(session, package, "--resolution", "lowest-direct")


@nox.session
@nox.parametrize("package", CHOSEN, ids=CHOSEN)
def bench(session: nox.Session, package: str) -> None:
    """Benchmarks against peers, which are installed or taken from the folder that OFFPRINT_PEERS names."""
    _, options = split(session)
    peers = os.environ.get("OFFPRINT_PEERS")
    session.install(*editable(package), *(() if peers else group(package, "bench")))
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(str(session.run("python", "-c", code, silent=True)).strip())
    # A .pth file, since PYTHONPATH would put the peers' own NumPy before that of the environment.
    link = site / "offprint_peers.pth"
    link.unlink(missing_ok=True)
    if peers:
        link.write_text(f"{Path(peers).expanduser().resolve()}\n", encoding="utf-8")
    for script in sorted(ROOT.glob(f"packages/{package}/benchmarks/bench_*.py")):
        # XLA runs LAPACK calls side by side: each on one core, for us and for the peers alike.
        threads = {"OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1")}
        session.run("python", str(script.relative_to(ROOT)), *options, env=threads)


@nox.session
def reproduce(session: nox.Session) -> None:
    """Run the experiments of every package, or of those named, and write the report."""
    _, given = split(session)
    defaults = {"--profile": "quick", "--out": "results", "--jobs": "2"}
    stated = {argument.partition("=")[0] for argument in given}
    options = [part for flag, value in defaults.items() if flag not in stated for part in (flag, value)]
    session.install(*editable(*PACKAGES))
    session.run("offprint", "reproduce", *session.posargs, *options, *(() if SOME_SESSIONS else ("--short",)))


@nox.session
def release(session: nox.Session) -> None:
    """Release one package: nox -s release -- METHOD minor|patch|major."""
    session.install("build", "hatchling", "packaging", "pyyaml")
    session.run("python", "tools/release.py", *session.posargs)


@nox.session
def new(session: nox.Session) -> None:
    """Start a package that passes every check: nox -s new -- METHOD "one-line description"."""
    session.install("ruff>=0.12")
    session.run("python", "tools/new_package.py", *session.posargs)
