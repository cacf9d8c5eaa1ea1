"""The results of a folder as one HTML page that needs nothing else: claims, figures, settings, how to cite."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from offprint.core import citation
from offprint.core._installed import UsageError
from offprint.core.experiments._files import write_text
from offprint.core.experiments._results import Result, read_results
from offprint.core.experiments._table import Row, Verdict, count_text, duration_text, rows, summary, value_text, verdict

_MARKS: dict[Verdict, str] = {"holds": "✓", "does not hold": "✗", "failed": "!", "not run": "–"}
_COLUMNS = ("Method", "Claim", "Paper", "Here", "Verdict", "Time")
_SHOWN_PACKAGES = re.compile(r"offprint-.*|jax|jaxlib|flax|optax|numpy|scipy")
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")  # colours of a terminal, control bytes


def write_report(out: Path) -> Path:
    """Writes `report.html` into a results folder and returns its path.

    Raises:
        UsageError: where the folder holds no results or cannot be written.
    """
    path = Path(out) / "report.html"
    page = "<!doctype html>\n" + tostring(_page(read_results(out)), encoding="unicode", method="html") + "\n"
    try:
        write_text(path, page)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def element(tag: str, *children: Element | str | None, **attributes: str) -> Element:
    """An HTML element; its text is escaped when written; `class_` and `data_label` are `class` and `data-label`."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): text for name, text in attributes.items()})
    for child in children:
        if isinstance(child, str):
            text = _UNPRINTABLE.sub("", child)
            if len(made):
                made[-1].tail = (made[-1].tail or "") + text
            else:
                made.text = (made.text or "") + text
        elif child is not None:
            made.append(child)
    return made


def _page(results: Sequence[Result]) -> Element:
    methods = [(name, list(group)) for name, group in itertools.groupby(results, lambda result: result.method)]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Offprint: {summary(results)}"),
        element("style", Path(__file__).with_name("report.css").read_text(encoding="utf-8")),
    )
    body = element(
        "body",
        element(
            "main",
            _header(results, len(methods)),
            _claims_table(rows(results)),
            *(_method(name, group) for name, group in methods),
            _how_to_cite([name for name, _ in methods]),
            _environments(results),
        ),
    )
    return element("html", head, body, lang="en")


def _header(results: Sequence[Result], methods: int) -> Element:
    profiles = dict.fromkeys(f"{result.run['profile']} profile" for result in results)
    seconds = sum(result.run.get("seconds") or 0 for result in results)
    day = datetime.fromisoformat(max(result.run["started"] for result in results))
    facts = [
        count_text(methods, "method"),
        count_text(len(results), "experiment"),
        *profiles,
        duration_text(seconds),
        f"{day.day} {day:%B %Y}",
    ]
    line = summary(results)
    return element(
        "header",
        element("p", "Offprint", class_="eyebrow"),
        element("h1", line[0].upper() + line[1:]),
        element("p", " · ".join(facts), class_="facts"),
    )


def _claims_table(table: Sequence[Row]) -> Element:
    lines = []
    for row in table:
        name = element("a", row.name, href=f"#{row.name}") if row.name else ""
        cells = (name, row.claim, row.paper, row.here, _pill(row.verdict), row.time)
        lines.append(
            element(
                "tr",
                *(element("td", cell, data_label=label) for label, cell in zip(_COLUMNS, cells, strict=True)),
                class_="first" if row.name else "",
            )
        )
    heads = element("tr", *(element("th", label, scope="col") for label in _COLUMNS))
    return element("table", element("thead", heads), element("tbody", *lines), class_="claims")


def _pill(word: Verdict) -> Element:
    return element("span", f"{_MARKS[word]} {word}", class_=f"pill {word.split()[0]}")


def _method(name: str, results: Iterable[Result]) -> Element:
    return element("section", element("h2", name), *(_experiment(result) for result in results))


def _experiment(result: Result) -> Element:
    run = result.run
    facts = f"{run['package']} {run['version']} · {run['profile']} profile · {duration_text(run.get('seconds'))}"
    claims = [
        element(
            "li",
            _pill(verdict(claim["holds"])),
            element(
                "div",
                element("strong", claim["claim"]),
                element(
                    "p",
                    f"Paper: {value_text(claim['paper'])}. Here: {value_text(claim['here'])}. Rule: {claim['rule']}.",
                ),
            ),
        )
        for claim in result.claims
    ]
    settings = (
        element("div", element("dt", key), element("dd", value_text(value))) for key, value in result.config.items()
    )
    return element(
        "article",
        element("h3", result.experiment, element("span", run["reproduces"], class_="reproduces")),
        element("p", run["summary"]),
        _error(result) if not result.finished else None,
        element("ul", *claims, class_="verdicts") if claims else None,
        *(_figure(result.folder, name, caption) for name, caption in result.figures.items()),
        element("dl", *settings, class_="settings") if result.config else None,
        element("p", facts, class_="facts"),
        id=result.name,
    )


def _error(result: Result) -> Element:
    trace = result.run.get("traceback")
    return element(
        "div",
        element("p", _pill("not run" if result.unavailable else "failed"), " ", result.error),
        element("details", element("summary", "Traceback"), element("pre", trace)) if trace else None,
        class_="error",
    )


def _figure(folder: Path, name: str, caption: str) -> Element:
    data = base64.b64encode((folder / "figures" / f"{name}.png").read_bytes()).decode("ascii")
    image = element("img", src=f"data:image/png;base64,{data}", alt=caption or name, loading="lazy")
    return element("figure", image, element("figcaption", caption or name))


def _how_to_cite(methods: Iterable[str]) -> Element:
    entries: list[Element] = []
    for method in methods:
        entries.append(element("h3", method))
        try:
            entries += [element("p", text) for text in citation.cite(method, "text").split("\n\n")]
            entries.append(element("pre", citation.cite(method, "bibtex")))
        except UsageError as error:
            entries.append(element("p", f"Its citation is not at hand: {error}.", class_="facts"))
    return element("section", element("h2", "How to cite"), *entries, class_="cite")


def _environments(results: Sequence[Result]) -> Element:
    """Each distinct environment once, with the experiments that ran in it where there are several."""
    distinct: dict[str, list[Result]] = {}
    for result in results:
        without_seeds = {key: value for key, value in result.environment.items() if key != "seeds"}
        distinct.setdefault(json.dumps(without_seeds, sort_keys=True), []).append(result)
    parts: list[Element] = []
    for text, group in distinct.items():
        if len(distinct) > 1:
            parts.append(element("h3", ", ".join(result.name for result in group)))
        parts += _environment(json.loads(text))
    return element("section", element("h2", "Environment"), *parts)


def _environment(found: dict) -> list[Element]:
    if not found:
        return [element("p", "Not recorded: the run never began.", class_="facts")]
    git = found.get("git")
    revision = f"{git['revision']}{' with local changes' if git['changed'] else ''}" if git else "not a git checkout"
    packages = found.get("packages", {})
    main = {name: version for name, version in packages.items() if _SHOWN_PACKAGES.fullmatch(name)}
    facts = {
        "python": found.get("python"),
        "platform": found.get("platform"),
        "processor": f"{found.get('cpu')}, {count_text(found.get('cores') or 0, 'core')}",
        "devices": ", ".join(found.get("devices") or []) or "none was asked for",
        "revision": revision,
        **main,
    }
    everything = "\n".join(f"{name} {version}" for name, version in packages.items())
    return [
        element("dl", *(element("div", element("dt", k), element("dd", str(v))) for k, v in facts.items())),
        element("details", element("summary", f"All {len(packages)} packages"), element("pre", everything)),
    ]
