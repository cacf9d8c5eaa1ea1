"""The HTML report."""

import re
from html.parser import HTMLParser

import pytest
from fake_methods import install, offprint

from offprint.core.experiments import UsageError, write_report

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Reads a page strictly: tags must nest, and every text, reference and figure is kept."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.tables, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.tables.append([])
        if tag in ("td", "th"):
            self.tables[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1] += data


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    names = ("crashing", "doubtful", "steady")
    sites = [install(folder / name, name) for name in names]
    assert offprint("reproduce", *names, "--out", folder / "out", sites=sites).returncode == 1
    done = offprint("report", folder / "out", sites=sites)
    assert done.returncode == 0
    path = folder / "out" / "report.html"
    assert done.stdout == f"{path}\n"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(report):
    return Page(report)


def test_the_page_needs_nothing_else(page, report):
    links = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert links
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in links)
    assert not re.search(r"@import|url\(|<script|<link", report)


def test_the_table_of_claims(page):
    rows = page.tables
    assert rows[0] == ["Method", "Claim", "Paper", "Here", "Verdict", "Time"]
    assert ["doubtful/short", "accuracy", "0.9", "0.5", "✗ does not hold"] in [row[:5] for row in rows]
    steady = [row[:5] for row in rows if row[0].startswith("steady")]
    assert [row[0] for row in steady] == ["steady/second", "steady/tenth"]  # Figure 2 before Figure 10
    assert steady[1] == ["steady/tenth", "total & tail <b>bold</b>", "N", "4", "✓ holds"]
    assert ["", "ArithmeticError: the <sum> diverged", "", "", "! failed"] in [row[:5] for row in rows]


def test_everything_is_escaped(report, page):
    assert "<b>bold" not in report
    assert "<curve>" not in report
    assert "The <curve> of memory" in page.text


def test_sections_tell_what_was_run(page):
    for words in (
        "7 of 8 claims hold; 5 experiments failed",
        "Figure 10",
        "neurons",
        "Rule: at least 4.",
        "offprint-steady 0.1.0 · quick profile",
        "How to cite",
        "@software{offprint_steady,",
        "Brontë, M.-A. L.",
        "Environment",
    ):
        assert words.lower() in page.text.lower()
    assert sum(tag == "img" and name == "src" for tag, name, _ in page.attributes) == 1


def test_control_characters_of_a_terminal_are_left_out(tmp_path):
    folder = tmp_path / "toy" / "toy"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        '{"status": "failed", "profile": "quick", "started": "2026-01-02T03:04:05+00:00", "reproduces": "Figure 1",'
        ' "summary": "", "package": "offprint-toy", "version": "0.1.0", "error": "bad",'
        ' "traceback": "\\u001b[31mred\\u001b[0m\\u0000"}'
    )
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "<pre>red</pre>" in text
    assert "Its citation is not at hand" in text


def test_no_results(tmp_path):
    with pytest.raises(UsageError, match="there are no results in"):
        write_report(tmp_path)
