"""A picture of an activation: the function, its variance map and its correlation map, as one SVG file."""

import math
from collections.abc import Iterator
from itertools import pairwise

from onesigma.numbers.meanfield import Curve, Curves
from onesigma.report.markup import Html, tag
from onesigma.report.svg import Axis, Point, area, label, line, points, svg

__all__ = ["maps_svg"]

_WIDTH, _HEIGHT = 1000.0, 400.0
_SIDE = 250.0  # of a panel
_LEFTS, _TOP = (58.0, 390.0, 722.0), 92.0
_LAYERS = 50

_STYLE = """
:root { color-scheme: light dark; }
svg { background: #fbfbf9; font: 13px system-ui, "Segoe UI", "Noto Sans", "Liberation Sans", sans-serif; }
text { fill: #5d686d; font-variant-numeric: tabular-nums; }
.title { fill: #1d2528; font-size: 21px; font-weight: 650; }
.head { fill: #1d2528; font-size: 14px; font-weight: 600; }
.sheet { fill: #ffffff; stroke: #e2e5e3; }
.grid { stroke: #e9ecea; }
.same { stroke: #8b9499; stroke-dasharray: 5 4; }
.density { fill: #0b6e7f1f; }
path { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.curve { stroke: #0b6e7f; stroke-width: 2.5; }
.slope { stroke: #8f5a00; stroke-width: 1.5; }
.stairs { stroke: #b3362b; stroke-width: 1.2; }
.dot { fill: #0b6e7f; stroke: none; }
@media (prefers-color-scheme: dark) {
  svg { background: #14191b; }
  text { fill: #a9b3b6; }
  .title, .head { fill: #e6eaea; }
  .sheet { fill: #1b2124; stroke: #30383c; }
  .grid { stroke: #262e31; }
  .same { stroke: #8a959a; }
  .density { fill: #5cc3d324; }
  .curve { stroke: #5cc3d3; }
  .slope { stroke: #e9b45c; }
  .stairs { stroke: #ff9387; }
  .dot { fill: #5cc3d3; }
}
"""


def maps_svg(curves: Curves) -> str:
    """A self-contained SVG, light and dark: f and its slope; Q and C, with the way that signals take through depth.

    Example:
        >>> from onesigma.numbers.meanfield import curves
        >>> maps_svg(curves("tanh"))[:38]
        '<svg viewBox="0 0 1000 400" role="img"'
    """
    moments = curves.moments
    facts = f"gain {moments.gain:.6f}   ·   chi {moments.chi:.4f}   ·   stability {moments.stability:.4f}"
    spoken = f"{moments.name}: {facts}. Three plots: the function, its variance map, its correlation map."
    return svg(
        tag("style", Html(_STYLE)),
        label(moments.name, _LEFTS[0], 36, class_="title"),
        label(facts, _LEFTS[0], 58),
        _function_panel(curves, _LEFTS[0]),
        _variance_panel(curves, _LEFTS[1]),
        _correlation_panel(curves, _LEFTS[2]),
        width=_WIDTH,
        height=_HEIGHT,
        label=spoken,
        xmlns="http://www.w3.org/2000/svg",
    )


def _function_panel(curves: Curves, left: float) -> Html:
    values = [y for curve in (curves.function, curves.slope) for _, y in curve]
    low, high = max(min([*values, -1.0]), -4.0), min(max([*values, 1.0]), 4.0)
    x, y = _axes(left, (-4.0, 4.0), (low, high))
    density = [(x(z), y.start - 90 * math.exp(-z * z / 2)) for z, _ in curves.function]
    return tag(
        "g",
        _frame(x, y, "f(z), and its slope", note="shaded: how often z ~ N(0, 1) is there"),
        area(density, base=y.start, class_="density"),
        line(_drawn(curves.slope, x, y), class_="slope"),
        line(_drawn(curves.function, x, y), class_="curve"),
    )


def _variance_panel(curves: Curves, left: float) -> Html:
    x, y = _axes(left, (0.01, 100.0), (0.01, 100.0), log=True)
    stairs = [line(_stairs(curves.variance, start, x, y, log=True), class_="stairs") for start in (0.5, 2.0)]
    return tag(
        "g",
        _frame(x, y, "variance, from layer to layer", note=_variance_note(curves.moments.stability)),
        _diagonal(x, y),
        stairs,
        line(_drawn(curves.variance, x, y), class_="curve"),
        points([(x(1.0), y(1.0))], radius=4, class_="dot"),
    )


def _correlation_panel(curves: Curves, left: float) -> Html:
    x, y = _axes(left, (0.0, 1.0), (0.0, 1.0))
    *_, last = _orbit(curves.correlation, 0.0)
    return tag(
        "g",
        _frame(x, y, "correlation of two samples", note=f"from 0 to {last:.2f} in {_LAYERS} layers"),
        _diagonal(x, y),
        line(_stairs(curves.correlation, 0.0, x, y), class_="stairs"),
        line(_drawn(curves.correlation, x, y), class_="curve"),
    )


def _variance_note(stability: float) -> str:
    if abs(stability - 1) < 1e-9:
        return "slope 1 at q = 1: every scale is kept"
    verdict = "unit scale is left with depth" if stability > 1 else "unit scale is returned to"
    return f"slope {stability:.2f} at q = 1: {verdict}"


def _axes(left: float, across: tuple[float, float], up: tuple[float, float], *, log: bool = False) -> tuple[Axis, Axis]:
    x = Axis(low=across[0], high=across[1], start=left, end=left + _SIDE, log=log)
    return x, Axis(low=up[0], high=up[1], start=_TOP + _SIDE, end=_TOP, log=log)


def _frame(x: Axis, y: Axis, title: str, *, note: str) -> list[Html]:
    sheet = tag("rect", x=x.start, y=y.end, width=_SIDE, height=_SIDE, rx=4, class_="sheet")
    across = [(x(tick), f"{tick:g}") for tick in x.ticks(most=5)]
    up = [(y(tick), f"{tick:g}") for tick in y.ticks(most=5)]
    return [
        sheet,
        *(line([(at, y.start), (at, y.end)], class_="grid") for at, _ in across),
        *(line([(x.start, at), (x.end, at)], class_="grid") for at, _ in up),
        *(label(text, at, y.start + 18, anchor="middle") for at, text in across),
        *(label(text, x.start - 8, at + 4, anchor="end") for at, text in up),
        label(title, x.start, y.end - 10, class_="head"),
        label(note, x.start, y.start + 42),
    ]


def _diagonal(x: Axis, y: Axis) -> Html:
    return line([(x.start, y.start), (x.end, y.end)], class_="same")


def _drawn(curve: Curve, x: Axis, y: Axis) -> Iterator[Point | None]:
    """The curve in pixels, broken where it leaves the panel."""
    return ((x(a), y(b)) if y.holds(b) else None for a, b in curve)


def _stairs(curve: Curve, start: float, x: Axis, y: Axis, *, log: bool = False) -> list[Point]:
    """From layer to layer: up or down to the curve, then across to the diagonal."""
    path = [(x(start), y(start))]
    for here, then in pairwise(_orbit(curve, start, log=log)):
        path += [(x(here), y(then)), (x(then), y(then))]
    return path


def _orbit(curve: Curve, start: float, *, log: bool = False) -> Iterator[float]:
    """What `_LAYERS` layers make of a number; it stops where the curve was not sampled."""
    bend, unbend = (math.log, math.exp) if log else (float, float)
    knots = [(bend(a), bend(b)) for a, b in curve if not log or b > 0]
    value = start
    yield value
    for _ in range(_LAYERS):
        found = _interpolated(knots, bend(value))
        if found is None:
            return
        value = unbend(found)
        yield value


def _interpolated(knots: list[Point], x: float) -> float | None:
    for (left, low), (right, high) in pairwise(knots):
        if left <= x <= right:
            return low + (high - low) * (x - left) / (right - left)
    return None
