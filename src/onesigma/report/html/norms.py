"""Normalization layers: what goes in, what comes out, and the facts that were measured of their statistics."""

from collections.abc import Sequence

from onesigma.model.trace import Record, Trace
from onesigma.report._words import number
from onesigma.report.markup import Html, tag

__all__ = ["norm_table"]

CAPTION = "In training mode a batch norm uses the moments of the batch, in eval mode its running statistics."


def norm_table(trace: Trace) -> Html | None:
    """One row per normalization; the columns after the mode are whatever was measured of any of them."""
    records = list(trace.of_kind("norm"))
    if not records:
        return None
    names = list(dict.fromkeys(name for record in records for name in record.attributes))
    heads = [tag("th", head, scope="col") for head in ("layer", "kind", "mode")]
    counted = ("input mean", "input std", "output std", *(name.replace("_", " ") for name in names))
    heads += [tag("th", head, scope="col", class_="n") for head in counted]
    table = tag(
        "table",
        tag("caption", tag("span", CAPTION)),
        tag("thead", tag("tr", heads)),
        tag("tbody", [_row(record, names=names) for record in records]),
    )
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Normalization layers")


def _row(record: Record, *, names: Sequence[str]) -> Html:
    before, after = record.input, record.output
    ends = (before.mean, before.std) if before else (None, None)
    numbers = (*ends, after.std if after else None)
    facts = (record.attributes.get(name, "–") for name in names)
    cells = [number(fact) if isinstance(fact, float) else str(fact) for fact in facts]
    return tag(
        "tr",
        tag("th", record.name, scope="row"),
        tag("td", record.module or record.op),
        tag("td", "training" if record.training else "eval"),
        [tag("td", number(value), class_="n") for value in numbers],
        [tag("td", cell, class_="n") for cell in cells],
    )
