"""Two reports of one model: which findings went, came and stayed, and what became of the scale of each layer."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from onesigma.report._codec import encode
from onesigma.report._words import arrow, clean, number
from onesigma.report.groups import Group, of_code
from onesigma.report.html import page
from onesigma.report.markup import Html, tag
from onesigma.report.report import Report
from onesigma.report.rows import Row, rows_of
from onesigma.report.scale_table import MARKS, scale_table
from onesigma.report.summary import fails, plural
from onesigma.report.text import capture
from onesigma.rules import Finding

__all__ = ["SCHEMA", "Comparison", "compare"]

SCHEMA = "onesigma/comparison/1"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What changed between two reports. A finding is the same one if its code, layer and call are.

    Attributes:
        before: The earlier report.
        after: The later report.
    """

    before: Report
    after: Report

    @cached_property
    def went(self) -> tuple[Finding, ...]:
        """Findings of the earlier report that the later one does not have."""
        kept = set(map(_key, self.after.findings))
        return tuple(finding for finding in self.before.findings if _key(finding) not in kept)

    @cached_property
    def came(self) -> tuple[Finding, ...]:
        """Findings that only the later report has."""
        known = set(map(_key, self.before.findings))
        return tuple(finding for finding in self.after.findings if _key(finding) not in known)

    @cached_property
    def stayed(self) -> tuple[tuple[Finding, Finding], ...]:
        """Findings of both reports, as they were and as they are."""
        earlier = {_key(finding): finding for finding in self.before.findings}
        return tuple((earlier[_key(later)], later) for later in self.after.findings if _key(later) in earlier)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The layers of the later report, each with its state in the earlier one."""
        return rows_of(self._joined)

    @property
    def exit_code(self) -> int:
        """1 where a finding came that is at least as severe as `after.fail_on`; what stayed was known before."""
        return int(any(fails(finding.severity, fail_on=self.after.fail_on) for finding in self.came))

    def to_text(self, *, width: int = 100, color: bool = False) -> str:
        """The comparison as a terminal of `width` columns shows it."""
        return capture(self._parts(width), width=width, color=color)

    def to_html(self) -> str:
        """The later report as a page, with the earlier one drawn into every picture, and the changes on top."""
        return page.render(self._joined, changes=self._changes())

    def to_json(self) -> str:
        """The changes as JSON; numbers as in a report."""
        layers = [
            {"name": row.name, "before": encode(_std(row.before)), "after": encode(_std(row))} for row in self.rows
        ]
        document = {
            "schema": SCHEMA,
            "went": [encode(finding) for finding in self.went],
            "came": [encode(finding) for finding in self.came],
            "stayed": [{"before": encode(before), "after": encode(after)} for before, after in self.stayed],
            "layers": layers,
        }
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What `rich` prints: `Console().print(comparison)`."""
        yield from self._parts(options.max_width)

    @property
    def _joined(self) -> Report:
        return replace(self.after, before=self.before)

    def _parts(self, width: int) -> Iterator[RenderableType]:
        yield Text.assemble((_headline(self), "bold"), "  ", clean(self.after.meta.model or self.after.trace.model))
        stayed = [after for _, after in self.stayed]
        for sign, findings in (("- went", self.went), ("+ came", self.came), ("= stayed", stayed)):
            for group in _by_code(findings):
                style = "dim" if sign == "- went" else MARKS[group.severity][1]
                told = f"  {sign:10}{group.code} {group.name}  {group.where(limit=4)}".rstrip()
                yield Text(clean(told), style)
        rows = self.rows
        if rows:
            yield Text()
            yield scale_table(rows, width=width)

    def _changes(self) -> Html:
        earlier = {_key(after): before for before, after in self.stayed}
        stayed = [after for _, after in self.stayed]
        lists = [
            tag("div", tag("h3", title), tag("ul", [_told(group, earlier=earlier) for group in _by_code(findings)]))
            for title, findings in (("Came", self.came), ("Stayed", stayed), ("Went", self.went))
            if findings
        ]
        return tag("div", tag("p", _headline(self)), lists, class_="changes")


def compare(before: Report, after: Report) -> Comparison:
    """Compare two reports of one model.

    Example:
        >>> from onesigma.model.trace import Trace
        >>> old = Finding(code="NRM601", name="redundant-bias", severity="warning", message="…", layer="conv")
        >>> change = compare(Report(trace=Trace(), findings=(old,)), Report(trace=Trace()))
        >>> [finding.code for finding in change.went], change.came, change.exit_code
        (['NRM601'], (), 0)
    """
    return Comparison(before=before, after=after)


def _key(finding: Finding) -> tuple[str, str, int]:
    return finding.code, finding.layer, finding.call


def _std(row: Row | None) -> float | None:
    return row.preactivation.std if row and row.preactivation else None


def _headline(change: Comparison) -> str:
    return f"{plural(len(change.went), 'finding')} went, {len(change.came)} came, {len(change.stayed)} stayed"


def _by_code(findings: Sequence[Finding]) -> list[Group]:
    codes = dict.fromkeys(finding.code for finding in findings)
    return [Group(findings=of_code(findings, code)) for code in codes]


def _told(group: Group, *, earlier: Mapping[tuple[str, str, int], Finding]) -> Html:
    worst = group.findings[0]
    before = earlier.get(_key(worst))
    code = tag("span", group.code, class_=f"code {group.severity}")
    numbers = tag("p", arrow(number(before.value), number(worst.value))) if before else None
    return tag("li", code, " ", tag("b", group.where(limit=6) or group.name), tag("p", worst.message), numbers)
