"""Text to numbers, a whole Arrow column at a time: exact integers, doubles, or exact decimals."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["MISSING", "first_not_a_number", "numbers"]

MISSING = ("", "?", "-", ".", "NA", "N/A", "#N/A", "n/a", "na", "NaN", "nan", "NAN", "NULL", "null", "None", "none")
"""Words for a missing value, as pandas, R, spreadsheets and the UCI files write them."""

_GROUPED = r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$"
_MAX_DIGITS = 38


def numbers(text: pa.Array, *, decimal: bool = False, comma: bool = False) -> pa.Array | None:
    """Return the text as int64, bool, float64 or decimal128; None if some value is not a number.

    Args:
        text: Strings; null is missing, and so are the words in `MISSING`.
        decimal: Decimals instead of doubles: `0.1` stays one tenth.
        comma: The decimal mark is a comma, and dots group digits.

    Example:
        >>> numbers(pa.array(["1", None, "?"])).to_pylist()
        [1, None, None]
        >>> numbers(pa.array(["1,234.5", " 2 "])).to_pylist()
        [1234.5, 2.0]
        >>> numbers(pa.array(["0.1", "12"]), decimal=True).to_pylist()
        [Decimal('0.1'), Decimal('12.0')]
        >>> numbers(pa.array(["red", "1"])) is None
        True
    """
    if text.null_count == len(text):
        return pa.nulls(len(text), pa.float64())
    casts = _EXACT_CASTS if decimal else _CASTS
    if not comma and (found := _first(casts, text)) is not None:
        return found
    plain = _plain(text, comma=comma)
    if plain.null_count == len(plain):
        return pa.nulls(len(plain), pa.float64())
    found = _first(casts, plain)
    return found if found is not None else _cast(plain, pa.bool_())


def first_not_a_number(text: pa.Array, *, comma: bool = False) -> tuple[int, str]:
    """Return position and value of the first text that is not a number, for a message.

    Example:
        >>> first_not_a_number(pa.array(["1", None, "2.5", "many", "few"]))
        (3, 'many')
    """
    start, stop = 0, len(text)
    while stop - start > 1:  # Everything before `start` is numbers; text[start:stop] is not.
        middle = (start + stop) // 2
        if numbers(text[start:middle], comma=comma) is None:
            stop = middle
        else:
            start = middle
    return start, str(text[start].as_py())


def _first(casts: tuple[Callable[[pa.Array], pa.Array | None], ...], text: pa.Array) -> pa.Array | None:
    return next((found for cast in casts if (found := cast(text)) is not None), None)


def _cast(text: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        return None


def _to_int64(text: pa.Array) -> pa.Array | None:
    found = _cast(text, pa.int64())
    # Arrow reads 0x1F as an integer; a table of numbers in decimal does not mean that.
    return None if found is not None and pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py() else found


def _to_float64(text: pa.Array) -> pa.Array | None:
    return _cast(text, pa.float64())


def _to_decimal(text: pa.Array) -> pa.Array | None:
    """Return decimals with as many places as the longest fraction, or None where 38 digits do not hold them all."""
    point = pc.find_substring(text, ".")
    places = pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.subtract(pc.binary_length(text), point), 1))
    scale = pc.max(places).as_py() or 0
    found = _cast(text, pa.decimal128(_MAX_DIGITS, scale)) if scale <= _MAX_DIGITS else None
    return found if found is not None else _to_decimal_slowly(text)


def _to_decimal_slowly(text: pa.Array) -> pa.Array | None:
    # Exponents: 1e-3 has three places though its text has none.
    try:
        values = [None if value is None else Decimal(value) for value in text.to_pylist()]
        scale = max((-value.as_tuple().exponent for value in values if value is not None), default=0)  # type: ignore[operator]
        return pa.array(values, pa.decimal128(_MAX_DIGITS, max(scale, 0)))
    except (InvalidOperation, TypeError, ValueError, pa.ArrowInvalid):
        return None


_CASTS = (_to_int64, _to_float64)
_EXACT_CASTS = (_to_decimal,)


def _plain(text: pa.Array, *, comma: bool) -> pa.Array:
    """Return the text in the one spelling that Arrow reads: no blanks, no grouping, a dot, no leading plus."""
    text = pc.utf8_trim_whitespace(text)
    text = pc.if_else(pc.is_in(text, value_set=pa.array(MISSING)), pa.scalar(None, text.type), text)
    if comma:
        text = pc.replace_substring(pc.replace_substring(text, ".", ""), ",", ".")
    elif pc.any(pc.match_substring(text, ",")).as_py():
        grouped = pc.match_substring_regex(text, _GROUPED)
        text = pc.if_else(grouped, pc.replace_substring(text, ",", ""), text)
    return pc.replace_substring_regex(text, r"^\+(\d|\.)", r"\1")
