"""Citations of what is installed."""

from pathlib import Path

import pytest
import yaml
from fake_methods import CITATION, install

from offprint.core.citation import cite, read_citation
from offprint.core.experiments import UsageError

PACKAGES = Path(__file__).parents[2]


@pytest.fixture
def steady(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path, "steady", source=""))
    return tmp_path


def test_bibtex_has_the_release_and_the_papers(steady):
    assert cite("steady") == (
        "@software{offprint_steady,\n"
        "  author = {{The Offprint developers}},\n"
        "  title = {{offprint-steady: 100\\% of R\\&D\\_steady}},\n"
        "  year = {2026},\n"
        "  version = {0.1.0},\n"
        "}\n"
        "\n"
        "@article{bronte2020uber,\n"
        "  author = {Brontë, Mary-Ann Lea and van der Berg, Jr., Jan},\n"
        "  title = {{On the \\{Über\\} network: is it deep?}},\n"
        "  journal = {Journal of Tests \\& Trials},\n"
        "  volume = {3},\n"
        "  number = {2},\n"
        "  pages = {10--21},\n"
        "  year = {2020},\n"
        "  doi = {10.1000/a_b},\n"
        "  eprint = {2001.00001},\n"
        "  archivePrefix = {arXiv},\n"
        "}\n"
        "\n"
        "@inproceedings{doe2021second,\n"
        "  author = {Doe, J},\n"
        "  title = {{A second paper}},\n"
        "  booktitle = {Conference on Tests},\n"
        "  year = {2021},\n"
        "}"
    )


def test_text_reads_as_a_reference_list(steady):
    assert cite("steady", "text").split("\n\n") == [
        "The Offprint developers (2026). offprint-steady: 100% of R&D_steady (Version 0.1.0) [Computer software].",
        "Brontë, M.-A. L., & van der Berg, J., Jr. (2020). On the {Über} network: is it deep? "
        "Journal of Tests & Trials, 3(2), 10–21. arXiv:2001.00001. https://doi.org/10.1000/a_b",
        "Doe, J. (2021). A second paper. Conference on Tests.",
    ]


def test_cff_is_the_file(steady):
    assert cite("steady", "cff") + "\n" == CITATION.format(name="steady")


def test_the_version_is_the_installed_one(steady):
    assert read_citation("Steady").fields["version"] == "0.0.9"
    assert read_citation("steady").version == "0.1.0"


def test_a_source_checkout_is_read_at_its_root(tmp_path, monkeypatch):
    install(tmp_path / "src", "steady", source="")
    (tmp_path / "src" / "offprint" / "steady" / "CITATION.cff").rename(tmp_path / "CITATION.cff")
    monkeypatch.syspath_prepend(tmp_path / "src")
    assert read_citation("steady").fields["authors"] == [{"name": "The Offprint developers"}]


def test_errors(steady):
    with pytest.raises(UsageError, match="there is no installed method 'stedy'; did you mean 'steady'"):
        cite("stedy")
    with pytest.raises(UsageError, match="there is no citation format 'bib'; did you mean 'bibtex'"):
        cite("steady", "bib")
    path = steady / "offprint" / "steady" / "CITATION.cff"
    for text in ("title: [", "just words", "title: x\n"):
        path.write_text(text)
        with pytest.raises(UsageError, match="is not a valid citation file"):
            cite("steady")
    path.unlink()
    with pytest.raises(UsageError, match="offprint-steady is installed without a CITATION"):
        cite("steady")


@pytest.mark.parametrize("package", [path.parent.name for path in sorted(PACKAGES.glob("*/CITATION.cff"))])
def test_every_package_of_the_checkout_has_a_sound_citation(package):
    fields = yaml.safe_load((PACKAGES / package / "CITATION.cff").read_text(encoding="utf-8"))
    assert fields["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license", "type"} <= fields.keys()
    assert fields["title"].startswith(f"offprint-{package}: ")
    if package != "core":
        assert fields["preferred-citation"]["authors"]
