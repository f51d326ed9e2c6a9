"""Canonical bytes of moments by the many: packed from digits and merged as integers, no rational made on the way."""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce

from onesigma._errors import ScalerFileError
from onesigma.numbers.exact import Reader, encode_int
from onesigma.numbers.kernel import Array
from onesigma.numbers.moments import Moments
from onesigma.numbers.tally import Tally

__all__ = ["Packer", "merged_records", "named_records", "table_bytes"]

_PLACES = 2304
"""Most binary places of the integers that are added: squares of doubles end at 2^−2148; beyond stand `Fraction`s."""

_SMALL = tuple(encode_int(value) for value in range(-128, 128))
_ONE, _ZERO = encode_int(1), encode_int(0) + encode_int(0) + encode_int(1)


class Packer:
    """Gives `Moments.to_bytes` of the columns of a tally.

    Example:
        >>> import numpy as np
        >>> tally = Tally.of([np.array([[1.0], [2.5]])])
        >>> Packer(tally).record(0, kind="number", nulls=0) == Moments.of([1.0, 2.5]).to_bytes()
        True
    """

    __slots__ = ("_bases", "_bias", "_counts", "_ends", "_squares", "_total")

    def __init__(self, tally: Tally) -> None:
        self._bases, self._bias = tally.layout.bases, tally.layout.bias
        self._counts = list(zip(tally.finite.tolist(), tally.nonfinite.tolist(), strict=True))
        self._ends = list(zip(tally.low.tolist(), tally.high.tolist(), strict=True))
        self._total, self._squares = _integers_of(tally.total), _integers_of(tally.squares)

    def record(self, column: int, *, kind: str, nulls: int) -> bytes:
        """Canonical bytes of the moments of a column; the kind and the nulls are not in the tally."""
        count, nonfinite = self._counts[column]
        total, squares, bias = self._total[column], self._squares[column], self._bias
        if bias:  # Σ(x − b) and Σ(x − b)²
            total, squares = total + count * bias, squares + 2 * bias * total + count * bias * bias
        counts = b"".join(map(_encoded, (count, nulls, *nonfinite)))
        ends = b"\x03" + b"".join(_end(end, bias) for end in self._ends[column]) if count else b"\x00"
        sums = _dyadic(count, 0) + _dyadic(total, self._bases[0]) + _dyadic(squares, self._bases[1])
        return _head(kind) + counts + ends + sums


def merged_records(records: Sequence[bytes]) -> bytes:
    """Return the canonical bytes of what the moments merge to whose canonical bytes are given; at least one.

    Raises:
        SourceError: They hold different kinds of numbers.
        ScalerFileError: A record is damaged.

    Example:
        >>> records = [Moments.of([value]).to_bytes() for value in (1.0, 2.5)]
        >>> merged_records(records) == Moments.of([1.0, 2.5]).to_bytes()
        True
    """
    if len(records) == 1:
        return records[0]
    head = records[0][: 3 + records[0][2]]
    rows = [_parsed(record, head) for record in records]
    if None in rows:
        return reduce(Moments.merge, map(Moments.from_bytes, records)).to_bytes()
    counts = [sum(column) for column in zip(*(row[:5] for row in rows if row), strict=True)]
    full = list(zip(*(row[5:] for row in rows if row and row[0]), strict=True))
    sums = [_joined(sum, *full[k : k + 2]) for k in range(6, 15, 3)] if full else [(0, 0)] * 3
    ends = [_joined(min, *full[:2]), _joined(max, *full[3:5])] if full else []
    rationals = b"".join(_dyadic(*rational) for rational in (*ends, *sums))
    return head + b"".join(map(_encoded, counts)) + bytes([3 if full else 0]) + rationals


def table_bytes(names: Sequence[bytes], records: Sequence[bytes]) -> bytes:
    """The bytes of a table of these names and moments."""
    parts = [b"\x01", encode_int(len(names))]
    for pair in zip(names, records, strict=True):
        for piece in pair:
            parts += [encode_int(len(piece)), piece]
    return b"".join(parts)


def named_records(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """The names and the moments of a table, each as bytes; inverse of `table_bytes`.

    Raises:
        ScalerFileError: The bytes are truncated, overlong or of another version.
    """
    reader = Reader(data)
    if reader.take(1) != b"\x01":
        raise ScalerFileError("Columns: these bytes begin with another version; read them with the onesigma of it.")
    pieces = [reader.take(reader.integer()) for _ in range(2 * reader.integer())]
    reader.end()
    return pieces[::2], pieces[1::2]


def _parsed(record: bytes, head: bytes) -> list[int] | None:
    """Return five counts, and three integers for each bound (if any) and sum; None for what needs a `Fraction`.

    So do a record of another kind, one without the bounds that its count asks for, and a damaged one.
    """
    if not record.startswith(head):
        return None
    try:
        counts, at = _integers(record, len(head), 5)
        if record[at] != (3 if counts[0] else 0):
            return None
        parts, at = _integers(record, at + 1, 15 if counts[0] else 9)
    except IndexError:
        return None
    powers = parts[1::3]
    if at != len(record) or parts[2::3].count(1) < len(powers) or min(powers) < -_PLACES or max(powers) > _PLACES:
        return None
    return counts + parts


def _joined(join: Callable[[Iterable[int]], int], odds: Sequence[int], powers: Sequence[int]) -> tuple[int, int]:
    """Return the sum, least or greatest of odd · 2^power as an integer and its power."""
    least = min(powers)
    return join(odd << power - least for odd, power in zip(odds, powers, strict=True)), least


def _integers(data: bytes, at: int, number: int) -> tuple[list[int], int]:
    """Read what `encode_int` wrote, so many times; and where it ends, beyond the data if these are cut off."""
    found = []
    for _ in range(number):
        size = data[at]
        at += 1
        if size == 1:
            found.append((data[at] ^ 0x80) - 0x80)
        elif not size:
            found.append(0)
        else:
            if size == 255:
                size = int.from_bytes(data[at : at + 4], "little")
                at += 4
            found.append(int.from_bytes(data[at : at + size], "little", signed=True))
        at += size
    return found, at


def _integers_of(digits: Array) -> list[int]:
    """Return each row of digits, after `carry`, as one integer."""
    size = 4 * (digits.shape[1] - 1)
    data = digits[:, :-1].astype("<u4").tobytes()
    lower: Iterable[int] = (
        int.from_bytes(data[start : start + size], "little") for start in range(0, size * len(digits), size)
    )
    return [low + (top << 8 * size) for low, top in zip(lower, digits[:, -1].tolist(), strict=True)]


def _head(kind: str) -> bytes:
    name = kind.encode()
    return b"\x01" + encode_int(len(name)) + name


def _end(end: float | int, bias: int) -> bytes:
    top, bottom = end.as_integer_ratio()
    return _dyadic(top + bias, 1 - bottom.bit_length())


def _dyadic(integer: int, power: int) -> bytes:
    """`encode_rational` of integer · 2^power."""
    if not integer:
        return _ZERO
    zeros = (integer & -integer).bit_length() - 1
    return _encoded(integer >> zeros) + _encoded(power + zeros) + _ONE


def _encoded(value: int) -> bytes:
    return _SMALL[value + 128] if -128 <= value < 128 else encode_int(value)
