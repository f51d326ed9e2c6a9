"""The exact moments of columns as rows of a file, and back."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from onesigma._errors import ScalerFileError
from onesigma.numbers.columns import Columns
from onesigma.numbers.moments import Moments

__all__ = ["FIELDS", "columns_from_rows", "exact_text", "rows_of_columns"]

FIELDS = ("count", "minimum", "maximum", "total", "squares")
"""What the first five items of a row are; a sixth, a record, holds what is unusual of a column."""

_UNUSUAL: Mapping[str, Any] = {"kind": "number", "nulls": 0, "nans": 0, "pos_infs": 0, "neg_infs": 0, "weight": None}
_COUNTS = ("nulls", "nans", "pos_infs", "neg_infs")
_REAL = re.compile(r"(-?)0x([0-9a-f]{1,4096})p(-?[0-9]{1,5})(?:/0x([0-9a-f]{1,4096}))?")
_MAX_POWER = 20_000  # squares of doubles need 2148 binary places, their weights as many again


def exact_text(value: Fraction) -> str:
    """A rational as `0x<odd>p<power of two>`, with `/0x<divisor>` where one is left.

    Example:
        >>> exact_text(Fraction(-3, 8)), exact_text(Fraction(1, 10)), float.fromhex("-0x3p-3")
        ('-0x3p-3', '0x1p-1/0x5', -0.375)
    """
    if not value:
        return "0x0p0"
    up, odd = _without_twos(value.numerator)
    down, divisor = _without_twos(value.denominator)
    return f"{odd:#x}p{up - down}" + (f"/{divisor:#x}" if divisor > 1 else "")


def rows_of_columns(columns: Columns) -> dict[str, list[Any]]:
    """One row per column: the five `FIELDS`, and a record of what differs from the usual."""
    return {name: _row(moments) for name, moments in columns.items()}


def columns_from_rows(fields: list[Any], rows: Mapping[str, Any]) -> Columns:
    """Inverse of `rows_of_columns`.

    Raises:
        ScalerFileError: A row is malformed, or no column has these moments; the message names the column.
    """
    if fields != list(FIELDS):
        raise ScalerFileError(f"wanted the fields {list(FIELDS)}, got {str(fields)[:200]}.")
    moments = {}
    for name, row in rows.items():
        try:
            name.encode()
            moments[name] = _moments(row)
        except (ScalerFileError, UnicodeEncodeError) as error:
            raise ScalerFileError(f"column {name[:60]!r}: {error}") from None
    return Columns(moments)


def _row(moments: Moments) -> list[Any]:
    weight = None if moments.weight == moments.count else exact_text(moments.weight)
    values = {"kind": moments.kind, "weight": weight} | {name: getattr(moments, name) for name in _COUNTS}
    unusual = {name: values[name] for name, usual in _UNUSUAL.items() if values[name] != usual}
    bounds = [None if bound is None else exact_text(bound) for bound in (moments.low, moments.high)]
    row = [moments.count, *bounds, exact_text(moments.total), exact_text(moments.squares)]
    return [*row, unusual] if unusual else row


def _moments(row: Any) -> Moments:
    if not isinstance(row, list) or len(row) not in (5, 6) or (len(row) == 6 and not isinstance(row[5], dict)):
        raise ScalerFileError("wanted a list of five numbers and perhaps a record of what is unusual.")
    unusual = row[5] if len(row) == 6 else {}
    if not set(unusual) <= set(_UNUSUAL):
        raise ScalerFileError(f"wanted none but {', '.join(_UNUSUAL)} in its record, got {str(list(unusual))[:100]}.")
    values = {**_UNUSUAL, **unusual}
    counts = {"count": row[0], **{name: values[name] for name in _COUNTS}}
    if not all(type(count) is int and 0 <= count < 2**63 for count in counts.values()):
        raise ScalerFileError(f"wanted counts from 0 to 2^63 - 1, got {str(list(counts.values()))[:100]}.")
    if not isinstance(values["kind"], str) or len(values["kind"]) > 100:
        raise ScalerFileError("wanted a short text as its kind.")
    moments = Moments(
        kind=values["kind"],
        **counts,
        low=None if row[1] is None else _real(row[1]),
        high=None if row[2] is None else _real(row[2]),
        weight=Fraction(row[0]) if values["weight"] is None else _real(values["weight"]),
        total=_real(row[3]),
        squares=_real(row[4]),
    )
    if not moments.is_possible():
        raise ScalerFileError("no column has these counts and sums; edited or damaged.")
    return moments


def _real(text: Any) -> Fraction:
    match = _REAL.fullmatch(text) if isinstance(text, str) else None
    if not match or abs(int(match[3])) > _MAX_POWER:
        raise ScalerFileError(f"wanted an exact number such as '0x1b3p-5', got {str(text)[:60]!r}.")
    sign, odd, power, divisor = match.groups()
    if divisor and not int(divisor, 16):
        raise ScalerFileError("wanted an exact number, got a division by zero.")
    value = Fraction(int(odd, 16), int(divisor or "1", 16)) * Fraction(2) ** int(power)
    return -value if sign else value


def _without_twos(integer: int) -> tuple[int, int]:
    """How often two divides an integer, and what is left; not for zero."""
    twos = (integer & -integer).bit_length() - 1
    return twos, integer >> twos
