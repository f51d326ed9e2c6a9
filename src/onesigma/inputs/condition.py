"""What a column's exact moments give away: constant, ruled by a few values, too fine for float32."""

import math
from dataclasses import dataclass

import numpy as np

from onesigma.numbers.columns import Columns
from onesigma.numbers.moments import Moments

__all__ = ["ColumnCondition", "conditions_of"]

_SHARE, _DEVIATIONS = 0.25, 5.0
_FAR_DEVIATIONS = 30.0
_DIGITS_LOST = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnCondition:
    """One column, as a table shows it.

    Attributes:
        name: Of the column.
        count: Finite values.
        missing: Null or NaN.
        infinite: Infinite values, left out.
        minimum: Smallest finite value; NaN if there is none.
        maximum: Largest finite value.
        mean: Correctly rounded.
        std: Correctly rounded, correction 0.
        warnings: What to know before scaling, each in a few words.
    """

    name: str
    count: int
    missing: int
    infinite: int
    minimum: float
    maximum: float
    mean: float
    std: float
    warnings: tuple[str, ...]


def conditions_of(columns: Columns) -> list[ColumnCondition]:
    """Return the condition of every column.

    Example:
        >>> table = Columns.of({"miles": np.array([*range(999), 1e6]), "year": np.full(1000, 2022)})
        >>> for column in conditions_of(table):
        ...     print(column.name, *column.warnings)
        miles ruled by outliers: the largest is 32 std from the mean and makes up 100 % of the variance
        year constant
    """
    return [_condition(name, moments) for name, moments in columns.items()]


def _condition(name: str, moments: Moments) -> ColumnCondition:
    found = (_emptiness(moments), _outliers(moments), _lost_digits(moments), _not_finite(moments))
    return ColumnCondition(
        name=name,
        count=moments.count,
        missing=moments.nulls + moments.nans,
        infinite=moments.pos_infs + moments.neg_infs,
        minimum=_float(moments.minimum),
        maximum=_float(moments.maximum),
        mean=moments.mean,
        std=moments.std(),
        warnings=tuple(warning for warning in found if warning),
    )


def _float(value: object) -> float:
    return math.nan if value is None else float(value)  # type: ignore[arg-type]


def _emptiness(moments: Moments) -> str:
    if not moments.count:
        return "holds no value"
    return "constant" if moments.is_constant else ""


def _outliers(moments: Moments) -> str:
    """A value far out, z = |x − mean| / std, whose share z² / n of the variance is large; or one very far out."""
    if moments.count < 3 or moments.is_constant or has_two_values(moments):
        return ""
    low, high, mean = _float(moments.minimum), _float(moments.maximum), moments.mean
    word, farthest = ("largest", high) if high - mean >= mean - low else ("smallest", low)
    deviations = abs(farthest / moments.std() - mean / moments.std())
    share = min(deviations * deviations / moments.count, 1.0)
    if not (deviations >= _DEVIATIONS and share >= _SHARE) and deviations < _FAR_DEVIATIONS:
        return ""
    part = f" and makes up {100 * share:.0f} % of the variance" if share >= 0.05 else ""
    return f"ruled by outliers: the {word} is {deviations:.0f} std from the mean{part}"


def has_two_values(moments: Moments) -> bool:
    """Return whether every value is the minimum or the maximum: exactly then Σ (x − min)(max − x) = 0.

    Example:
        >>> has_two_values(Moments.of([0.0] * 999 + [1.0])), has_two_values(Moments.of([0.0, 0.5, 1.0]))
        (True, False)
    """
    if moments.low is None or moments.high is None:
        return False
    return (moments.low + moments.high) * moments.total == moments.squares + moments.low * moments.high * moments.weight


def _lost_digits(moments: Moments) -> str:
    """Decimal digits of the spread that rounding to float32 takes: log10 of max|x| / std."""
    if not moments.count:
        return ""
    std, largest = moments.std(), max(abs(_float(moments.minimum)), abs(_float(moments.maximum)))
    if largest > float(np.finfo(np.float32).max):
        return "too large for float32"
    if not std:
        return ""
    lost = math.log10(largest) - math.log10(std)
    if lost < _DIGITS_LOST or _all_exact(moments, largest):
        return ""
    return f"float32 loses {lost:.1f} of 7.2 digits: subtract the mean before casting"


def _all_exact(moments: Moments, largest: float) -> bool:
    # float32 holds integers up to 2^24; sums of x and of x² that are both whole come of fractions by chance alone.
    return largest <= 2**24 and moments.total.denominator == 1 and moments.squares.denominator == 1


def _not_finite(moments: Moments) -> str:
    count = moments.pos_infs + moments.neg_infs
    return f"{count} infinite values left out" if count else ""
