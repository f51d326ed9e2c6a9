"""Normalization layers: what each normalizes by, and its running statistics against those of the batch."""

import math
from collections.abc import Callable, Sequence

from onesigma.model.trace import Record, Trace
from onesigma.report._words import number
from onesigma.report.markup import Html, tag

__all__ = ["norm_table"]

CAPTION = (
    "In training mode a batch norm uses the moments of the batch, in eval mode its running statistics. Where these are "
    "off by more than half a std, or a factor 2 of the variance, what is deployed is not what was trained."
)

# Attribute of the record, heading, how to write it, and whether a value is off.
FACTS: tuple[tuple[str, str, Callable[[float], str], Callable[[float], bool]], ...] = (
    ("values_per_channel", "values per channel", lambda value: f"{value:.0f}", lambda value: value < 16),
    ("mean_gap", "running mean off by, std", number, lambda value: value > 0.5),
    ("var_ratio", "running : batch variance", number, lambda value: not 0.5 <= value <= 2),
    ("var_gap", "channels apart, factor", lambda value: number(math.exp(value)), lambda value: value > math.log(2)),
    ("updates", "batches averaged", lambda value: "–" if value < 0 else f"{value:.0f}", lambda value: value == 0),
)


def norm_table(trace: Trace) -> Html | None:
    """One row per normalization; the columns after the moments are whatever was measured of any of them."""
    records = list(trace.of_kind("norm"))
    if not records:
        return None
    used = [fact for fact in FACTS if any(fact[0] in record.attributes for record in records)]
    heads = [tag("th", head, scope="col") for head in ("layer", "kind", "normalizes by")]
    numbers = ("input mean", "input std", "output std", *(title for _, title, *_ in used))
    heads += [tag("th", head, scope="col", class_="n") for head in numbers]
    table = tag(
        "table",
        tag("caption", tag("span", CAPTION)),
        tag("thead", tag("tr", heads)),
        tag("tbody", [_row(record, facts=[fact[0] for fact in used]) for record in records]),
    )
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Normalization layers")


def _row(record: Record, *, facts: Sequence[str]) -> Html:
    before, after = record.input, record.output
    ends = (before.mean, before.std) if before else (None, None)
    return tag(
        "tr",
        tag("th", record.name, scope="row"),
        tag("td", record.module or record.op),
        tag("td", _source(record)),
        [tag("td", number(value), class_="n") for value in (*ends, after.std if after else None)],
        [_fact(record, name) for name in facts],
    )


def _fact(record: Record, name: str) -> Html:
    value = record.attributes.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return tag("td", "–", class_="n")
    _, _, word, is_off = next(fact for fact in FACTS if fact[0] == name)
    return tag("td", word(value), class_="n off" if is_off(value) and _judged(record, name) else "n")


def _judged(record: Record, name: str) -> bool:
    """Running statistics that were never updated are off in eval mode alone; in training nobody reads them yet."""
    by_batch = bool(record.attributes.get("training", record.training))
    if name == "values_per_channel":
        return by_batch
    return not by_batch or (name != "updates" and bool(record.attributes.get("updates", 0)))


def _source(record: Record) -> str:
    if record.op != "batch_norm":
        return "its own features" if record.op != "instance_norm" else "the sample"
    return "the batch" if record.attributes.get("training", record.training) else "running statistics"
