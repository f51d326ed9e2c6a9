"""What goes in and what is asked for: inputs and targets per column, the loss against chance, training curves."""

import math
from collections.abc import Iterator, Mapping, Sequence

from onesigma.model.trace import Column, InputRecord, LossRecord
from onesigma.report._words import number, shape
from onesigma.report.diagnosis import Diagnosis
from onesigma.report.markup import Html, tag
from onesigma.report.svg import Axis, label, line, log_axis, points, svg

__all__ = ["curves", "data", "loss_gauge"]

MOST = 40
SHADES = 4


def data(report: Diagnosis) -> Iterator[Html]:
    """One panel per input, and one for the targets."""
    then = {record.name: record for record in report.before.trace.inputs} if report.before else {}
    for record in report.trace.inputs:
        yield _panel(record, title=f"Input {record.name}", before=then.get(record.name))
    targets = report.trace.targets
    if targets is not None:
        yield _panel(targets, title="Targets", before=report.before.trace.targets if report.before else None)


def _panel(record: InputRecord, *, title: str, before: InputRecord | None) -> Html:
    facts = [f"{shape(record.shape)} {record.dtype}, {record.kind}"]
    if record.num_classes:
        entropy = f", entropy {number(record.entropy)} nats" if record.entropy else ""
        facts.append(f"{record.num_classes} classes{entropy}")
    elif record.signal:
        facts.append(f"mean {number(record.signal.mean)}, std {number(record.signal.std)}")
        facts.append(f"from {number(record.signal.minimum)} to {number(record.signal.maximum)}")
    return tag(
        "div",
        tag("h3", title),
        tag("p", " · ".join(facts)),
        _dots(record.columns, before=before.columns if before else ()) if record.columns else None,
        class_="panel",
    )


def _dots(columns: Sequence[Column], *, before: Sequence[Column]) -> Html:
    """Per column a filled dot for its std and a hollow one for |mean|, on one log axis."""
    shown = sorted(sorted(columns, key=_distance, reverse=True)[:MOST], key=columns.index)
    then = {column.name: column for column in before}
    compared = [then[column.name] for column in shown if column.name in then]
    left, width, step = 150.0, 560.0, 20.0
    bottom = 8 + step * len(shown)
    stds = [column.std for column in [*shown, *compared]]
    x = log_axis([*stds, *(abs(column.mean) for column in [*shown, *compared] if abs(column.mean) > 1e-3)],
                 start=left, end=width - 14)  # fmt: skip
    rows = [
        _column(column, before=then.get(column.name), x=x, y=8 + step * (i + 0.5)) for i, column in enumerate(shown)
    ]
    grid = tag("g", [[line([(x(t), 8), (x(t), bottom)]), label(f"{t:g}", x(t), bottom + 16, anchor="middle")]
                     for t in x.ticks(most=6)], class_="grid")  # fmt: skip
    band = tag("rect", x=x(0.5), y=8, width=x(2.0) - x(0.5), height=bottom - 8, class_="band")
    worst = max(shown, key=_distance)
    spoken = f"{len(columns)} columns; farthest from unit scale: {worst.name}, "
    spoken += f"mean {number(worst.mean)}, std {number(worst.std)}"
    key = [("std", "std"), ("mean", "|mean|")] + ([("was", "std before")] if compared else [])
    some = f"The {len(shown)} of {len(columns)} columns farthest from unit scale. " if len(shown) < len(columns) else ""
    return tag(
        "figure",
        tag("ul", [tag("li", tag("i", class_=f"key {name}"), word) for name, word in key], class_="legend"),
        tag(
            "div",
            svg(grid, band, rows, width=width, height=bottom + 24, label=spoken, class_="columns-of-data"),
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label="Columns",
        ),
        tag("figcaption", some, "A mean near 0 stands at the left edge. Red: off scale by more than a factor of ten."),
    )


def _column(column: Column, *, before: Column | None, x: Axis, y: float) -> Html:
    off = "off" if _distance(column) > math.log(10) or column.nonfinite else ""
    text = column.name if len(column.name) <= 22 else column.name[:21] + "…"
    told = f"{column.name}: mean {number(column.mean)}, std {number(column.std)}, "
    told += f"from {number(column.minimum)} to {number(column.maximum)}"
    told += f", {column.nonfinite} not finite" if column.nonfinite else ""
    return tag(
        "g",
        tag("title", told),
        label(text, x.start - 10, y + 4, anchor="end"),
        points([(x(before.std), y)], radius=3, class_="then") if before and _finite(before.std) else None,
        points([(x(abs(column.mean)), y)], radius=3.5, class_="mean") if _finite(column.mean) else None,
        points([(x(column.std), y)], radius=4, class_="now") if _finite(column.std) else None,
        class_=f"column {off}".strip(),
    )


def _finite(value: float) -> bool:
    return math.isfinite(value)


def _distance(column: Column) -> float:
    """How far a column is from mean 0 and std 1, in factors of e; constant and non-finite columns are farthest."""
    if not (_finite(column.std) and _finite(column.mean)):
        return math.inf
    if column.std == 0:
        return math.inf
    return max(abs(math.log(column.std)), math.log(max(abs(column.mean), 1.0)))


def loss_gauge(loss: LossRecord, *, before: LossRecord | None) -> Html:
    """The measured loss on a bar, beside what guessing would cost."""
    values = (loss.value, loss.chance, before.value if before else None)
    finite = [value for value in values if value is not None and math.isfinite(value)]
    x = Axis(low=min([0.0, *finite]), high=1.25 * max([1e-12, *finite]), start=8.0, end=552.0)
    chance = f"{loss.chance_name} = {number(loss.chance)}" if loss.chance_name else number(loss.chance)
    spoken = f"Loss {number(loss.value)}" + (f", by chance {chance}" if loss.chance is not None else "")
    spoken += f", as it was before {number(before.value)}" if before else ""
    return tag(
        "figure",
        svg(
            tag("rect", x=x.start, y=30, width=x.end - x.start, height=8, rx=4, class_="back"),
            tag("rect", x=x.start, y=30, width=max(x(loss.value) - x.start, 0) if _finite(loss.value) else 0, height=8,
                rx=4, class_="now"),
            _needle(x(before.value), text="before", y=60, class_="was") if before and _finite(before.value) else None,
            _needle(x(loss.chance), text=f"chance {chance}", y=22, class_="chance") if loss.chance else None,
            width=560,
            height=66,
            label=spoken,
            class_="loss",
        ),
        tag("figcaption", _judged(loss)),
    )  # fmt: skip


def _needle(x: float, *, text: str, y: float, class_: str) -> Html:
    anchor = "end" if x > 360 else "start"
    shift = -5 if anchor == "end" else 5
    return tag("g", line([(x, 26), (x, 42)]), label(text, x + shift, y, anchor=anchor), class_=class_)


def _judged(loss: LossRecord) -> str:
    told = f"{loss.name} of the measured pass: {number(loss.value)}."
    if loss.chance is None:
        return f"{told} What guessing would cost is not known for this loss."
    excess = loss.value - loss.chance
    if not math.isfinite(excess):
        return f"{told} It is not a number that training could start from."
    word = "above" if excess >= 0 else "below"
    return f"{told} A model that knows nothing pays {number(loss.chance)}: this one is {number(abs(excess))} {word}."


def curves(losses: Mapping[str, Sequence[float]]) -> Html | None:
    """Losses of trainings over their steps."""
    finite = [value for series in losses.values() for value in series if math.isfinite(value)]
    if not finite:
        return None
    longest = max(map(len, losses.values()))
    x = Axis(low=1.0, high=float(max(longest, 2)), start=44.0, end=550.0)
    y = Axis(low=min(0.0, *finite), high=1.05 * max(finite) or 1.0, start=190.0, end=14.0)
    spoken = "; ".join(f"{name}: from {number(s[0])} to {number(s[-1])}" for name, s in losses.items() if s)
    shades = {name: f"curve c{(len(losses) - 1 - index) % SHADES}" for index, name in enumerate(losses)}
    key = [tag("li", tag("i", class_=f"key {shades[name]}"), name) for name in losses]
    return tag(
        "figure",
        tag("ul", key, class_="legend"),
        svg(
            tag("g", [[line([(x.start, y(t)), (x.end, y(t))]), label(f"{t:g}", x.start - 6, y(t) + 3.5, anchor="end")]
                      for t in y.ticks(most=5)], class_="grid"),
            [_curve(series, x=x, y=y, class_=shades[name]) for name, series in losses.items()],
            label("step →", x.end, 214, anchor="end", class_="title"),
            [label(f"{t:g}", x(t), 206, anchor="middle", class_="title") for t in x.ticks(most=6)[:-1] if t >= 1],
            width=560,
            height=220,
            label=f"Training losses. {spoken}",
            class_="curves",
        ),
    )  # fmt: skip


def _curve(series: Sequence[float], *, x: Axis, y: Axis, class_: str) -> Html:
    # No screen shows more points than pixels; every n-th keeps the shape of a long run.
    step = max(1, len(series) // 400)
    path = [(x(i + 1.0), y(value)) if math.isfinite(value) else None for i, value in list(enumerate(series))[::step]]
    return line(path, class_=class_) if any(path) else Html()
