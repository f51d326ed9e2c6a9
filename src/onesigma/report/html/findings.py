"""The long part of the page: every finding with its rule's page, every edit, every setting."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from onesigma.model.edits import Edit, Edits
from onesigma.report._words import number
from onesigma.report.diagnosis import Diagnosis
from onesigma.report.groups import Group, place
from onesigma.report.html.verdict import fix
from onesigma.report.markup import Html, tag
from onesigma.report.mended import Mended, lines_to_paste
from onesigma.rules import Finding

__all__ = ["edit_table", "edits_section", "finding_list", "mended_table", "settings"]

MOST = 60
MOST_MENDED = 200


def finding_list(groups: tuple[Group, ...], *, pages: Mapping[str, str]) -> Iterator[Html]:
    """Causes with their consequences below them."""
    for group in groups:
        under = [_article(each, pages=pages, level="h4") for each in group.consequences]
        yield tag("div", _article(group, pages=pages, level="h3"), under, class_="group")


def _article(group: Group, *, pages: Mapping[str, str], level: str) -> Html:
    return tag(
        "article",
        tag(level, tag("span", group.code, class_=f"code {group.severity}"), " ", group.name),
        tag("p", group.message),
        tag("p", group.basis, class_="where") if group.basis else None,
        fix(group),
        _places(group) if len(group.findings) > 1 or place(group.findings[0]) else None,
        tag("details", tag("summary", "About this rule"), _page(pages[group.code])) if group.code in pages else None,
        id=group.code,
        class_=f"finding {group.severity}",
        tabindex="-1",
    )


def _page(text: str) -> Html:
    """The page of a rule: headings, paragraphs and indented code are all that such a page has."""
    blocks = []
    for block in text.strip().split("\n\n"):
        if block.startswith("#"):
            blocks.append(tag("p", tag("b", block.lstrip("# "))))
        elif block.startswith("    "):
            blocks.append(tag("pre", tag("code", textwrap.dedent(block))))
        else:
            blocks.append(tag("p", block))
    return tag("div", blocks, class_="page")


def _places(group: Group) -> Html:
    shown = group.findings[:MOST]
    rows = [_place(finding) for finding in shown]
    if len(shown) < len(group.findings):
        rows.append(tag("tr", tag("td", f"and {len(group.findings) - len(shown)} more", colspan="4")))
    head = [tag("th", title, scope="col") for title in ("place", "severity")]
    head += [tag("th", title, scope="col", class_="n") for title in ("measured", "limit")]
    table = tag(
        "table",
        tag("caption", f"Where {group.code} was found", class_="quiet"),
        tag("thead", tag("tr", head)),
        tag("tbody", rows),
    )
    return tag("details", tag("summary", group.where(limit=6) or "the model as a whole"), table, class_="places")


def _place(finding: Finding) -> Html:
    numbers = [
        tag("td", "" if value != value else number(value), class_="n") for value in (finding.value, finding.limit)
    ]
    return tag("tr", tag("td", place(finding) or "model"), tag("td", finding.severity), numbers, title=finding.message)


def mended_table(found: Sequence[Mended]) -> Html:
    """What became of every finding before the edits, with its number then and now."""
    head = [tag("th", title, scope="col") for title in ("finding", "place", "severity before")]
    head += [tag("th", title, scope="col", class_="n") for title in ("before", "after")]
    head.append(tag("th", "now", scope="col"))
    count = sum(each.state == "mended" for each in found)
    # What is not mended stands first: it is what is left to do.
    shown = sorted(found, key=lambda each: each.state == "mended")[:MOST_MENDED]
    rows = [_mended(each) for each in shown]
    if len(shown) < len(found):
        rows.append(tag("tr", tag("td", f"and {len(found) - len(shown)} more", colspan="6")))
    caption = f"{count} of {sum(each.state != 'new' for each in found)} mended"
    table = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", rows))
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Mended findings")


def _mended(each: Mended) -> Html:
    finding = each.finding
    name = tag("th", tag("span", finding.code, class_=f"code {finding.severity}"), " ", finding.name, scope="row")
    cells = [tag("td", place(finding) or "model"), tag("td", finding.severity if each.state != "new" else "–")]
    cells += [tag("td", number(value), class_="n") for value in (each.before, each.after)]
    return tag("tr", name, cells, tag("td", each.state), title=finding.message)


def edits_section(edits: Edits) -> Iterator[Html]:
    """The table of edits, and the lines that make them elsewhere."""
    yield edit_table(edits)
    lines = lines_to_paste(edits)
    if lines:
        yield tag("p", "The same in your own code:")
        yield tag("pre", tag("code", "\n".join(lines)), tag("button", "copy", type="button", class_="copy"))


def edit_table(edits: Edits) -> Html:
    """What was changed, and what was left alone, with the reason."""
    head = [tag("th", title, scope="col") for title in ("layer", "change")]
    head += [tag("th", title, scope="col", class_="n") for title in ("before", "after", "error")]
    head.append(tag("th", "why", scope="col"))
    table = tag(
        "table",
        tag("caption", f"{len(edits.applied)} made, {len(edits.refused)} refused"),
        tag("thead", tag("tr", head)),
        tag("tbody", map(_edit, edits)),
    )
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Edits")


def _edit(edit: Edit) -> Html:
    numbers = [tag("td", number(value), class_="n") for value in (edit.before, edit.after, edit.error)]
    action = edit.action if edit.applied else f"refused: {edit.action}"
    name = tag("th", edit.layer, scope="row")
    return tag(
        "tr", name, tag("td", action), numbers, tag("td", edit.reason), class_=None if edit.applied else "refused"
    )


def settings(report: Diagnosis) -> Iterator[Html]:
    """Limits, versions and the command: all that is needed to make this report again."""
    meta = report.meta
    facts = {"command": meta.command, "seed": "" if meta.seed is None else str(meta.seed), "date": meta.date}
    facts |= {"fails on": report.fail_on, "baseline": meta.baseline}
    for title, pairs in (("Run", facts), ("Versions", meta.versions), ("Limits", meta.limits)):
        yield from _pairs(title, pairs)


def _pairs(title: str, pairs: Mapping[str, object]) -> Iterator[Html]:
    told = {name: value for name, value in pairs.items() if value not in (None, "")}
    if told:
        rows = [tag("div", tag("dt", name), tag("dd", str(value))) for name, value in told.items()]
        yield tag("div", tag("h3", title), tag("dl", rows), class_="pairs")
