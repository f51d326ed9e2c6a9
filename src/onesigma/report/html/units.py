"""Units as strips: how often each one of a layer responds, from the dead ones to those that always do."""

from collections.abc import Sequence

from onesigma.report._words import percent
from onesigma.report.html.histograms import picked
from onesigma.report.markup import Html, tag
from onesigma.report.rows import Row
from onesigma.report.svg import Axis, bars, svg

__all__ = ["units"]

WIDTH, HEIGHT, COLUMNS = 300.0, 26.0, 100


def units(rows: Sequence[Row]) -> Html | None:
    """For each nonlinearity a strip of its units, sorted by how often they fire."""
    seen = [row for row in rows if row.activity and row.activity.firing]
    if not seen:
        return None
    return tag("figure", tag("div", [_strip(row) for row in picked(seen)], class_="strips"), tag("figcaption", UNITS))


UNITS = (
    "All units of a layer, sorted by the share of samples on which they respond: from never, at the left, to always. "
    "The height is that share. Units at zero are dead: they pass no gradient and cannot learn."
)


def _strip(row: Row) -> Html:
    assert row.activity is not None
    firing = sorted(row.activity.firing)
    # Of more units than columns, evenly spaced ones stand for the rest, both ends included.
    count = min(len(firing), COLUMNS)
    heights = [HEIGHT * firing[round(i * (len(firing) - 1) / max(count - 1, 1))] for i in range(count)]
    dead = WIDTH * sum(share == 0 for share in firing) / len(firing)
    always = row.activity.always_on_units
    facts = f"{len(firing)} units, {percent(row.activity.dead_units)} dead"
    facts += f", {percent(always)} always on" if always else ""
    picture = svg(
        tag("rect", width=WIDTH, height=HEIGHT, class_="back"),
        tag("rect", width=dead, height=HEIGHT, class_="flat") if dead else None,
        bars(heights, x=Axis(low=0.0, high=1.0, start=0.0, end=WIDTH), base=HEIGHT, class_="now"),
        width=WIDTH,
        height=HEIGHT,
        label=f"{row.name}: {facts}",
        preserveAspectRatio="none",
    )
    return tag("div", tag("h3", row.name, tag("small", facts)), picture)
