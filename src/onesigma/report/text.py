"""A report in a terminal: the verdict, the scale of every layer, what was found and how to mend it."""

import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from onesigma.model.edits import Edit
from onesigma.model.trace import InputRecord
from onesigma.report._words import arrow, clean, number, shape
from onesigma.report.diagnosis import Diagnosis
from onesigma.report.groups import Group, groups_of, place
from onesigma.report.mended import Mended, lines_to_paste, mended
from onesigma.report.rows import rows_of
from onesigma.report.scale_table import MARKS, ends, scale_table
from onesigma.report.summary import plural

__all__ = ["capture", "parts", "render"]

MAX_EDITS = 12


def render(report: Diagnosis, *, width: int, color: bool) -> str:
    """The report as a terminal of `width` columns shows it."""
    return capture(parts(report, width=width), width=width, color=color)


def capture(renderables: Iterable[RenderableType], *, width: int, color: bool) -> str:
    """What a terminal would show, the same on every machine."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        color_system="standard" if color else None,
        force_terminal=color,
        legacy_windows=False,
        highlight=False,
        _environ={},
    )
    for renderable in renderables:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def parts(report: Diagnosis, *, width: int) -> Iterator[RenderableType]:
    """The renderable parts, from top to bottom."""
    yield from _verdict(report)
    rows = rows_of(report)
    if rows:
        yield Text()
        yield scale_table(rows, width=width)
    for group in groups_of(report):
        yield Text()
        yield from _group(group)
    if report.before is not None:
        yield from _mended(mended(report))
    if report.edits:
        yield Text()
        yield from _edits(report.edits.items)
        yield from _paste(lines_to_paste(report.edits))


def _verdict(report: Diagnosis) -> Iterator[Text]:
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


def _scope(report: Diagnosis) -> str:
    summary = report.summary
    if not report.trace.records and report.trace.parameters:
        tensors = plural(len(report.trace.parameters), "tensor")
        return f"{tensors} · {plural(summary.parameters, 'value')} · nothing was run"
    facts = [clean(report.meta.data), plural(summary.layers, "layer"), plural(summary.num_samples, "sample")]
    return " · ".join([*filter(None, facts), "training mode" if report.trace.training else "eval mode"])


def _input(record: InputRecord) -> str:
    text = f"input {clean(record.name)} {shape(record.shape)} {record.kind}"
    stds = [column.std for column in record.columns]
    if stds:
        return f"{text}, std {ends(stds)}"
    return text if record.signal is None else f"{text}, std {number(record.signal.std)}"


def _before_after(report: Diagnosis) -> str:
    assert report.trace.loss is not None
    before = report.before.trace.loss if report.before else None
    after = number(report.trace.loss.value)
    return arrow(number(before.value), after) if before else after


def _group(group: Group) -> Iterator[RenderableType]:
    mark, style = MARKS[group.severity]
    yield Text.assemble((f"{mark} {group.code} {group.name}", style), ("  " + clean(group.where(limit=4)), "bold"))
    for line, dim in ((group.message, ""), (group.basis, "dim")):
        if line:
            yield Padding(Text(clean(line), dim), (0, 0, 0, 2), expand=False)
    for consequence in group.consequences:
        mark, style = MARKS[consequence.severity]
        text = Text.assemble("↳ ", (f"{consequence.code} {consequence.name}", style))
        yield Padding(text.append("  " + clean(consequence.where(limit=3))), (0, 0, 0, 2), expand=False)
    for line in group.fix.splitlines():
        yield Padding(Text.assemble("fix  ", (clean(line), "green")), (0, 0, 0, 2), expand=False)


def _mended(found: Sequence[Mended]) -> Iterator[RenderableType]:
    """What became of the findings before the edits, a line each; those that are not mended come first."""
    if not found:
        return
    yield Text()
    count = sum(each.state == "mended" for each in found)
    yield Text(f"{count} of {plural(sum(each.state != 'new' for each in found), 'finding')} mended", "bold")
    shown = sorted(found, key=lambda each: each.state == "mended")[:MAX_EDITS]
    for each in shown:
        mark, style = ("+", "green") if each.state == "mended" else ("-", "yellow")
        line = Text.assemble((mark, style), f" {each.finding.code} {clean(place(each.finding)) or 'model'}")
        line.append(f"  {arrow(number(each.before), number(each.after))}")
        yield Padding(
            line.append("" if each.state == "mended" else f"  {each.state}", "dim"), (0, 0, 0, 2), expand=False
        )
    if len(found) > len(shown):
        yield Padding(Text(f"⋮ {len(found) - len(shown)} more", "dim"), (0, 0, 0, 2), expand=False)


def _paste(lines: Sequence[str]) -> Iterator[RenderableType]:
    if lines:
        yield Text("The same in your own code", "bold")
    for line in lines:
        yield Padding(Text(line, "green"), (0, 0, 0, 2), expand=False)


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
        yield Padding(line.append(f"  {clean(edit.reason)}" if edit.reason else "", "dim"), (0, 0, 0, 2), expand=False)
    if len(edits) > len(shown):
        yield Padding(Text(f"⋮ {len(edits) - len(shown)} more", "dim"), (0, 0, 0, 2), expand=False)
