"""The head of the page: what was looked at, the verdict, the numbers that carry it, and what to do first."""

import math
import re
from collections.abc import Iterator, Sequence

from onesigma.report._words import number, percent
from onesigma.report.diagnosis import Diagnosis
from onesigma.report.groups import Group, groups_of
from onesigma.report.html.histograms import BOUNDED
from onesigma.report.markup import Html, tag
from onesigma.report.rows import Row, rows_of
from onesigma.report.summary import plural

__all__ = ["card", "fix", "header", "verdict"]

TOP = 3


def header(report: Diagnosis) -> Html:
    """The name of the model and where the report came from."""
    meta, summary = report.meta, report.summary
    facts = [meta.data, plural(summary.num_samples, "sample"), plural(summary.layers, "layer")]
    facts += [plural(summary.parameters, "parameter")] if summary.parameters else []
    # "Sequential" names no model.
    called = "" if report.trace.model == "Sequential" else report.trace.model
    title = called or meta.model or report.trace.model or "Model"
    facts += ["training mode" if report.trace.training else "eval mode", meta.date]
    if not report.trace.records and report.trace.parameters:
        tensors = plural(len(report.trace.parameters), "tensor")
        facts = [tensors, plural(summary.parameters, "value"), "nothing was run", meta.date]
    return tag(
        "header",
        tag("p", "one", tag("b", "sigma"), class_="wordmark"),
        tag("h1", title),
        tag("p", " · ".join(filter(None, [meta.model if title != meta.model else "", *facts])), class_="facts"),
    )


def verdict(report: Diagnosis, rows: Sequence[Row]) -> Html:
    """The strip: one sentence, four numbers, the top findings with their fixes."""
    groups = groups_of(report)
    summary = report.summary
    worst = "error" if summary.errors else "warning" if summary.warnings else "clean"
    sentence = tag("p", _sentence(report), class_=f"sentence {worst}")
    top = [card(group) for group in groups[:TOP]]
    more = len(groups) - len(top)
    return tag(
        "section",
        tag("h2", "Verdict", class_="quiet"),
        sentence,
        tag("p", _advice(report, groups=groups), class_="advice"),
        tag("dl", _tiles(report, rows), class_="tiles"),
        tag("div", top, class_="cards") if top else None,
        tag("p", tag("a", f"{plural(more, 'more kind')} of findings", href="#findings")) if more > 0 else None,
        id="verdict",
    )


def _sentence(report: Diagnosis) -> Iterator[Html | str]:
    if report.before is not None and report.before.summary.verdict != report.summary.verdict:
        yield tag("s", report.before.summary.verdict)
        yield " "
        yield tag("span", "→ ", class_="to", aria_label="became")
    yield report.summary.verdict[:1].upper() + report.summary.verdict[1:]


def _advice(report: Diagnosis, *, groups: Sequence[Group]) -> str:
    serious = [group for group in groups if group.rank > 0]
    if not groups:
        return "Every rule that was asked is content with what it measured."
    if not serious:
        return "Nothing needs mending; the notes are worth knowing."
    explained = sum(group.size for group in serious) - sum(len(group.findings) for group in serious)
    told = f"Start with {serious[0].code}"
    return f"{told}: it explains others below it." if explained and serious[0].consequences else f"{told}."


def _tiles(report: Diagnosis, rows: Sequence[Row]) -> Iterator[Html]:
    # All layers of the earlier state: some may be gone by now.
    then = rows_of(report.before) if report.before else ()
    yield from _tile("Pre-activation std", _span(rows, "preactivation"), before=_span(then, "preactivation"))
    yield from _tile("Gradient std, first : last hidden", _ratio(rows), before=_ratio(then))
    yield from _tile("Most saturated layer", _saturated(rows), before=_saturated(then))
    yield from _tile("Most dead units in a layer", _dead(rows), before=_dead(then))
    loss, old = report.trace.loss, report.before.trace.loss if report.before else None
    if loss:
        note = f"by chance {number(loss.chance)}" if loss.chance is not None else ""
        yield from _tile("Loss", number(loss.value), before=number(old.value) if old else "", note=note)


def _tile(title: str, now: str, *, before: str, note: str = "") -> Iterator[Html]:
    if now:
        was = tag("s", f"was {before}") if before and before != now else None
        yield tag("div", tag("dt", title), tag("dd", tag("b", now), tag("small", note) if note else None, was))


def _span(rows: Sequence[Row], part: str) -> str:
    stds = [getattr(row, part).std for row in rows if getattr(row, part)]
    stds = [std for std in stds if math.isfinite(std)]
    if not stds:
        return ""
    low, high = number(min(stds)), number(max(stds))
    return low if low == high else f"{low} – {high}"


def _ratio(rows: Sequence[Row]) -> str:
    stds = [row.gradient.std for row in rows if row.gradient and row.activation]
    return number(stds[0] / stds[-1]) if len(stds) > 1 and stds[-1] > 0 else ""


def _saturated(rows: Sequence[Row]) -> str:
    # Half of a rectifier is flat by design; for those the dead units are what counts.
    bounded = [row.activity for row in rows if row.activity and row.activation and row.activation.op in BOUNDED]
    return percent(max(activity.saturated for activity in bounded)) if bounded else ""


def _dead(rows: Sequence[Row]) -> str:
    others = [row.activity for row in rows if row.activity and row.activation and row.activation.op not in BOUNDED]
    return percent(max(activity.dead_units for activity in others)) if others else ""


def card(group: Group) -> Html:
    """One group of findings: what, where, how much, and the fix with a button that copies it."""
    follows = ", ".join(dict.fromkeys(under.code for under in group.consequences))
    return tag(
        "article",
        tag("h3", tag("a", group.code, href=f"#{group.code}", class_=f"code {group.severity}"), " ", group.name),
        tag("p", group.where(limit=3), class_="where") if group.where(limit=3) else None,
        tag("p", group.message),
        tag("p", "explains ", follows, class_="where") if follows else None,
        fix(group),
        class_=f"card {group.severity}",
    )


def fix(group: Group) -> Html | None:
    """The fix as code."""
    if not group.fix:
        return None
    # A line may break after a dot, a bracket or a comma; the copied text has no trace of it.
    pieces = [[piece, tag("wbr")] for piece in re.split(r"(?<=[.(,])", group.fix)]
    return tag("pre", tag("code", pieces), tag("button", "copy", type="button", class_="copy"))
