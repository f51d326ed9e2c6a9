"""The style of a delimited file, told from its first bytes."""

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise

from onesigma._errors import SourceError

__all__ = ["Style", "sniff"]

_DELIMITERS = ",;\t|"
_LINES = 50
_COMMA_NUMBER = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one delimited file is written.

    Attributes:
        names: Columns, from the header; x0, x1, … where there is none.
        delimiter: Between two values.
        encoding: Of the text.
        skip_lines: Lines before the first row: comments and the header.
        comma: The decimal mark is a comma.
        quoted_newlines: Quoted values may hold line breaks.
    """

    names: tuple[str, ...]
    delimiter: str
    encoding: str
    skip_lines: int
    comma: bool
    quoted_newlines: bool


def sniff(head: bytes, *, name: str) -> Style:
    """Return the style of the file that begins with these bytes.

    Raises:
        SourceError: It is empty, or not text.

    Example:
        >>> style = sniff(b"age;height\\n40;1,85\\n", name="people.csv")
        >>> style.names, style.delimiter, style.comma
        (('age', 'height'), ';', True)
    """
    text, encoding = _decode(head, name=name)
    lines = re.split(r"\r\n|\n|\r", text)[: 4 * _LINES]
    comments = next((index for index, line in enumerate(lines) if line.strip() and line[:1] != "#"), len(lines))
    if comments == len(lines):
        raise SourceError(f"{name}: the file is empty; a table with a header line is wanted.")
    body = "\n".join(lines[comments:])
    delimiter = _delimiter(lines[comments : comments + _LINES])
    header, header_lines, rows = _records(body, delimiter, name=name)
    commented = lines[comments - 1].lstrip("# ") if comments else ""
    if _is_header(header, rows):
        names, skip = header, comments + header_lines
    elif len(titles := next(csv.reader([commented], delimiter=delimiter), [])) == len(header):
        names, skip = titles, comments  # NumPy's savetxt writes the header as a comment
    else:
        names, skip = [f"x{index}" for index in range(len(header))], comments
    return Style(
        names=tuple(title.strip() or f"column_{index}" for index, title in enumerate(names)),
        delimiter=delimiter,
        encoding=encoding,
        skip_lines=skip,
        comma=delimiter != "," and _has_decimal_commas(rows),
        quoted_newlines='"' in text,
    )


def _decode(head: bytes, *, name: str) -> tuple[str, str]:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return head[: len(head) // 2 * 2].decode("utf-16", errors="replace").lstrip("\ufeff"), "utf-16"
    if b"\0" in head:
        raise SourceError(f"{name}: the file is binary, not text; name it by its format (.parquet, .arrow, .npy).")
    try:
        # Not final: the head may end inside a character.
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head), "utf8"
    except UnicodeDecodeError:
        return head.decode("latin-1"), "latin-1"  # Every byte is a character; digits are the same in both.


def _records(body: str, delimiter: str, *, name: str) -> tuple[list[str], int, list[list[str]]]:
    """Return the first record, how many lines it takes, and some records after it."""
    reader = csv.reader(StringIO(body), delimiter=delimiter)
    try:
        header = next(reader, [])
        header_lines = reader.line_num
        return header, header_lines, [row for row, _ in zip(reader, range(_LINES), strict=False) if row]
    except csv.Error as error:
        raise SourceError(f"{name}: cannot be read as a table of text: {error}; is a quote left open?") from None


def _delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter that splits the first lines into the most values, each line alike."""

    def score(delimiter: str) -> tuple[bool, int]:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:  # A whole long line as one value: not this one.
            return False, 0
        header = widths[0] if widths else 0
        alike = sum(width == header for width in widths) >= 0.9 * len(widths)
        return header > 1 and alike, header

    return max(_DELIMITERS, key=score)


def _is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """A first line of nothing but numbers is a row, unless every row below it holds text."""
    return not all(_NUMBER.fullmatch(cell.strip()) for cell in first) or _years(first, rows)


def _years(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    # A table by year: its header counts up by one, its rows do not.
    if len(first) < 3 or not all(cell.strip().isdigit() for cell in first):
        return False

    def counts_up(cells: Sequence[str]) -> bool:
        values = [int(cell) for cell in cells if cell.strip().isdigit()]
        return len(values) == len(first) and all(b - a == 1 for a, b in pairwise(values))

    return counts_up(first) and bool(rows) and not any(counts_up(row) for row in rows)


def _has_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    cells = [cell.strip() for row in rows for cell in row]
    return any(_COMMA_NUMBER.fullmatch(cell) for cell in cells) and not any(
        re.fullmatch(r"[+-]?\d*\.\d+", cell) for cell in cells
    )
