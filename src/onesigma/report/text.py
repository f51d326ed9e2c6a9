"""A report in a terminal: the verdict, the scale of every layer, what was found and how to mend it."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onesigma.model.edits import Edit
from onesigma.model.trace import InputRecord
from onesigma.report._words import arrow, clean, decimal, number, percent, shape
from onesigma.report.groups import Group, groups_of
from onesigma.report.rows import Row, rows_of
from onesigma.report.summary import plural

if TYPE_CHECKING:
    from onesigma.report.report import Report

__all__ = ["MARKS", "gauge", "parts", "render", "scale_color"]

MARKS = {"error": ("✗", "bold red"), "warning": ("!", "yellow"), "info": ("i", "cyan"), "": ("✓", "green")}
"""Severity → mark and style; "" stands for nothing found."""

MAX_ROWS = 60
MAX_EDITS = 12
WIDE, MEDIUM = 130, 80
DETAILS = ("act. std", "sample std", "correlation", "saturated", "dead")


def render(report: "Report", *, width: int, color: bool) -> str:
    """The report as a terminal of `width` columns shows it, the same on every machine."""
    console = Console(
        file=io.StringIO(),
        width=width,
        color_system="standard" if color else None,
        force_terminal=color,
        legacy_windows=False,
        highlight=False,
        _environ={},
    )
    for part in parts(report, width=width):
        console.print(part)
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def parts(report: "Report", *, width: int) -> Iterator[RenderableType]:
    """The renderable parts, from top to bottom."""
    yield from _verdict(report)
    rows = rows_of(report)
    if rows:
        yield Text()
        yield _table(rows, width=width)
    for group in groups_of(report):
        yield Text()
        yield from _group(group)
    if report.edits:
        yield Text()
        yield from _edits(report.edits.items)


def _verdict(report: "Report") -> Iterator[Text]:
    summary = report.summary
    # Notes alone are a clean bill.
    mark, style = MARKS["error" if summary.errors else "warning" if summary.warnings else ""]
    verdict = summary.verdict if report.before is None else arrow(report.before.summary.verdict, summary.verdict)
    yield Text.assemble((f"{mark} {verdict}", style), "  ", (clean(report.meta.model or report.trace.model), "bold"))
    yield Text(f"  {_scope(report)}", "dim")
    for record in report.trace.inputs:
        yield Text(f"  {_input(record)}")
    loss = report.trace.loss
    if loss is not None:
        text = Text(f"  loss {clean(loss.name)} {_before_after(report)}")
        if loss.chance is not None:
            made = f"{clean(loss.chance_name)} = " if loss.chance_name else ""
            text.append(f", by chance {made}{number(loss.chance)}")
        yield text


def _scope(report: "Report") -> str:
    summary = report.summary
    facts = [clean(report.meta.data), plural(summary.layers, "layer"), plural(summary.num_samples, "sample")]
    return " · ".join([*filter(None, facts), "training mode" if report.trace.training else "eval mode"])


def _input(record: InputRecord) -> str:
    text = f"input {clean(record.name)} {shape(record.shape)} {record.kind}"
    stds = [column.std for column in record.columns]
    if stds:
        return f"{text}, std {_ends(stds)}"
    return text if record.signal is None else f"{text}, std {number(record.signal.std)}"


def _before_after(report: "Report") -> str:
    assert report.trace.loss is not None
    before = report.before.trace.loss if report.before else None
    after = number(report.trace.loss.value)
    return arrow(number(before.value), after) if before else after


def _table(rows: Sequence[Row], *, width: int) -> Table:
    """One row per call; which columns there are depends on the width."""
    compared = any(row.before for row in rows)
    wide, medium = width >= WIDE + 30 * compared, width >= MEDIUM
    table = Table(box=None, pad_edge=False, padding=(0, 2 if medium else 1, 0, 0), header_style="dim")
    table.add_column("layer", no_wrap=True, overflow="ellipsis", min_width=8)
    if wide:
        table.add_column("shape", no_wrap=True)
    table.add_column("pre-act. std" if medium else "std", justify="right", no_wrap=True)
    if medium:
        table.add_column("0.01 ─ 1 ─ 100", no_wrap=True)
    for title in (*(DETAILS if wide else ()), "gradient std" if medium else "gradient"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    name_width = max(width - (74 if wide else 60 if medium else 40 if compared else 32), 10)
    for row, hidden in abbreviate(rows, limit=MAX_ROWS):
        if hidden:
            table.add_row(Text(f"⋮ {plural(len(hidden), 'more row')}", "dim"), *([""] if wide else []), _range(hidden))
        else:
            table.add_row(*_cells(row, wide=wide, medium=medium, name_width=name_width))
    return table


def _cells(row: Row, *, wide: bool, medium: bool, name_width: int) -> list[Text]:
    std = row.preactivation.std if row.preactivation else None
    label = clean(row.name if row.name == row.op or not medium else f"{row.name} {row.op}")
    cells = [Text(label if len(label) <= name_width else "…" + label[1 - name_width :])]
    if wide:
        cells.append(Text(shape(row.record.shape), "dim"))
    cells.append(Text(_pair(row, "preactivation", "std"), scale_color(std)))
    if medium:
        cells.append(Text(gauge(std), scale_color(std)))
    if wide:
        cells += [Text(_pair(row, "activated", "std")), Text(_pair(row, "result", "sample_std"))]
        cells.append(Text(_pair(row, "result", "correlation", word=decimal)))
        cells += [Text(_pair(row, "activity", name, word=percent)) for name in ("saturated", "dead_units")]
    cells.append(Text(_pair(row, "gradient", "std")))
    codes = dict.fromkeys((finding.code, MARKS[finding.severity][1]) for finding in row.findings)
    return [*cells, Text(" ").join(Text(code, style) for code, style in codes)]


def _pair(row: Row, part: str, name: str, *, word: Callable[[float | None], str] = number) -> str:
    """One number, or `before → after` where there is a before."""
    after = word(getattr(getattr(row, part), name, None))
    if row.before is None:
        return after
    return arrow(word(getattr(getattr(row.before, part), name, None)), after)


def gauge(std: float | None, *, width: int = 15) -> str:
    """A std on a log axis from 0.01 to 100 with 1 in the middle: `·······┼·●·····`."""
    if std is None:
        return ""
    cells = ["·"] * width
    cells[width // 2] = "┼"
    if math.isfinite(std):
        decades = math.log10(std) if std > 0 else -2.0
        cells[round((min(max(decades, -2.0), 2.0) + 2) / 4 * (width - 1))] = "●"
    return "".join(cells)


def scale_color(std: float | None) -> str:
    """Green within 0.5 to 2, yellow within 0.1 to 10, else red."""
    if std is None:
        return ""
    return "green" if 0.5 <= std <= 2 else "yellow" if 0.1 <= std <= 10 else "red"


def abbreviate(rows: Sequence[Row], *, limit: int) -> Iterator[tuple[Row, Sequence[Row]]]:
    """All rows, or the ends and the worst; the rows left out between two shown ones come as one group."""
    keep = set(range(len(rows)))
    if len(rows) > limit:
        ends, worst = limit // 4, sorted(keep, key=lambda index: _badness(rows[index]), reverse=True)
        keep = {*range(ends), *range(len(rows) - ends, len(rows)), *worst[: limit - 2 * ends]}
    hidden: list[Row] = []
    for index, row in enumerate(rows):
        if index not in keep:
            hidden.append(row)
            continue
        if hidden:
            yield hidden[0], hidden
            hidden = []
        yield row, ()


def _badness(row: Row) -> tuple[int, float]:
    std = row.preactivation.std if row.preactivation else 1.0
    distance = abs(math.log(std)) if 0 < std < math.inf else math.inf
    return ("", "info", "warning", "error").index(row.severity), distance


def _range(rows: Sequence[Row]) -> Text:
    return Text(_ends([row.preactivation.std for row in rows if row.preactivation]), "dim")


def _ends(values: Sequence[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    low, high = (number(min(finite)), number(max(finite))) if finite else ("–", "–")
    return low if low == high else f"{low} to {high}"


def _group(group: Group) -> Iterator[RenderableType]:
    mark, style = MARKS[group.severity]
    yield Text.assemble((f"{mark} {group.code} {group.name}", style), ("  " + clean(group.where(limit=4)), "bold"))
    for line, dim in ((group.message, ""), (group.basis, "dim")):
        if line:
            yield Padding(Text(clean(line), dim), (0, 0, 0, 2))
    for consequence in group.consequences:
        mark, style = MARKS[consequence.severity]
        text = Text.assemble("↳ ", (f"{consequence.code} {consequence.name}", style))
        yield Padding(text.append("  " + clean(consequence.where(limit=3))), (0, 0, 0, 2))
    for line in group.fix.splitlines():
        yield Padding(Text.assemble("fix  ", (clean(line), "green")), (0, 0, 0, 2))


def _edits(edits: Sequence[Edit]) -> Iterator[RenderableType]:
    made = sum(edit.applied for edit in edits)
    yield Text(f"{plural(made, 'edit')} made, {len(edits) - made} refused", "bold")
    shown = [edit for edit in edits if not edit.applied][: MAX_EDITS // 2]
    shown += [edit for edit in edits if edit.applied][: MAX_EDITS - len(shown)]
    for edit in (edit for edit in edits if edit in shown):
        mark, style = ("+", "green") if edit.applied else ("-", "yellow")
        line = Text.assemble((mark, style), f" {clean(edit.layer)}: {clean(edit.action)}")
        if edit.before is not None or edit.after is not None:
            line.append(f"  {arrow(number(edit.before), number(edit.after))}")
        yield Padding(line.append(f"  {clean(edit.reason)}" if edit.reason else "", "dim"), (0, 0, 0, 2))
    if len(edits) > len(shown):
        yield Padding(Text(f"⋮ {len(edits) - len(shown)} more", "dim"), (0, 0, 0, 2))
