"""Every entry is well formed and every key that the package names exists."""

import re
from pathlib import Path

import pytest

import offprint.sparsity
from offprint.sparsity._bibliography import BIBTEX, SURVEY, cite

SOURCES = Path(offprint.sparsity.__file__).parent


@pytest.mark.parametrize("key", BIBTEX)
def test_entries_are_bibtex(key):
    entry = cite(key)
    kind, name = re.match(r"@(\w+)\{(\w+),\n", entry).groups()
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.M))
    assert name == key
    assert entry.count("{") == entry.count("}")
    assert {"title", "author", "year"} <= set(fields)
    assert {"article": "journal", "inproceedings": "booktitle", "misc": "eprint"}[kind] in fields
    assert 1988 < int(fields["year"]) < 2026
    assert all("," in author for author in fields["author"].split(" and "))  # family name, given names
    assert fields["year"] in key or key == "zhu2018gmp"  # a preprint of 2017, known by the year of its talk


def test_the_survey_is_among_them():
    assert all(part in cite(SURVEY) for part in ("volume = {22}", "number = {241}", "pages = {1--124}"))


def test_keys_named_in_the_sources_exist():
    named = set()
    for path in SOURCES.rglob("*.py"):
        named |= set(re.findall(r"\b[a-z]+(?:19|20)\d\d[a-z0-9]*\b", path.read_text(encoding="utf-8")))
    assert named - set(BIBTEX) == set()
    assert "evci2020rigl" in BIBTEX


def test_an_unknown_key_is_an_error_that_helps():
    with pytest.raises(ValueError, match=r"did you mean .*evci2020rigl"):
        cite("evci2019rigl")
