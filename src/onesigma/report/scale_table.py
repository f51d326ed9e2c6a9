"""The scale of every layer as a table for a terminal of any width."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from onesigma.report._words import arrow, clean, decimal, number, percent, shape
from onesigma.report.rows import Row
from onesigma.report.summary import plural

__all__ = ["MARKS", "abbreviate", "ends", "gauge", "scale_color", "scale_table"]

MARKS = {"error": ("✗", "bold red"), "warning": ("!", "yellow"), "info": ("i", "cyan"), "": ("✓", "green")}
"""Severity → mark and style; "" stands for nothing found."""

MAX_ROWS = 60


def scale_table(rows: Sequence[Row], *, width: int) -> Table:
    """One row per call, with as many columns as fit; no number is ever cut."""
    shown = list(abbreviate(rows, limit=MAX_ROWS))
    cells = {
        title: [_summary(hidden, title) if hidden else cell(row) for row, hidden in shown] for title, cell in CELLS
    }
    gap = 2 if width >= 80 else 1
    kept = _fitting({title: max(map(len, (title, *map(str, texts)))) for title, texts in cells.items()}, width, gap=gap)
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for title, size in kept.items():
        table.add_column(
            "" if title == "findings" else title,
            justify="left" if title in LEFT else "right",
            no_wrap=True,
            overflow="ellipsis",
            width=size,
        )
    for index in range(len(shown)):
        table.add_row(*(_short_name(cells[title][index], size) for title, size in kept.items()))
    return table


def _fitting(sizes: Mapping[str, int], width: int, *, gap: int) -> dict[str, int]:
    """The columns that fit, with their widths: what tells least goes first, then names and codes become shorter."""
    kept = dict(sizes)
    for title in DROPPED:
        least = min(sizes["layer"], 10 if title == "gradient std" else 24)
        if sum(kept.values()) - kept["layer"] + least + gap * (len(kept) - 1) <= width:
            break
        del kept[title]
    for title, floor in (("layer", 10), ("findings", 6), ("layer", 1)):
        excess = sum(kept.values()) + gap * (len(kept) - 1) - width
        kept[title] = max(kept[title] - max(excess, 0), min(floor, kept[title]))
    return kept


def _short_name(text: Text, size: int) -> Text:
    # The end of a path says more than its beginning.
    return text if len(text) <= size else Text("…", text.style) + text[len(text) - size + 1 :]


def _summary(hidden: Sequence[Row], title: str) -> Text:
    """The cell of a row that stands for the rows left out."""
    if title == "layer":
        return Text(f"⋮ {plural(len(hidden), 'more row')}", "dim")
    stds = [row.preactivation.std for row in hidden if row.preactivation]
    return Text(ends(stds), "dim") if title == "pre-act. std" else Text()


def _std(row: Row) -> float | None:
    return row.preactivation.std if row.preactivation else None


def _codes(row: Row) -> Text:
    codes = dict.fromkeys((finding.code, MARKS[finding.severity][1]) for finding in row.findings)
    return Text(" ").join(Text(code, style) for code, style in codes)


CELLS: tuple[tuple[str, Callable[[Row], Text]], ...] = (
    ("layer", lambda row: Text(clean(row.name))),
    ("call", lambda row: Text(clean(row.op), "dim")),
    ("shape", lambda row: Text(shape(row.record.shape), "dim")),
    ("pre-act. std", lambda row: Text(_pair(row, "preactivation", "std"), scale_color(_std(row)))),
    ("0.01 ─ 1 ─ 100", lambda row: Text(gauge(_std(row)), scale_color(_std(row)))),
    ("act. std", lambda row: Text(_pair(row, "activated", "std"))),
    ("sample std", lambda row: Text(_pair(row, "result", "sample_std"))),
    ("correlation", lambda row: Text(_pair(row, "result", "correlation", word=decimal))),
    ("saturated", lambda row: Text(_pair(row, "activity", "saturated", word=percent))),
    ("dead", lambda row: Text(_pair(row, "activity", "dead_units", word=percent))),
    ("gradient std", lambda row: Text(_pair(row, "gradient", "std"))),
    ("findings", _codes),
)
LEFT = frozenset({"layer", "call", "shape", "0.01 ─ 1 ─ 100", "findings"})
DROPPED = (
    "shape",
    "dead",
    "correlation",
    "sample std",
    "act. std",
    "saturated",
    "call",
    "0.01 ─ 1 ─ 100",
    "gradient std",
)


def _pair(row: Row, part: str, name: str, *, word: Callable[[float | None], str] = number) -> str:
    """One number, or `before → after` where there is a before."""
    after = word(getattr(getattr(row, part), name, None))
    if row.before is None:
        return after
    return arrow(word(getattr(getattr(row.before, part), name, None)), after)


def gauge(std: float | None, *, width: int = 15) -> str:
    """A std on a log axis from 0.01 to 100 with 1 in the middle: `·······┼·●·····`."""
    if std is None:
        return ""
    cells = ["·"] * width
    cells[width // 2] = "┼"
    if math.isfinite(std):
        decades = math.log10(std) if std > 0 else -2.0
        cells[round((min(max(decades, -2.0), 2.0) + 2) / 4 * (width - 1))] = "●"
    return "".join(cells)


def scale_color(std: float | None) -> str:
    """Green within 0.5 to 2, yellow within 0.1 to 10, else red."""
    if std is None:
        return ""
    return "green" if 0.5 <= std <= 2 else "yellow" if 0.1 <= std <= 10 else "red"


def abbreviate(rows: Sequence[Row], *, limit: int) -> Iterator[tuple[Row, Sequence[Row]]]:
    """All rows, or the ends and the worst; the rows left out between two shown ones come as one group."""
    keep = set(range(len(rows)))
    if len(rows) > limit:
        ends, worst = limit // 4, sorted(keep, key=lambda index: _badness(rows[index]), reverse=True)
        keep = {*range(ends), *range(len(rows) - ends, len(rows)), *worst[: limit - 2 * ends]}
    hidden: list[Row] = []
    for index, row in enumerate(rows):
        if index not in keep:
            hidden.append(row)
            continue
        if hidden:
            yield hidden[0], hidden
            hidden = []
        yield row, ()


def _badness(row: Row) -> tuple[int, float]:
    std = row.preactivation.std if row.preactivation else 1.0
    distance = abs(math.log(std)) if 0 < std < math.inf else math.inf
    return ("", "info", "warning", "error").index(row.severity), distance


def ends(values: Sequence[float]) -> str:
    """The smallest and the largest finite value, in words."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = (number(min(finite)), number(max(finite))) if finite else ("–", "–")
    return low if low == high else f"{low} to {high}"
