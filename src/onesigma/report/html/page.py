"""The page: one file that needs no network, no font and no other file."""

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources

from onesigma.report.diagnosis import Diagnosis
from onesigma.report.groups import groups_of
from onesigma.report.html.data import curves, data, loss_gauge
from onesigma.report.html.findings import edits_section, finding_list, mended_table, settings
from onesigma.report.html.histograms import distributions
from onesigma.report.html.norms import norm_table
from onesigma.report.html.profile import profile
from onesigma.report.html.table import table
from onesigma.report.html.units import units
from onesigma.report.html.verdict import header, verdict
from onesigma.report.json import write_brief
from onesigma.report.markup import Child, Html, tag
from onesigma.report.mended import mended
from onesigma.report.rows import Row, rows_of
from onesigma.rules import RULES

__all__ = ["document", "render"]

PAGES = {code: rule.page for code, rule in RULES.items()}


def render(report: Diagnosis, *, changes: Html | None = None) -> str:
    """The page of a report; `changes` is a section that stands before all others."""
    rows = rows_of(report)
    sections = [("changes", "Changes", section("changes", "Changes", changes))] if changes else []
    sections += _sections(report, rows)
    body = [
        tag("a", "Skip to the findings", href="#findings", class_="skip"),
        header(report),
        tag("main", verdict(report, rows), _contents(sections), [content for _, _, content in sections]),
        _footer(report),
    ]
    return document(body, title=f"onesigma: {report.trace.model or report.meta.model}", embedded=_embedded(report))


def document(body: Child, *, title: str, embedded: Html | None = None) -> str:
    """A whole page around a body. Its policy lets no request leave it and runs no script but its own."""
    style, script = _resource("style.css"), _resource("script.js")
    policy = f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", style),
    ]
    page = tag("html", tag("head", head), tag("body", body, embedded, tag("script", script)), lang="en")
    return f"<!doctype html>\n{page}\n"


def _sections(report: Diagnosis, rows: tuple[Row, ...]) -> Iterator[tuple[str, str, Html]]:
    """What there is to show, in the order a person asks: how bad, where, why, what was done."""
    trace, before = report.trace, report.before
    parts: list[tuple[str, str, Child]] = [
        ("profile", "Scale profile", profile(rows) if rows else None),
        ("findings", "Findings", [*finding_list(groups_of(report), pages=PAGES)] or "Nothing was found."),
        ("mended", "Before and after", mended_table(became) if (became := mended(report)) else None),
        ("training", "Training", curves(report.curves)),
        ("layers", "Layers", table(rows) if rows else None),
        ("distributions", "Distributions", distributions(rows)),
        ("units", "Units", units(rows)),
        ("norms", "Normalization", norm_table(trace)),
        ("data", "Data", [*data(report)] or None),
        ("loss", "Loss", loss_gauge(trace.loss, before=before.trace.loss if before else None) if trace.loss else None),
        ("edits", "Edits", [*edits_section(report.edits)] if report.edits else None),
        ("settings", "Settings", tag("div", settings(report), class_="settings")),
    ]
    for name, title, content in parts:
        if content is not None:
            yield name, title, section(name, title, content)


def section(name: str, title: str, content: Child) -> Html:
    """One part of the page, with its heading."""
    return tag("section", tag("h2", title), content, id=name)


def _contents(sections: list[tuple[str, str, Html]]) -> Html:
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, title, _ in sections]
    return tag("nav", tag("ul", links), aria_label="Contents")


def _footer(report: Diagnosis) -> Html:
    version = report.meta.versions.get("onesigma", "")
    return tag(
        "footer",
        tag("p", tag("button", "Download these numbers as JSON", type="button", id="download")),
        tag("p", f"onesigma {version}".strip()),
    )


def _embedded(report: Diagnosis) -> Html:
    # `<` alone can end a script element early; JSON lets it be written as an escape.
    text = write_brief(report).translate({ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})
    return tag("script", Html(text), type="application/json", id="report")


def _resource(name: str) -> Html:
    return Html(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
