"""How to cite a method: its release and its paper, from the package's CITATION.cff, without importing the package."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from offprint.core._installed import UsageError, find_module, unknown

FORMATS = ("bibtex", "cff", "text")
_BIBTEX_TYPES = {
    "software": "software",
    "article": "article",
    "conference-paper": "inproceedings",
    "proceedings": "proceedings",
    "book": "book",
    "thesis": "phdthesis",
    "report": "techreport",
    "data": "dataset",
}
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    character: f"\\{character}" for character in "&%$#_{}"
}
_SMALL_WORDS = {"a", "an", "the", "on", "of", "in", "for", "and", "to", "with"}


@dataclass(frozen=True)
class Citation:
    """A method's CITATION.cff and the version that is installed.

    Attributes:
        method: the method's name.
        version: the version of the distribution `offprint-<method>` installed.
        text: the file's text.
        fields: the file's content.
    """

    method: str
    version: str
    text: str
    fields: dict[str, Any]

    @property
    def works(self) -> list[dict[str, Any]]:
        """The software release, then the preferred citation and the other references."""
        software = self.fields | {"type": "software", "version": self.version}
        preferred = self.fields.get("preferred-citation")
        return [software, *([preferred] if preferred else []), *self.fields.get("references", [])]


def cite(method: str, form: str = "bibtex") -> str:
    """How to cite the installed release of a method and its paper, as BibTeX, CFF or plain text.

    Raises:
        UsageError: where the method is not installed (the nearest name is given), has no CITATION.cff, or has one that
            is not valid YAML; where the format is unknown.
    """
    citation = read_citation(method)
    if form == "cff":
        return citation.text.rstrip("\n")
    if form == "bibtex":
        return "\n\n".join(_bibtex(work, citation) for work in citation.works)
    if form == "text":
        return "\n\n".join(_reference(work) for work in citation.works)
    raise unknown("citation format", form, FORMATS)


def read_citation(method: str) -> Citation:
    """The citation file that stands in the installed package, or at the package's root in a source checkout.

    Raises:
        UsageError: as in `cite`.
    """
    import yaml  # here, since most commands don't need it

    method = method.replace("_", "-").lower()
    try:
        version = metadata.version(f"offprint-{method}")
    except metadata.PackageNotFoundError:
        raise unknown("installed method", method, _installed()) from None
    path = _find_file(method)
    text = path.read_text(encoding="utf-8")
    try:
        fields = yaml.safe_load(text)
        if not isinstance(fields, dict) or not {"title", "authors"} <= fields.keys():
            raise ValueError("title and authors are needed")
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path} is not a valid citation file: {error}") from error
    return Citation(method, version, text, fields)


def _installed() -> list[str]:
    names = {(dist.metadata["Name"] or "").lower().replace("_", "-") for dist in metadata.distributions()}
    return sorted(name.removeprefix("offprint-") for name in names if name.startswith("offprint-"))


def _find_file(method: str) -> Path:
    spec = find_module(f"offprint.{method.replace('-', '_')}")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    checkouts = [folder.parents[2] for folder in folders if folder.parents[1].name == "src"]
    for folder in (*checkouts, *folders):
        if (path := folder / "CITATION.cff").is_file():
            return path
    raise UsageError(f"offprint-{method} is installed without a CITATION.cff")


def _bibtex(work: dict[str, Any], citation: Citation) -> str:
    kind = _BIBTEX_TYPES.get(work.get("type", ""), "misc")
    software = kind == "software"
    key = f"offprint_{citation.method.replace('-', '_')}" if software else _key(work)
    arxiv = _arxiv(work)
    venue = "booktitle" if kind == "inproceedings" else "journal"
    entries = {
        "author": " and ".join(_bibtex_name(author) for author in work["authors"]),
        "title": f"{{{_escaped(work['title'])}}}",  # braces keep the capitals
        venue: _escaped(_venue(work)),
        "volume": _escaped(work.get("volume", "")),
        "number": _escaped(work.get("issue", "")),
        "pages": _pages(work, "--"),
        "year": _year(work),
        "version": _escaped(work.get("version", "")) if software else "",
        "publisher": _escaped((work.get("publisher") or {}).get("name", "")),
        "doi": str(work.get("doi", "")),
        "eprint": arxiv,
        "archivePrefix": "arXiv" if arxiv else "",
        "url": str(work.get("url") or work.get("repository-code") or ""),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in entries.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _reference(work: dict[str, Any]) -> str:
    software = work.get("type") == "software"
    title = str(work["title"])
    if software:
        title += f" (Version {work['version']}) [Computer software]"
    parts = [f"{_joined(_text_name(author) for author in work['authors'])} ({_year(work) or 'n.d.'})", title]
    if venue := _venue(work):
        issue = f"({work['issue']})" if work.get("issue") else ""
        volume = f"{work.get('volume', '')}{issue}"
        parts.append(", ".join(part for part in (venue, volume, _pages(work, "–")) if part))
    if arxiv := _arxiv(work):
        parts.append(f"arXiv:{arxiv}")
    text = " ".join(part if part.endswith(("?", "!", ".")) else f"{part}." for part in parts)
    link = f"https://doi.org/{work['doi']}" if work.get("doi") else work.get("url") or work.get("repository-code")
    return f"{text} {link}" if link else text


def _escaped(value: Any) -> str:
    return "".join(_SPECIAL.get(character, character) for character in str(value))


def _family(author: dict[str, Any]) -> str:
    return " ".join(str(author[part]) for part in ("name-particle", "family-names") if author.get(part))


def _bibtex_name(author: dict[str, Any]) -> str:
    if "name" in author:
        return f"{{{_escaped(author['name'])}}}"  # an organisation has no first name to split off
    parts = (_family(author), author.get("name-suffix"), author.get("given-names"))
    return ", ".join(_escaped(part) for part in parts if part)


def _text_name(author: dict[str, Any]) -> str:
    if "name" in author:
        return str(author["name"])
    words = str(author.get("given-names", "")).split()
    initials = " ".join("-".join(f"{part[0]}." for part in word.split("-") if part) for word in words)
    return ", ".join(part for part in (_family(author), initials, author.get("name-suffix")) if part)


def _joined(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)}, & {last}" if others else last


def _key(work: dict[str, Any]) -> str:
    author = work["authors"][0]
    words = (_ascii(word) for word in re.findall(r"[^\W\d_]+", str(work["title"])))
    first = next((word for word in words if word not in _SMALL_WORDS), "")
    return f"{_ascii(author.get('family-names') or author.get('name', ''))}{_year(work)}{first}"


def _ascii(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if character.isascii() and character.isalnum()).lower()


def _year(work: dict[str, Any]) -> str:
    return str(work.get("year") or str(work.get("date-released") or work.get("date-published") or "")[:4])


def _venue(work: dict[str, Any]) -> str:
    conference = (work.get("conference") or {}).get("name", "")
    return str(work.get("journal") or work.get("collection-title") or conference)


def _pages(work: dict[str, Any], dash: str) -> str:
    return dash.join(str(work[edge]) for edge in ("start", "end") if work.get(edge))


def _arxiv(work: dict[str, Any]) -> str:
    values = (str(identifier.get("value", "")) for identifier in work.get("identifiers") or ())
    return next((value[len("arXiv:") :] for value in values if value.lower().startswith("arxiv:")), "")
