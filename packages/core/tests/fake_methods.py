"""Four small method packages as pip would install them, so that the tests go through real entry points and processes.

None imports JAX, and each lies in a folder of its own, to be put on PYTHONPATH alone or with others.
"""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

HEAD = '''
"""Experiments of a made-up paper."""

import os, signal, sys, time
from collections.abc import Iterator
from dataclasses import dataclass

from offprint.core.experiments import Claim, Run, Unavailable, at_least, equals, experiment, near

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


class Drawing:
    def savefig(self, path, **settings):
        with open(path, "wb") as file:
            file.write(PNG)

    def clear(self):
        pass


@dataclass(frozen=True)
class Config:
    """Settings of the made-up experiments."""

    neurons: int = 4
    """Number of neurons N."""
    seed: int = 0
    law: str = "normal"

    def __post_init__(self):
        if self.neurons < 1:
            raise ValueError(f"neurons must be 1 or more, got {self.neurons}")

'''

SOURCES = {
    "steady": '''
@experiment("tenth", reproduces="Figure 10", long=True)
def tenth(config: Config, run: Run) -> Iterator[Claim]:
    """The total is <the> number of neurons."""
    yield Claim("total & tail <b>bold</b>", paper="N", here=config.neurons, rule=equals(config.neurons))

@experiment("second", reproduces="Figure 2", paper=Config(neurons=40))
def second(config: Config, run: Run) -> Iterator[Claim]:
    """More neurons, more memory."""
    print("printed by the experiment")
    with (run.folder / "times").open("a") as file:
        file.write("run\\n")
    for step in range(2):
        run.log(step=step, total=step / 2)
    run.figure("curve", Drawing(), caption="The <curve> of memory")
    yield Claim("memory", paper=4, here=config.neurons, rule=at_least(4))
    yield Claim("ratio", paper=1.0, here=1.01, rule=near(1, 0.05))
''',
    "doubtful": '''
@experiment("short", reproduces="Table 1")
def short(config: Config, run: Run) -> Iterator[Claim]:
    """Falls short of the paper."""
    yield Claim("accuracy", paper=0.9, here=0.5, rule=at_least(0.85))
''',
    "crashing": '''
@experiment("first", reproduces="Figure 1")
def first(config: Config, run: Run) -> Iterator[Claim]:
    """Works."""
    yield Claim("works", paper="yes", here=True, rule=equals(True))

@experiment("raises", reproduces="Figure 2")
def raises(config: Config, run: Run) -> Iterator[Claim]:
    """Raises after its first claim."""
    yield Claim("before", paper=1, here=1, rule=equals(1))
    raise ArithmeticError("the <sum> diverged")

@experiment("killed", reproduces="Figure 3")
def killed(config: Config, run: Run) -> Iterator[Claim]:
    """Is killed as if memory had run out."""
    yield Claim("before", paper=1, here=1, rule=equals(1))
    os.kill(os.getpid(), signal.SIGKILL)

@experiment("faults", reproduces="Figure 4")
def faults(config: Config, run: Run) -> Iterator[Claim]:
    """Dies of a segmentation fault while a child of it lives on and holds its pipe."""
    if os.fork() == 0:
        time.sleep(60)
    os.kill(os.getpid(), signal.SIGSEGV)
    yield

@experiment("leaves", reproduces="Figure 5")
def leaves(config: Config, run: Run) -> Iterator[Claim]:
    """Ends its process without a word."""
    os._exit(7)
    yield

@experiment("quits", reproduces="Figure 6")
def quits(config: Config, run: Run) -> Iterator[Claim]:
    """Calls sys.exit."""
    sys.exit(5)
    yield

@experiment("last", reproduces="Figure 7")
def last(config: Config, run: Run) -> Iterator[Claim]:
    """Comes after all of them."""
    yield Claim("works", paper="yes", here=True, rule=equals(True))
''',
    "demanding": '''
@experiment("free", reproduces="Table 1")
def free(config: Config, run: Run) -> Iterator[Claim]:
    """Needs nothing."""
    yield Claim("works", paper="yes", here=True, rule=equals(True))

@experiment("licensed", reproduces="Table 2")
def licensed(config: Config, run: Run) -> Iterator[Claim]:
    """Needs data that nobody else may hand out."""
    raise Unavailable("it needs your own copy of the records: name its folder with --folder")
    yield
''',
    "broken": '''
import a_module_that_nobody_has

@experiment("never", reproduces="Figure 1")
def never(config: Config, run: Run) -> Iterator[Claim]:
    """Cannot be reached."""
    yield Claim("works", paper="yes", here=True, rule=equals(True))
''',
    "slow": '''
@experiment("long", reproduces="Figure 1")
def long(config: Config, run: Run) -> Iterator[Claim]:
    """Waits until it is stopped, and then remembers that it was."""
    (run.folder / "pid").write_text(str(os.getpid()))
    saved = run.checkpoints / "saved"
    if not saved.exists():
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            saved.write_text("here")
            raise
    yield Claim("goes on", paper="yes", here=True, rule=equals(True))

@experiment("after", reproduces="Figure 2")
def after(config: Config, run: Run) -> Iterator[Claim]:
    """Comes after it."""
    yield Claim("works", paper="yes", here=True, rule=equals(True))
''',
}

CITATION = """\
cff-version: 1.2.0
message: Cite it.
type: software
title: "offprint-{name}: 100% of R&D_{name}"
version: 0.0.9
authors:
  - name: The Offprint developers
date-released: 2026-03-01
preferred-citation:
  type: article
  title: "On the {{Über}} network: is it deep?"
  authors:
    - {{family-names: Brontë, given-names: Mary-Ann Lea}}
    - {{name-particle: van der, family-names: Berg, given-names: Jan, name-suffix: Jr.}}
  journal: Journal of Tests & Trials
  volume: 3
  issue: 2
  start: 10
  end: 21
  year: 2020
  doi: 10.1000/a_b
  identifiers:
    - {{type: other, value: "arXiv:2001.00001"}}
references:
  - type: conference-paper
    title: A second paper
    authors:
      - {{family-names: Doe, given-names: J}}
    conference: {{name: Conference on Tests}}
    year: 2021
"""


def install(site: Path, name: str, source: str | None = None) -> Path:
    """Lays a method package out in the folder `site`, which is returned, as an installed wheel would."""
    package = site / "offprint" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('listing must not import the package')\n" * (source == ""))
    (package / "experiments.py").write_text(HEAD + (SOURCES[name] if source is None else source))
    (package / "CITATION.cff").write_text(CITATION.format(name=name), encoding="utf-8")
    info = site / f"offprint_{name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: offprint-{name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(
        dedent(f"""\
        [offprint.experiments]
        {name} = offprint.{name}.experiments
        """)
    )
    return site


def environment(*sites: Path) -> dict[str, str]:
    """The environment of a process that finds the packages in `sites` besides what is installed."""
    paths = [*map(str, sites), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "200"}


def offprint(*arguments: object, sites: tuple[Path, ...] = (), **settings) -> subprocess.CompletedProcess[str]:
    """Runs the program in a process of its own."""
    command = [sys.executable, "-m", "offprint.core.cli", *map(str, arguments)]
    return subprocess.run(
        command, env=environment(*sites), capture_output=True, text=True, timeout=60, check=False, **settings
    )
