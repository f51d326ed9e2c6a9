"""Line charts side by side, as one SVG file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onesigma.report.markup import Html, tag
from onesigma.report.svg import Axis, area, label, line, svg

__all__ = ["Panel", "write_chart"]

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 330, 250, 56, 40, 42
COLORS = ("#1f5fbf", "#c2410c", "#15803d", "#7e22ce")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart: lines by name, and bands (low, high) drawn behind the line of the same name."""

    title: str
    x: Sequence[float]
    x_label: str
    lines: Mapping[str, Sequence[float]]
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    low: float
    high: float
    log: bool = False


def write_chart(name: str, panels: Sequence[Panel], *, says: str) -> Path:
    """Draw the panels into docs/`name`; `says` is the text for those who do not see it."""
    width = WIDTH * len(panels)
    parts = [tag("rect", width="100%", height="100%", fill="white")]
    parts += [part for i, panel in enumerate(panels) for part in _drawn(panel, left=i * WIDTH)]
    path = Path(__file__).parents[1] / "docs" / name
    style = {"xmlns": "http://www.w3.org/2000/svg", "font_family": "sans-serif"}
    path.write_text(svg(*parts, width=width, height=HEIGHT, label=says, **style) + "\n")
    return path


def _drawn(panel: Panel, *, left: int) -> list[Html]:
    x = Axis(low=min(panel.x), high=max(panel.x), start=left + LEFT, end=left + WIDTH - 16)
    y = Axis(low=panel.low, high=panel.high, start=HEIGHT - BOTTOM, end=TOP, log=panel.log)
    parts = [label(panel.title, left + LEFT, 22, font_size="13")]
    for tick in y.ticks(most=5):
        parts.append(line([(x.start, y(tick)), (x.end, y(tick))], stroke="#ddd"))
        parts.append(label(f"{tick:g}", x.start - 6, y(tick) + 4, anchor="end", font_size="10"))
    for tick in x.ticks(most=5):
        parts.append(label(f"{tick:g}", x(tick), y.start + 14, anchor="middle", font_size="10"))
    parts.append(label(panel.x_label, (x.start + x.end) / 2, y.start + 32, anchor="middle", font_size="11"))
    for color, (name, values) in zip(COLORS, panel.lines.items(), strict=False):
        if name in panel.bands:
            low, high = panel.bands[name]
            upper = list(zip(map(x, panel.x), map(y, high), strict=True))
            lower = list(zip(map(x, panel.x), map(y, low), strict=True))
            parts.append(area([*upper, *reversed(lower), upper[0]], base=upper[0][1], fill=color, opacity="0.18"))
        parts.append(line(zip(map(x, panel.x), map(y, values), strict=True), fill="none", stroke=color))
    for i, (color, name) in enumerate(zip(COLORS, panel.lines, strict=False)):
        parts.append(label(name, x.end - 4, TOP + 14 * (i + 1), anchor="end", font_size="11", fill=color))
    return parts
