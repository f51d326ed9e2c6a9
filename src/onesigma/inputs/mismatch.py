"""Where a column lies against where statistics say it lies, and the likeliest cause if that differs."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from scipy.special import chdtri

__all__ = ["Cause", "Expected", "Mismatch", "Place", "judge"]

Cause: TypeAlias = Literal[
    "mean-off", "scale-off", "not-applied", "applied-already", "applied-twice", "unit-off", "missing-column",
    "was-constant", "mean-of-stds",
]  # fmt: skip

_MEAN_LIMIT = 0.5  # in std of the statistics
_SCALE_LIMIT = 2.0
_DOUBT = 5.0  # standard errors of a mean
_CHANCE = 1e-6  # that chance alone takes a std of normal values beyond its limit
_UNITS = (255.0, 10.0, 100.0, 1000.0, 1e6, 60.0, 3600.0)
_UNIT_TOLERANCE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One column that the statistics do not fit.

    Attributes:
        column: Its name in the data.
        cause: What is wrong, as far as the numbers tell.
        value: How far: standardized mean, or ratio of stds.
        limit: What that may be.
        message: One sentence with the numbers and what to do.
    """

    column: str
    cause: Cause
    value: float
    limit: float
    message: str


class Place(NamedTuple):
    """Where a column lies: mean and std, or median and quantile range."""

    mean: float
    std: float

    def fits(self, found: "Place", limits: "_Limits") -> bool:
        """Return whether data found there are within the limits of this place."""
        if not self.std:
            return not found.std and found.mean == self.mean
        near = abs(found.mean - self.mean) <= limits.mean * self.std
        return near and limits.shrunk <= found.std / self.std <= limits.grown


class _Limits(NamedTuple):
    """Allowed distances, widened for few rows: n values leave 1/√n of doubt about a mean, √(χ²/n) about a std."""

    mean: float
    shrunk: float
    grown: float

    @classmethod
    def of(cls, count: int) -> "_Limits":
        if count < 2:
            return cls(_MEAN_LIMIT + _DOUBT, 0.0, math.inf)
        spread = [math.sqrt(float(chdtri(count - 1, share)) / count) for share in (1 - _CHANCE, _CHANCE)]
        return cls(_MEAN_LIMIT + _DOUBT / math.sqrt(count), spread[0] / _SCALE_LIMIT, spread[1] * _SCALE_LIMIT)


class Expected(NamedTuple):
    """What statistics say of one column: raw, after they are applied once, and twice."""

    raw: Place
    once: Place
    twice: Place
    mean_of_stds: bool = False


def judge(name: str, expected: Expected, found: Place, *, count: int, applied: bool) -> Mismatch | None:
    """Return what is wrong with a column of `count` values, or None.

    Args:
        name: Of the column.
        expected: By the statistics.
        found: In the data.
        count: Finite values there.
        applied: Whether the statistics should have been applied to the data already.
    """
    limits = _Limits.of(count)
    wanted = expected.once if applied else expected.raw
    if not count or wanted.fits(found, limits):
        return _folklore(name, expected, found, count=count) if count and not applied else None
    off = abs(found.mean - wanted.mean) / wanted.std if wanted.std else math.inf
    ratio = found.std / wanted.std if wanted.std else math.inf
    by_mean = off > limits.mean
    told = f"mean {found.mean:.4g}, std {found.std:.4g} against {wanted.mean:.4g}, {wanted.std:.4g}"
    shared = _explained(expected, found, limits, applied=applied) or _unit(wanted, found)
    cause, words = shared or _distance(wanted, off if by_mean else ratio, by_mean=by_mean)
    by_scale = (ratio, limits.shrunk if ratio < 1 else limits.grown)
    value, limit = (off, limits.mean) if by_mean else by_scale
    return Mismatch(column=name, cause=cause, value=value, limit=limit, message=f"{name!r} {words} ({told}).")


def _explained(expected: Expected, found: Place, limits: _Limits, *, applied: bool) -> tuple[Cause, str] | None:
    """An explanation of mean and std together: the data are a step before or behind where they should be."""
    if applied and expected.raw.fits(found, limits):
        return "not-applied", "is raw, the statistics were not applied: apply them before the model"
    if applied and expected.twice.fits(found, limits):
        return "applied-twice", "was scaled twice: apply the statistics once"
    if not applied and expected.once.fits(found, limits):
        return "applied-already", "is scaled already: do not apply the statistics again"
    return None


def _unit(wanted: Place, found: Place) -> tuple[Cause, str] | None:
    """An explanation by another unit: mean and std differ by one factor that is common between units."""
    if not wanted.std:
        return None
    size = max(abs(wanted.mean), wanted.std)
    for factor in _UNITS:
        for ratio, times in ((factor, f"{factor:g} times"), (1 / factor, f"1/{factor:g}")):
            std_fits = abs(found.std / wanted.std / ratio - 1) < _UNIT_TOLERANCE
            if std_fits and abs(found.mean / ratio - wanted.mean) < _UNIT_TOLERANCE * size:
                return "unit-off", f"is about {times} as large as the statistics say: convert its unit"
    return None


def _distance(wanted: Place, value: float, *, by_mean: bool) -> tuple[Cause, str]:
    if not wanted.std:
        return "was-constant", "was constant when the statistics were taken and is not so here: fit them anew"
    if by_mean:
        return "mean-off", f"has a mean {value:.2g} std from that of the statistics: fit them to this data"
    return "scale-off", f"has {value:.2g} times the std of the statistics: fit them to this data"


def _folklore(name: str, expected: Expected, found: Place, *, count: int) -> Mismatch | None:
    """The stds of some constants are means of the images' own stds: within the limits, but known to be too small."""
    ratio = found.std / expected.raw.std if expected.raw.std else 1.0
    limit = 1.05 + 3 / math.sqrt(2 * count)
    if not expected.mean_of_stds or ratio < limit:
        return None
    message = (
        f"{name!r}: {expected.raw.std} is the mean of the images' own stds; the std over all pixels is "
        f"{found.std:.4f}, so inputs come out with std {ratio:.2f}."
    )
    return Mismatch(column=name, cause="mean-of-stds", value=ratio, limit=limit, message=message)
