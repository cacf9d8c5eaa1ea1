"""The README's examples run as printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = [
    block
    for block in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    if "example.org" not in block  # a data set that does not exist
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"offprint\.core\.(\w+)", block)[0])
def test_an_example_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    for expected in re.findall(r"# ([\d.]+|pi 3\.14)", block):
        assert expected in printed


def test_there_are_examples():
    assert len(BLOCKS) == 3
