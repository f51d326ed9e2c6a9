"""Distributions as small multiples: every pre-activation on the same axis, beside the unit normal it should be."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from onesigma.model.trace import Signal
from onesigma.report._words import arrow, number, percent
from onesigma.report.markup import Child, Html, tag
from onesigma.report.rows import Row
from onesigma.report.svg import Axis, bars, label, line, rebinned, svg

__all__ = ["BOUNDED", "distributions", "picked"]

MOST = 24
"""As many layers are drawn one by one; all of them stand in the table."""

WINDOW, BINS = 4.0, 40
WIDTH, UPPER, LOWER, LABEL = 200.0, 64.0, 34.0, 14.0
CEILING = 0.8  # density at the upper edge: twice the peak of the unit normal; a spike is cut off there


class Flat(NamedTuple):
    """Where the slope of f is below 0.06 of its largest: z below `low` or above `high`, |f(z)| above `output`."""

    low: float
    high: float
    output: float = math.inf


FLAT: Mapping[str, Flat] = {
    "tanh": Flat(-2.09, 2.09, 0.97),
    "sigmoid": Flat(-4.13, 4.13),
    "softsign": Flat(-3.08, 3.08, 0.755),
    "hardtanh": Flat(-1.0, 1.0, 1.0),
    "hardsigmoid": Flat(-3.0, 3.0),
    "relu": Flat(0.0, math.inf),
    "relu6": Flat(0.0, 6.0),
}
BOUNDED = frozenset({"tanh", "softsign", "hardtanh", "sigmoid", "hardsigmoid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """One histogram from −edge to edge, `height` pixels high."""

    edge: float
    height: float

    @property
    def x(self) -> Axis:
        """Values to pixels."""
        return Axis(low=-self.edge, high=self.edge, start=0.0, end=WIDTH)

    def draw(self, signal: Signal, *, then: Signal | None, class_: str = "now") -> Iterator[Html]:
        """The histogram, and as an outline what it was."""
        yield bars(self._heights(signal), x=self.x, base=self.height, class_=class_)
        if then and any(then.histogram):
            yield bars(self._heights(then), x=self.x, base=self.height, class_="then")

    def tint(self, low: float, high: float) -> Iterator[Html]:
        """Mark what lies below `low` and above `high`."""
        for start, end in ((-self.edge, low), (high, self.edge)):
            if start < end:
                left, right = self.x(start), self.x(end)
                yield tag("rect", x=left, y=0, width=right - left, height=self.height, class_="flat")

    def ground(self) -> Iterator[Html]:
        """The base line with its three numbers."""
        yield line([(0.0, self.height), (WIDTH, self.height)], class_="rule")
        for value, anchor in ((-self.edge, "start"), (0.0, "middle"), (self.edge, "end")):
            yield label(f"{value:g}".replace("-", "−"), self.x(value), self.height + 11, anchor=anchor)

    def _heights(self, signal: Signal) -> list[float]:
        cell = 2 * self.edge / BINS
        shares = rebinned(signal.histogram, signal.edges, low=-self.edge, high=self.edge, bins=BINS)
        return [self.height * min(share / cell / CEILING, 1.0) for share in shares]


def picked(rows: Sequence[Row], *, most: int = MOST) -> list[Row]:
    """At most `most` rows: the worst half, and evenly spaced ones, in order of execution."""
    if len(rows) <= most:
        return list(rows)
    rank = {"": 0, "info": 1, "warning": 2, "error": 3}
    worst = sorted(range(len(rows)), key=lambda index: -rank[rows[index].severity])[: most // 2]
    even = [round(step * (len(rows) - 1) / (most // 2 - 1)) for step in range(most // 2)]
    return [rows[index] for index in sorted({*worst, *even})]


def distributions(rows: Sequence[Row]) -> Html | None:
    """A grid of small pictures, one per layer: pre-activations above, activations below."""
    seen = [row for row in rows if row.preactivation and any(row.preactivation.histogram)]
    if not seen:
        return None
    shown = picked(seen)
    note = (
        f"{len(shown)} of {len(seen)} layers: the worst, and others evenly spaced. " if len(shown) < len(seen) else ""
    )
    return tag(
        "figure",
        tag("div", [_multiple(row, defines=row is shown[0]) for row in shown], class_="multiples"),
        tag(
            "figcaption",
            note,
            "Above, the pre-activations from −4 to 4, what lies beyond at the ends; the thin line is the unit normal. ",
            "Below, what the nonlinearity makes of them. Tinted: where it is flat and passes no gradient. ",
            "Gray outlines: as it was before." if any(row.before for row in rows) else "",
        ),
    )


def _multiple(row: Row, *, defines: bool) -> Html:
    signal = row.preactivation
    then = row.before.preactivation if row.before else None
    assert signal is not None
    op = row.activation.op if row.activation else ""
    std = arrow(number(then.std), number(signal.std)) if then else number(signal.std)
    saturated = f", {percent(row.activity.saturated)} flat" if row.activity else ""
    parts: list[Child] = [_preactivations(signal, then=then, flat=FLAT.get(op), defines=defines)]
    height = UPPER + LABEL
    if row.activated and any(row.activated.histogram):
        lower = _activations(row.activated, then=row.before.activated if row.before else None, op=op)
        parts.append(tag("g", lower, transform=f"translate(0 {height + 5:g})"))
        height += 5 + LOWER + LABEL
    return tag(
        "div",
        tag("h3", row.name),
        tag("p", f"std {std}{saturated}"),
        svg(parts, width=WIDTH, height=height, label=f"{row.name}: pre-activation std {std}{saturated}"),
    )


def _preactivations(signal: Signal, *, then: Signal | None, flat: Flat | None, defines: bool) -> Iterator[Html]:
    canvas = Canvas(edge=WINDOW, height=UPPER)
    yield from canvas.tint(flat.low, flat.high) if flat else ()
    yield from canvas.draw(signal, then=then)
    # One curve serves all pictures.
    yield _unit_normal(canvas) if defines else tag("use", href="#unit-normal")
    yield from canvas.ground()


def _activations(signal: Signal, *, then: Signal | None, op: str) -> Iterator[Html]:
    canvas = Canvas(edge=1.1 if op in BOUNDED else WINDOW, height=LOWER)
    flat = FLAT.get(op)
    yield from canvas.tint(-flat.output, flat.output) if flat else ()
    yield from canvas.draw(signal, then=then, class_="act")
    yield from canvas.ground()


def _unit_normal(canvas: Canvas) -> Html:
    places = [z * WINDOW / 20 for z in range(-20, 21)]
    heights = [math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / CEILING for z in places]
    path = [(canvas.x(z), UPPER * (1 - height)) for z, height in zip(places, heights, strict=True)]
    return line(path, class_="normal", id="unit-normal")
