"""Rationals rounded once, and written to bytes and JSON in one canonical way."""

import math
from fractions import Fraction

from onesigma._errors import ScalerFileError

__all__ = [
    "Reader",
    "decode_rational",
    "divide",
    "encode_int",
    "encode_rational",
    "rational_json",
    "read_rational",
    "root",
]

_ROOT_BITS = 130  # the root then has 65 bits: twelve more than a double keeps, so rounding to odd is safe
_EXPONENT_LIMIT = 20_000  # squares of doubles need 2148 binary places, their weights as many again


def divide(numerator: int, denominator: int) -> float:
    """`numerator / denominator` as the nearest double, ±inf beyond the largest; the denominator is positive.

    Example:
        >>> divide(1, 3), divide(10**400, 1)
        (0.3333333333333333, inf)
    """
    try:
        return numerator / denominator  # Python rounds the quotient of two integers correctly, subnormal or not
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf


def root(numerator: int, denominator: int) -> float:
    """`√(numerator / denominator)` as the nearest double; both integers, the denominator positive.

    The integer root keeps 65 bits and its last bit is set where digits were cut off (rounding to odd), so the one
    rounding to a double that follows is correct (Boldo & Melquiond 2008, https://doi.org/10.1109/TC.2007.70819).

    Example:
        >>> root(2, 1), root(1, 10**600)
        (1.4142135623730951, 1e-300)
    """
    half_shift = (_ROOT_BITS - numerator.bit_length() + denominator.bit_length()) // 2
    up, down = max(half_shift, 0), max(-half_shift, 0)
    quotient, cut_off = divmod(numerator << 2 * up, denominator << 2 * down)
    integer = math.isqrt(quotient)
    if cut_off or integer * integer != quotient:
        integer |= 1
    return divide(integer << down, 1 << up)


def _twos(value: Fraction) -> tuple[int, int, int]:
    """The rational as odd · 2^power / divisor with an odd divisor; zero is (0, 0, 1)."""
    if not value:
        return 0, 0, 1
    numerator, denominator = value.numerator, value.denominator
    up = (numerator & -numerator).bit_length() - 1
    down = (denominator & -denominator).bit_length() - 1
    return numerator >> up, up - down, denominator >> down


def encode_int(value: int) -> bytes:
    """An integer as its length (one byte, or 255 and four) and minimal two's complement, little-endian."""
    size = value.bit_length() // 8 + 1 if value else 0
    head = bytes([size]) if size < 255 else b"\xff" + size.to_bytes(4, "little")
    return head + value.to_bytes(size, "little", signed=True)


def encode_rational(value: Fraction) -> bytes:
    """Canonical bytes of a rational: equal rationals, equal bytes."""
    return b"".join(map(encode_int, _twos(value)))


class Reader:
    """Reads what `encode_int` wrote, front to back; a short or overlong input raises `ScalerFileError`.

    Example:
        >>> Reader(encode_int(-300)).integer()
        -300
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise ScalerFileError(
                f"Moments: wanted {size} more bytes at {self._at}, got {len(piece)}; truncated input."
            )
        self._at += size
        return piece

    def integer(self) -> int:
        """The next integer."""
        size = self.take(1)[0]
        if size == 255:
            size = int.from_bytes(self.take(4), "little")
        return int.from_bytes(self.take(size), "little", signed=True)

    def end(self) -> None:
        """Refuse bytes that nobody asked for."""
        if self._at != len(self._data):
            raise ScalerFileError(
                f"Moments: {len(self._data) - self._at} bytes left over at {self._at}; not one record."
            )


def decode_rational(reader: Reader) -> Fraction:
    """The next rational of a `Reader`."""
    return _rational(reader.integer(), reader.integer(), reader.integer())


def _rational(odd: int, power: int, divisor: int) -> Fraction:
    if abs(power) > _EXPONENT_LIMIT or divisor < 1:
        raise ScalerFileError(f"Moments: no rational {odd.bit_length()} bits · 2^{power} / {divisor}; damaged input.")
    return Fraction(odd << max(power, 0), divisor << max(-power, 0))


def rational_json(value: Fraction) -> list[str | int]:
    """`[odd, power]` or `[odd, power, divisor]`: the value is odd · 2^power / divisor; integers as decimal text.

    Example:
        >>> rational_json(Fraction(3, 8)), rational_json(Fraction(1, 10))
        (['3', -3], ['1', -1, '5'])
    """
    odd, power, divisor = _twos(value)
    return [str(odd), power] if divisor == 1 else [str(odd), power, str(divisor)]


def read_rational(value: object) -> Fraction:
    """Inverse of `rational_json`; anything else raises `ScalerFileError`."""
    if isinstance(value, list) and len(value) in (2, 3) and type(value[1]) is int:
        texts = [value[0], value[2] if len(value) == 3 else "1"]
        if all(isinstance(text, str) and len(text) <= 4300 and text.lstrip("-").isdecimal() for text in texts):
            return _rational(int(texts[0]), value[1], int(texts[1]))
    raise ScalerFileError(f"Moments: wanted [integer as text, power of two], got {str(value)[:60]!r}; damaged file.")
