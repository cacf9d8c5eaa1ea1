"""The README's examples run as printed, its settings are read, and its commands are understood."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest
import tyro

from offprint.neural_ivp._command import Command, Compare, Run
from offprint.neural_ivp._command_plan import plan_of
from offprint.neural_ivp._command_settings import read_settings

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^offprint-neural-ivp (.+)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_prints_what_it_says(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(textwrap.dedent(block), str(README), "exec"), {"__name__": "example"})
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    expected = [" ".join(line.split()) for line in re.findall(r"^print\(.*\)  # (.+)$", block, re.MULTILINE)]
    assert printed == expected


@pytest.fixture
def files(tmp_path, monkeypatch):
    """What the commands name: the file of settings that the README shows, and an equation."""
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)[1], encoding="utf-8")
    Path("my_pde.py").write_text("from offprint.neural_ivp import problems\nproblem = problems.heat()\n")


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line, files):
    config = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
    command = tyro.cli(Command, args=shlex.split(line), config=config)
    if isinstance(command, Run | Compare):
        plan = plan_of(read_settings(command.settings.config, command.settings.flags(), command.settings.set))
        assert plan.problem.n_fields >= 1


def test_there_are_examples_and_commands():
    assert (len(BLOCKS), len(COMMANDS)) == (2, 8)
