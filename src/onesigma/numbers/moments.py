"""Law 1 for one column: exact moments that are `zero`, `of` a batch, or `merge`d, and rounded once, when read."""

import hashlib
import math
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Self

from onesigma._errors import ScalerFileError, SourceError
from onesigma.numbers.arrays import Flat, flatten
from onesigma.numbers.exact import (
    Reader,
    decode_rational,
    divide,
    encode_int,
    encode_rational,
    rational_json,
    read_rational,
    root,
)
from onesigma.numbers.sums import Sums, sums_of

__all__ = ["Moments"]

_COUNTS = ("count", "nulls", "nans", "pos_infs", "neg_infs")
_RATIONALS = ("low", "high", "weight", "total", "squares")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Exact count, bounds, sum and sum of squares of one column.

    With finite values x and weights w (1 where none are given): `weight` = Σ w, `total` = Σ w·x, `squares` = Σ w·x²,
    all exact rationals, so `merge` is associative and commutative with `zero()` as its neutral element, and any split
    of the data, in any order, gives the same state and the same bytes. Null, NaN and infinite values are counted, and
    are in no sum. −0.0 is 0. Integer weights mean "so many times": `of(x, weights=w) == of(repeat(x, w))`. Float
    weights are taken as the exact doubles that they are; `count` then counts the values of weight above zero.

    Attributes:
        kind: What the numbers are: "number" (integers and floats, which merge exactly), "bool", "decimal(s)",
            "date" (days), "timestamp[u]" or "timestamp[u, zone]", "duration[u]", "time[u]" with u one of s, ms, us, ns,
            in units of u since 1970, or "any" where nothing typed was seen. "any" and decimals of other scales
            merge; all else refuses.
        count: Finite values.
        nulls: Missing values.
        nans: Values that are NaN.
        pos_infs: Values that are +inf.
        neg_infs: Values that are −inf.
        low: Exact minimum of the finite values; None if there are none or an `unmerge` may have removed it.
        high: Exact maximum, likewise.
        weight: Σ w.
        total: Σ w·x.
        squares: Σ w·x².

    Example:
        >>> left, right = Moments.of([1.0, 2.0, None]), Moments.of([3.0, float("nan")])
        >>> both = left + right
        >>> both.count, both.nulls, both.nans, both.mean, both.variance(), both.maximum
        (3, 1, 1, 2.0, 0.6666666666666666, 3.0)
        >>> both == right + left, (both - right).mean
        (True, 1.5)
    """

    kind: str = "any"
    count: int = 0
    nulls: int = 0
    nans: int = 0
    pos_infs: int = 0
    neg_infs: int = 0
    low: Fraction | None = None
    high: Fraction | None = None
    weight: Fraction = Fraction(0)
    total: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)

    @classmethod
    def zero(cls) -> Self:
        """The moments of nothing: `zero().merge(m) == m`."""
        return cls()

    @classmethod
    def of(cls, values: Any, *, weights: Any = None) -> Self:
        """The moments of one column.

        Args:
            values: 1-D NumPy array, Arrow array or chunked array, tensor on any device, or a sequence of int, float,
                `Decimal`, `Fraction`, bool and None (null).
            weights: As many non-negative numbers; see the class. Weight zero is as if the row were absent.

        Raises:
            SourceError: The column holds text or another type that is no number, or the weights do not fit.

        Example:
            >>> from decimal import Decimal
            >>> Moments.of([Decimal("0.1"), Decimal("0.3")]).mean
            0.2
        """
        return cls.of_flat(flatten(values, weights=weights))

    @classmethod
    def of_flat(cls, flat: Flat) -> Self:
        """The moments of a flat column."""
        return cls.of_sums(sums_of(flat), kind=flat.kind, nulls=flat.nulls)

    @classmethod
    def of_sums(cls, sums: Sums, *, kind: str, nulls: int) -> Self:
        """The moments that these sums stand for."""
        return cls(kind=kind, nulls=nulls, **{field.name: getattr(sums, field.name) for field in fields(sums)})

    def merge(self, other: Self) -> Self:
        """The moments of both columns' values together; exact, commutative and associative.

        Raises:
            SourceError: The columns hold different kinds of numbers, such as dates and decimals.
        """
        return replace(
            self,
            kind=_joined_kind(self.kind, other.kind),
            **{name: getattr(self, name) + getattr(other, name) for name in (*_COUNTS, "weight", "total", "squares")},
            low=_joined_bound(self, other, "low"),
            high=_joined_bound(self, other, "high"),
        )

    def unmerge(self, other: Self) -> Self:
        """The moments without those of `other`, which were merged before: k folds from one scan.

        Counts and sums are exact. A bound is known afterwards where `other` lies strictly inside it, otherwise None.

        Raises:
            SourceError: What remains is impossible, so `other` was never merged into this.

        Example:
            >>> folds = [Moments.of([1, 2]), Moments.of([4, 6])]
            >>> sum(folds, Moments.zero()).unmerge(folds[0]).mean
            5.0
        """
        if _joined_kind(self.kind, other.kind) != self.kind:
            raise SourceError(f"unmerge: {other.kind} was never merged into {self.kind}.")
        names = (*_COUNTS, "weight", "total", "squares")
        left = {name: getattr(self, name) - getattr(other, name) for name in names}
        rest = replace(self, **left, low=None, high=None)
        if left["count"]:
            rest = replace(rest, low=_bound_without(self, other, "low"), high=_bound_without(self, other, "high"))
        outside = other.count and (_outside(self, other) or (not left["count"] and not _same_bounds(self, other)))
        if outside or not rest.is_possible():
            raise SourceError("unmerge: what remains is impossible; only moments that were merged can be taken away.")
        return rest

    def __add__(self, other: Self) -> Self:
        """See `merge`."""
        return self.merge(other)

    def __sub__(self, other: Self) -> Self:
        """See `unmerge`."""
        return self.unmerge(other)

    @property
    def minimum(self) -> float | int | Decimal | None:
        """Smallest finite value: a float where a double holds it, an integer or `Decimal` where none does; or None."""
        return _readable(self.low, self.kind)

    @property
    def maximum(self) -> float | int | Decimal | None:
        """Largest finite value; see `minimum`."""
        return _readable(self.high, self.kind)

    @property
    def mean_fraction(self) -> Fraction | None:
        """The exact mean Σ w·x / Σ w, or None of nothing."""
        return self.total / self.weight if self.weight else None

    def variance_fraction(self, correction: float = 0) -> Fraction | None:
        """The exact variance (Σ w·x² − (Σ w·x)² / Σ w) / (Σ w − correction); None unless Σ w > correction."""
        numerator, denominator = self._variance_ratio(correction)
        return Fraction(numerator, denominator) if denominator > 0 else None

    @property
    def mean(self) -> float:
        """The mean as the nearest double; NaN of nothing."""
        if not self.weight:
            return math.nan
        return divide(*_ratio(self.total, self.weight))

    @property
    def mean_parts(self) -> tuple[float, float]:
        """The mean as high + low: the nearest double, and the nearest double to what that leaves."""
        exact, high = self.mean_fraction, self.mean
        if exact is None:
            return math.nan, math.nan
        return high, float(exact - Fraction(high))

    def variance(self, correction: float = 0) -> float:
        """The variance as the nearest double, divided by Σ w − correction; NaN unless that is above zero.

        Example:
            >>> Moments.of([1e8, 1e8 + 1]).variance(), Moments.of([1e8, 1e8 + 1]).variance(correction=1)
            (0.25, 0.5)
        """
        numerator, denominator = self._variance_ratio(correction)
        return divide(numerator, denominator) if denominator > 0 else math.nan

    def std(self, correction: float = 0) -> float:
        """The square root of the exact variance as the nearest double: right where the variance over- or underflows.

        Example:
            >>> Moments.of([1e200, 3e200]).std(), Moments.of([5e-324, 0.0]).std()
            (1e+200, 0.0)
        """
        numerator, denominator = self._variance_ratio(correction)
        return root(numerator, denominator) if denominator > 0 else math.nan

    @property
    def is_constant(self) -> bool:
        """Whether there are finite values and all are equal: the variance is exactly zero."""
        return self.count > 0 and self.weight * self.squares == self.total * self.total

    def _variance_ratio(self, correction: float) -> tuple[int, int]:
        """Unreduced numerator and denominator of the variance; a denominator ≤ 0 where there is none."""
        degrees = self.weight - Fraction(correction)
        if degrees <= 0 or not self.weight:
            return 0, 0
        return _ratio(self.weight * self.squares - self.total * self.total, self.weight * degrees)

    def is_possible(self) -> bool:
        """Whether some column could have these moments; false only for damaged or wrongly unmerged ones."""
        if min(getattr(self, name) for name in _COUNTS) < 0 or (self.count > 0) != (self.weight > 0):
            return False
        if self.weight * self.squares < self.total * self.total or (not self.count and (self.total or self.squares)):
            return False
        if not self.count:
            return self.low is None and self.high is None
        low_fits = self.low is None or self.low * self.weight <= self.total
        return low_fits and (self.high is None or self.total <= self.high * self.weight)

    def to_bytes(self) -> bytes:
        """Canonical bytes: equal states, equal bytes; some 80 of them for an ordinary column."""
        kind = self.kind.encode()
        counts = b"".join(encode_int(getattr(self, name)) for name in _COUNTS)
        known = bytes([(self.low is not None) + 2 * (self.high is not None)])
        rationals = [getattr(self, name) for name in _RATIONALS]
        return (
            b"\x01"
            + encode_int(len(kind))
            + kind
            + counts
            + known
            + b"".join(encode_rational(value) for value in rationals if value is not None)
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`.

        Raises:
            ScalerFileError: The bytes are truncated, overlong or describe no possible column.
        """
        reader = Reader(data)
        if reader.take(1) != b"\x01":
            raise ScalerFileError("Moments: these bytes begin with another version; read them with the onesigma of it.")
        kind = reader.take(reader.integer()).decode(errors="replace")
        state: dict[str, Any] = {name: reader.integer() for name in _COUNTS}
        known = reader.take(1)[0]
        skipped = {name for name, bit in (("low", 1), ("high", 2)) if not known & bit}
        state |= {name: decode_rational(reader) for name in _RATIONALS if name not in skipped}
        reader.end()
        return cls(kind=kind, **state)._checked()

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values; rationals as `[odd integer as text, power of two]`, a third item divides.

        Example:
            >>> Moments.of([0.5, 0.25]).to_json()["total"]
            ['3', -2]
        """
        rationals = {name: getattr(self, name) for name in _RATIONALS}
        counts = {name: getattr(self, name) for name in _COUNTS}
        return (
            {"kind": self.kind}
            | counts
            | {name: None if value is None else rational_json(value) for name, value in rationals.items()}
        )

    @classmethod
    def from_json(cls, record: Any) -> Self:
        """Inverse of `to_json`.

        Raises:
            ScalerFileError: A field is missing, unknown or of a wrong type, or no column has these moments.
        """
        if not isinstance(record, dict) or set(record) != {"kind", *_COUNTS, *_RATIONALS}:
            raise ScalerFileError("Moments: wanted a record of kind, counts and sums; damaged file.")
        if not isinstance(record["kind"], str) or not all(type(record[name]) is int for name in _COUNTS):
            raise ScalerFileError("Moments: wanted a text `kind` and integer counts; damaged file.")
        rationals = {name: read_rational(record[name]) for name in _RATIONALS if record[name] is not None}
        return cls(**record | {"low": None, "high": None} | rationals)._checked()

    @property
    def fingerprint(self) -> str:
        """128 bits of the SHA-256 of the canonical bytes, in hexadecimal: one for one state."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:32]

    def _checked(self) -> Self:
        if not self.is_possible():
            raise ScalerFileError("Moments: no column has these counts and sums; the record was edited or damaged.")
        return self


def _ratio(left: Fraction, right: Fraction) -> tuple[int, int]:
    """left / right as integers, unreduced: a greatest common divisor costs more than the division it saves."""
    return left.numerator * right.denominator, left.denominator * right.numerator


def _joined_kind(left: str, right: str) -> str:
    if left == right or right == "any":
        return left
    if left == "any":
        return right
    if left.startswith("decimal(") and right.startswith("decimal("):
        return max(left, right, key=lambda kind: int(kind[8:-1]))
    raise SourceError(f"merge: {left} and {right} do not add up; convert one column to the type of the other.")


def _joined_bound(left: Moments, right: Moments, name: str) -> Fraction | None:
    bounds: list[Fraction | None] = [getattr(part, name) for part in (left, right) if part.count]
    known = [bound for bound in bounds if bound is not None]
    if not known or len(known) < len(bounds):
        return None
    return min(known) if name == "low" else max(known)


def _bound_without(whole: Moments, part: Moments, name: str) -> Fraction | None:
    """A bound of the whole survives where the part lies strictly inside it."""
    mine: Fraction | None = getattr(whole, name)
    theirs: Fraction | None = getattr(part, name)
    return mine if not part.count or (theirs is not None and theirs != mine) else None


def _outside(whole: Moments, part: Moments) -> bool:
    too_low = whole.low is not None and part.low is not None and part.low < whole.low
    return too_low or (whole.high is not None and part.high is not None and part.high > whole.high)


def _same_bounds(whole: Moments, part: Moments) -> bool:
    pairs = ((whole.low, part.low), (whole.high, part.high))
    return all(mine == theirs for mine, theirs in pairs if mine is not None and theirs is not None)


def _readable(value: Fraction | None, kind: str) -> float | int | Decimal | None:
    if value is None:
        return None
    if kind.startswith("decimal("):
        scale = int(kind[8:-1])
        integer = int(value * 10**scale)
        return Decimal((int(integer < 0), tuple(map(int, str(abs(integer)))), -scale))
    if kind not in ("number", "any"):
        return int(value)
    nearest = divide(value.numerator, value.denominator)
    return nearest if math.isfinite(nearest) and nearest == value else int(value)
