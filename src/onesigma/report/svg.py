"""The few shapes that pictures are made of: axes, lines, areas, each a short piece of SVG."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from onesigma.report.markup import Child, Html, tag

__all__ = ["Axis", "Point", "area", "bars", "label", "line", "log_axis", "points", "rebinned", "svg"]

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A map from values to pixels, linear or logarithmic.

    Attributes:
        low: The value at `start`; for a logarithmic axis above zero.
        high: The value at `end`.
        start: Pixel of `low`.
        end: Pixel of `high`.
        log: Whether equal factors, not equal steps, are equally long.

    Example:
        >>> axis = Axis(low=0.01, high=100.0, start=0.0, end=80.0, log=True)
        >>> axis(1.0), axis(1e9), axis(0.0)
        (40.0, 80.0, 0.0)
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; what lies beyond the axis stands at its end."""
        bend: Callable[[float], float] = math.log10 if self.log else float
        inside = min(max(value, self.low), self.high)
        span = bend(self.high) - bend(self.low)
        share = (bend(inside) - bend(self.low)) / span if span else 0.5
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis, not beyond it."""
        return self.low <= value <= self.high

    def ticks(self, *, most: int = 8) -> tuple[float, ...]:
        """Round values: powers of ten on a logarithmic axis, else 1, 2 or 5 times one."""
        if self.log:
            low, high = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            step = max(1, math.ceil((high - low + 1) / most))
            # Counted from 1, so that 1 is a tick wherever it is on the axis.
            return tuple(10.0**power for power in range(low, high + 1) if power % step == 0)
        rough = (self.high - self.low) / most
        if not rough > 0:
            return (self.low,)
        power = 10.0 ** math.floor(math.log10(rough))
        step_size = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first, last = math.ceil(self.low / step_size), math.floor(self.high / step_size + 1e-9)
        return tuple(index * step_size for index in range(first, last + 1))


def log_axis(values: Iterable[float], *, start: float, end: float, least: Sequence[float] = (0.1, 10.0)) -> Axis:
    """A logarithmic axis of whole decades that holds all positive finite values, and at least `least`."""
    seen = [value for value in values if 0 < value < math.inf] + list(least)
    low, high = 10.0 ** math.floor(math.log10(min(seen))), 10.0 ** math.ceil(math.log10(max(seen)))
    # A value that underflowed must not squeeze all the others: sixteen decades are what one picture can tell.
    return Axis(low=max(low, high * 1e-16), high=high, start=start, end=end, log=True)


def svg(*children: Child, width: float, height: float, label: str | None = None, **attributes: str) -> Html:
    """A picture with a text alternative; without one it is decoration, which a screen reader skips."""
    spoken = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return tag("svg", *children, viewBox=f"0 0 {_short(width)} {_short(height)}", **spoken, **attributes)


def line(path: Iterable[Point | None], **attributes: str) -> Html:
    """A line through the points; None breaks it."""
    return tag("path", d=_path(path), **attributes)


def area(path: Sequence[Point], *, base: float, **attributes: str) -> Html:
    """The surface between the points and the level `base`."""
    if not path:
        return Html()
    closed = [(path[0][0], base), *path, (path[-1][0], base)]
    return tag("path", d=_path(closed) + "Z", **attributes)


def bars(heights: Sequence[float], *, x: Axis, base: float, **attributes: str) -> Html:
    """A histogram as one surface: bars of equal width along `x`, `heights` in pixels above `base`."""
    width = (x.end - x.start) / max(len(heights), 1)
    steps = [f"M{_short(x.start)} {_short(base)}"]
    for height in heights:
        steps.append(f"V{_short(base - height)}h{_short(width)}")
    return tag("path", d="".join(steps) + f"V{_short(base)}Z", **attributes)


def points(path: Iterable[Point], *, radius: float = 2.5, **attributes: str) -> Html:
    """Dots, as one path of arcs, so that a thousand of them stay small."""
    r = _short(radius)
    arcs = (
        f"M{_short(x - radius)} {_short(y)}a{r} {r} 0 1 0 {_short(2 * radius)} 0a{r} {r} 0 1 0 {_short(-2 * radius)} 0"
        for x, y in path
    )
    return tag("path", d="".join(arcs), **attributes)


def label(text: str, x: float, y: float, *, anchor: str = "start", **attributes: str) -> Html:
    """A text at a point."""
    return tag("text", text, x=_short(x), y=_short(y), text_anchor=None if anchor == "start" else anchor, **attributes)


def rebinned(
    histogram: Sequence[int], edges: tuple[float, float], *, low: float, high: float, bins: int
) -> list[float]:
    """Shares of the counts per bin of another grid; what lies beyond the grid is in its first and last bin.

    Counts are taken as even within their bin, so the shares sum to 1 up to rounding.

    Example:
        >>> rebinned((4, 4), (-2.0, 2.0), low=-1.0, high=1.0, bins=4)
        [0.375, 0.125, 0.125, 0.375]
    """
    total, shares = sum(histogram), [0.0] * bins
    if not total or not 0 <= edges[1] - edges[0] < math.inf:
        return shares
    width, cell = (edges[1] - edges[0]) / len(histogram), (high - low) / bins
    for index, count in enumerate(histogram):
        if not count:
            continue
        left = edges[0] + index * width
        for target, share in _overlaps(left, left + width, low=low, cell=cell, bins=bins):
            shares[target] += share * count / total
    return shares


def _overlaps(left: float, right: float, *, low: float, cell: float, bins: int) -> Iterator[tuple[int, float]]:
    """Which cells an interval falls into, and with which share of it."""
    first, last = (math.floor(min(max((end - low) / cell, 0), bins - 1)) for end in (left, right))
    for target in range(first, last + 1):
        begin = left if target == first else low + target * cell
        end = right if target == last else low + (target + 1) * cell
        yield target, (end - begin) / (right - left) if right > left else 1.0 / (last - first + 1)


def _path(path: Iterable[Point | None]) -> str:
    steps, pen = [], "M"
    for point in path:
        if point is None:
            pen = "M"
            continue
        steps.append(f"{pen}{_short(point[0])} {_short(point[1])}")
        pen = "L"
    return "".join(steps)


def _short(value: float) -> str:
    # A tenth of a pixel is finer than any screen, and halves the size of a page.
    return f"{round(value, 1) + 0.0:g}"
