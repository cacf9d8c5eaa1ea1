"""The README's examples run as printed."""

import re
import textwrap
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_prints_what_it_says(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(textwrap.dedent(block), str(README), "exec"), {"__name__": "example"})
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    expected = [" ".join(line.split()) for line in re.findall(r"^print\(.*\)  # (.+)$", block, re.MULTILINE)]
    assert printed == expected


def test_there_are_examples():
    assert len(BLOCKS) == 7
