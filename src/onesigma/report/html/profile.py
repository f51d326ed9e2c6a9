"""The scale profile: std of pre-activations, activations and gradients against depth, on a log axis."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from onesigma.model.trace import Signal
from onesigma.report._words import number
from onesigma.report.markup import Child, Html, tag
from onesigma.report.rows import Row
from onesigma.report.svg import Axis, label, line, log_axis, points, svg

__all__ = ["profile"]

BAND = (0.5, 2.0)
MAX_DOTS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The sizes of one rendering, in pixels."""

    width: float
    left: float
    forward: float
    backward: float

    top: float = 22.0
    gap: float = 40.0
    right: float = 10.0
    bottom: float = 30.0

    @property
    def height(self) -> float:
        """Of the whole picture."""
        return self.top + self.forward + (self.gap + self.backward if self.backward else 0.0) + self.bottom


WIDE = Frame(width=920, left=46, forward=230, backward=150)
NARROW = Frame(width=360, left=40, forward=190, backward=130)


def profile(rows: Sequence[Row]) -> Html:
    """The figure, in a rendering for wide and one for narrow windows; the style shows one of them."""
    compared = any(row.before for row in rows)
    has_gradient = any(row.gradient for row in rows)
    spoken = _spoken(rows)
    return tag(
        "figure",
        _legend(rows, compared=compared),
        _picture(rows, frame=WIDE, gradients=has_gradient, spoken=spoken, class_="wide"),
        _picture(rows, frame=NARROW, gradients=has_gradient, spoken=spoken, class_="narrow"),
        tag("output", "", class_="readout", aria_live="polite"),
        tag(
            "figcaption",
            "Each step to the right is one layer, in the order of execution. The shaded band is a std from 0.5 to 2. ",
            "With the picture in focus, the arrow keys read out one layer at a time; the table below has all numbers.",
        ),
        class_="profile",
    )


def _legend(rows: Sequence[Row], *, compared: bool) -> Html:
    words = [("pre", "pre-activation"), ("act", "activation")]
    words += [("join", "residual stream")] if any(row.record.kind == "join" for row in rows) else []
    words += [("grad", "gradient")] if any(row.gradient for row in rows) else []
    words += [("old", "as it was before")] if compared else []
    words += [("plan", "predicted")] if any(row.predicted for row in rows) else []
    words += [("plan dashed", "predicted gradient")] if any(row.predicted_gradient for row in rows) else []
    return tag("ul", [tag("li", tag("i", class_=f"key {key}"), word) for key, word in words], class_="legend")


def _spoken(rows: Sequence[Row]) -> str:
    def ends(part: Callable[[Row], Signal | None]) -> str:
        stds = [signal.std for signal in map(part, rows) if signal]
        return f"{number(stds[0])} at the first layer, {number(stds[-1])} at the last" if stds else "not measured"

    forward = f"Pre-activation std: {ends(lambda row: row.preactivation)}."
    return f"Scale profile over {len(rows)} layers. {forward} Gradient std: {ends(lambda row: row.gradient)}."


def _picture(rows: Sequence[Row], *, frame: Frame, gradients: bool, spoken: str, class_: str) -> Html:
    if not gradients:
        frame = Frame(width=frame.width, left=frame.left, forward=frame.forward, backward=0.0)
    x = Axis(low=0.0, high=float(max(len(rows) - 1, 1)), start=frame.left + 8, end=frame.width - frame.right - 8)
    bottom = frame.top + frame.forward
    parts: list[Child] = [_forward(rows, x=x, top=frame.top, bottom=bottom, frame=frame)]
    if gradients:
        top, bottom = bottom + frame.gap, bottom + frame.gap + frame.backward
        parts.append(_backward(rows, x=x, top=top, bottom=bottom, frame=frame))
    parts.append(_depth(rows, x=x, y=bottom, frame=frame))
    parts.append(_columns(rows, x=x, top=frame.top, bottom=bottom, titled=frame.width == WIDE.width))
    return svg(parts, width=frame.width, height=frame.height, label=spoken, class_=class_, tabindex="0")


def _forward(rows: Sequence[Row], *, x: Axis, top: float, bottom: float, frame: Frame) -> Iterator[Child]:
    now, then = _stds(rows, "preactivation"), _stds([row.before for row in rows], "preactivation")
    activated, planned = _stds(rows, "activated"), [row.predicted for row in rows]
    joins = [row.record.kind == "join" for row in rows]
    y = log_axis(_positive(now, then, activated, planned), start=bottom, end=top)
    yield _grid(y, frame=frame, title="forward: std of the signal")
    yield tag("rect", x=frame.left, y=y(BAND[1]), width=frame.width - frame.left - frame.right,
              height=y(BAND[0]) - y(BAND[1]), class_="band")  # fmt: skip
    yield line([(frame.left, y(1.0)), (frame.width - frame.right, y(1.0))], class_="one")
    # A residual stream grows with depth by design: it is a line of its own.
    for stds, join, name, radius in (
        (then, True, "old", 1.8),
        (then, False, "old", 1.8),
        (activated, None, "act", 2.0),
        (now, True, "join", 2.8),
        (now, False, "pre", 2.8),
    ):
        picked = [std if join in (None, is_join) else None for std, is_join in zip(stds, joins, strict=True)]
        yield _series(picked, x=x, y=y, name=name, radius=radius)
    yield from (_cross(x(i), y(std)) for i, std in enumerate(planned) if std is not None and 0 < std < math.inf)


def _backward(rows: Sequence[Row], *, x: Axis, top: float, bottom: float, frame: Frame) -> Iterator[Child]:
    now, then = _stds(rows, "gradient"), _stds([row.before for row in rows], "gradient")
    planned = [row.predicted_gradient for row in rows]
    seen = _positive(now, then, planned)
    middle = seen[-1] if seen else 1.0
    y = log_axis(seen, start=bottom, end=top, least=(middle, middle))
    yield _grid(y, frame=frame, title="backward: std of the gradient")
    yield _series(then, x=x, y=y, name="old", radius=1.8)
    yield _series(now, x=x, y=y, name="grad", radius=2.8)
    held = [(x(i), y(rms)) for i, rms in enumerate(planned) if rms is not None and rms > 0 and y.holds(rms)]
    yield line(held, class_="plan dashed") if held else None


def _stds(rows: Sequence[Row | None], part: str) -> list[float | None]:
    signals = (getattr(row, part) if row else None for row in rows)
    return [signal.std if signal else None for signal in signals]


def _positive(*series: Sequence[float | None]) -> list[float]:
    return [std for stds in series for std in stds if std is not None and 0 < std < math.inf]


def _series(stds: Sequence[float | None], *, x: Axis, y: Axis, name: str, radius: float) -> Html | None:
    """A line with dots. What the axis cannot hold, zero and NaN among it, is marked at the foot."""
    known = [(x(index), std) for index, std in enumerate(stds) if std is not None]
    held = [(place, y(std)) for place, std in known if std > 0 and y.holds(std)]
    off = [(place, y.start) for place, std in known if not (std > 0 and y.holds(std))] if name != "old" else []
    dots = held if len(stds) <= MAX_DOTS else []
    parts = [line(held) if held else None, points(dots, radius=radius) if dots else None]
    parts.append(points(off, radius=4.0, class_="off") if off else None)
    return tag("g", parts, class_=f"series {name}") if known else None


def _cross(x: float, y: float) -> Html:
    return line([(x - 4, y), (x + 4, y)], class_="plan")


def _grid(y: Axis, *, frame: Frame, title: str) -> Html:
    right = frame.width - frame.right
    ticks = y.ticks(most=6)
    plain = all(1e-3 <= tick < 1e5 for tick in ticks)
    return tag(
        "g",
        [line([(frame.left, y(tick)), (right, y(tick))]) for tick in ticks],
        [label(_power(tick, plain=plain), frame.left - 6, y(tick) + 3.5, anchor="end") for tick in ticks],
        label(title, frame.left, y.end - 9, class_="title"),
        class_="grid",
    )


def _power(value: float, *, plain: bool) -> str:
    return f"{value:g}" if plain else f"1e{round(math.log10(value))}"


def _depth(rows: Sequence[Row], *, x: Axis, y: float, frame: Frame) -> Html:
    ticks = [tick for tick in x.ticks(most=10 if frame is WIDE else 5) if tick == int(tick) and tick < len(rows)]
    return tag(
        "g",
        [label(str(int(tick) + 1), x(tick), y + 16, anchor="middle") for tick in ticks],
        label("depth →", frame.width - frame.right, y + 28, anchor="end", class_="title"),
        class_="grid",
    )


def _columns(rows: Sequence[Row], *, x: Axis, top: float, bottom: float, titled: bool) -> Html:
    """One invisible column per layer: its title is the tooltip, and what the arrow keys read out in both pictures."""
    step = (x.end - x.start) / max(len(rows) - 1, 1)
    columns = [
        tag(
            "rect",
            tag("title", _told(row, number_=index + 1)) if titled else None,
            x=x(index) - step / 2,
            y=top,
            width=step,
            height=bottom - top,
        )
        for index, row in enumerate(rows)
    ]
    return tag("g", columns, class_="columns")


def _told(row: Row, *, number_: int) -> str:
    facts = [
        ("pre-activation", row.preactivation, row.predicted),
        ("activation", row.activated, None),
        ("gradient", row.gradient, row.predicted_gradient),
    ]
    planned = {word: f" (predicted {number(std)})" for word, _, std in facts if std is not None}
    told = ", ".join(f"{word} {number(signal.std)}{planned.get(word, '')}" for word, signal, _ in facts if signal)
    before = f" (before: {number(row.before.preactivation.std)})" if row.before and row.before.preactivation else ""
    return f"{number_}. {row.name}: {told}{before}"
