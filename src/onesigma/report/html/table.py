"""The layer table: every number of every layer, sortable, with a picture of its scale and of its distribution."""

import math
from collections.abc import Callable, Iterator, Sequence

from onesigma.model.trace import Signal
from onesigma.report._words import decimal, number, percent, shape
from onesigma.report.markup import Html, tag
from onesigma.report.rows import Row
from onesigma.report.svg import Axis, area, line, points, svg

__all__ = ["sparkline", "table"]

# The heading, what to read and how to write it; the attributes are those of `Row`.
COLUMNS: tuple[tuple[str, str, str, Callable[[float | None], str]], ...] = (
    ("pre-act. std", "preactivation", "std", number),
    ("act. std", "activated", "std", number),
    ("sample std", "result", "sample_std", number),
    ("correlation", "result", "correlation", decimal),
    ("saturated", "activity", "saturated", percent),
    ("dead", "activity", "dead_units", percent),
    ("gradient std", "gradient", "std", number),
)
_PREDICTED: dict[str, Callable[[Row], float | None]] = {
    "preactivation": lambda row: row.predicted,
    "gradient": lambda row: row.predicted_gradient,
}
BINS = 24
CAPTION = "Layers in the order of execution. A heading sorts by its column."
PLANNED = " Small, as “pred.”: what the weights and the inputs' statistics predict, before any data."


def table(rows: Sequence[Row]) -> Html:
    """The table in a frame that scrolls sideways where the window is narrow."""
    used = [column for column in COLUMNS if any(_value(row, column[1], column[2]) is not None for row in rows)]
    heads = [
        _head("#"),
        _head("layer"),
        tag("th", "scale", scope="col"),
        *(_head(title, class_="n") for title, *_ in used),
    ]
    heads += [tag("th", "shape of values", scope="col"), _head("findings")]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", tag("span", CAPTION, PLANNED if any(row.predicted for row in rows) else None)),
            tag("thead", tag("tr", heads)),
            tag("tbody", [_row(row, place=index + 1, columns=used) for index, row in enumerate(rows)]),
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="Layer table",
    )


def _head(title: str, *, class_: str | None = None) -> Html:
    return tag("th", tag("button", title, type="button"), scope="col", aria_sort="none", class_=class_)


def _row(row: Row, *, place: int, columns: Sequence[tuple[str, str, str, Callable[[float | None], str]]]) -> Html:
    name = tag("th", tag("b", row.name), tag("small", f"{row.op} {shape(row.record.shape)}"), scope="row")
    cells = [tag("td", str(place), class_="n"), name, tag("td", _gauge(row))]
    for _, part, attribute, word in columns:
        cells.append(_number(row, part, attribute, word=word))
    cells += [tag("td", sparkline(row.preactivation)), tag("td", _codes(row), data_v=str(_rank(row)))]
    return tag("tr", cells, class_=row.severity or None)


def _number(row: Row, part: str, attribute: str, *, word: Callable[[float | None], str]) -> Html:
    value = _value(row, part, attribute)
    now = word(value)
    then = word(_value(row.before, part, attribute)) if row.before else now
    # Sorting goes by the value after; what is not there, or is no number, goes to the end.
    key = f"{value:.6g}" if value is not None and math.isfinite(value) else None
    theory = _PREDICTED[part](row) if attribute == "std" and part in _PREDICTED else None
    planned = tag("small", f"pred. {word(theory)}") if theory is not None else None
    return tag("td", now, planned, tag("s", f"was {then}") if then != now else None, class_="n", data_v=key)


def _value(row: Row, part: str, attribute: str) -> float | None:
    signal = getattr(row, part)
    if isinstance(signal, Signal) and 0 < signal.count == signal.nonfinite:
        return math.nan  # no finite value is left, and 0 would read as a quiet signal
    value: float | None = getattr(signal, attribute, None)
    return value


def _codes(row: Row) -> Iterator[Html]:
    for code, severity in dict.fromkeys((finding.code, finding.severity) for finding in row.findings):
        yield tag("a", code, href=f"#{code}", class_=f"code {severity}")


def _rank(row: Row) -> int:
    return ("", "info", "warning", "error").index(row.severity)


def _gauge(row: Row) -> Html:
    """A dot on a log axis from 0.01 to 100, with the band and, hollow, where it was before."""
    axis = Axis(low=0.01, high=100.0, start=4.0, end=86.0, log=True)
    stds = (_value(each, "preactivation", "std") if each else None for each in (row, row.before))
    now, then = (axis(std) if std is not None and not math.isnan(std) else None for std in stds)
    return svg(
        tag("rect", x=axis(0.5), y=2, width=axis(2.0) - axis(0.5), height=12, class_="band"),
        line([(axis.start, 8), (axis.end, 8)], class_="rule"),
        points([(then, 8)], radius=2.5, class_="then") if then is not None else None,
        points([(now, 8)], radius=3.5, class_="now") if now is not None else None,
        width=90,
        height=16,
        class_="gauge",
    )


def sparkline(signal: Signal | None) -> Html | None:
    """The histogram of a signal over its own range, as a small surface."""
    if signal is None or not any(signal.histogram):
        return None
    # Few bins are enough for a thumbnail and keep the page small.
    step = max(1, math.ceil(len(signal.histogram) / BINS))
    counts = [sum(signal.histogram[i : i + step]) for i in range(0, len(signal.histogram), step)]
    x = Axis(low=0.0, high=float(max(len(counts) - 1, 1)), start=0.0, end=90.0)
    top = max(counts)
    return svg(
        area([(round(x(i)), 18 - 17 * count / top) for i, count in enumerate(counts)], base=18),
        width=90,
        height=18,
        class_="spark",
    )
