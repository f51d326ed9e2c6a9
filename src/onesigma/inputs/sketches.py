"""Quantiles of columns that merge: KLL sketches of Apache DataSketches, the one file that knows them."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from onesigma._errors import ConfigError, ScalerFileError, SourceError

__all__ = ["Quantiles", "Sketches", "rank_error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """A sketch of the finite values of one column, and counts of the others.

    Attributes:
        sketch: A KLL sketch of doubles, serialized, so that it can be hashed, pickled and never changed.
        nans: NaN and missing values.
        infs: Infinite values.
    """

    sketch: bytes
    nans: int = 0
    infs: int = 0

    @classmethod
    def of(cls, values: npt.NDArray[Any], *, size: int) -> Self:
        """The sketch of some values (N,)."""
        sketch = _kll()(size)
        finite = values[np.isfinite(values)]
        sketch.update(np.ascontiguousarray(finite, dtype=np.float64))
        nans = int(np.isnan(values).sum())
        return cls(sketch=sketch.serialize(), nans=nans, infs=len(values) - len(finite) - nans)

    @property
    def num_rows(self) -> int:
        """Values that were seen, whatever they are."""
        return int(self._opened().n) + self.nans + self.infs

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value, exact; NaN of nothing."""
        sketch = self._opened()
        if not sketch.n:
            return float("nan"), float("nan")
        return float(sketch.get_min_value()), float(sketch.get_max_value())

    def merge(self, other: Self) -> Self:
        """The sketch of both columns' values."""
        merged = self._opened()
        merged.merge(other._opened())
        return type(self)(sketch=merged.serialize(), nans=self.nans + other.nans, infs=self.infs + other.infs)

    def quantile(self, share: float) -> float:
        """The value below which this share lies, linear between neighbors as `numpy.quantile`; NaN of nothing."""
        sketch = self._opened()
        count = sketch.n
        if not count:
            return float("nan")
        place = (count - 1) * share
        below = min(int(place), max(count - 2, 0))
        # Half a rank beyond a value names it without doubt.
        ranks = [(below + 0.5) / count, (min(below + 1, count - 1) + 0.5) / count]
        low, high = sketch.get_quantiles(ranks, True)
        return float(low + (high - low) * (place - below))

    def _opened(self) -> Any:
        return _kll().deserialize(self.sketch)


class Sketches(Mapping[str, Quantiles]):
    """The `Quantiles` of every column of a table, in order, by name.

    Not exact and not deterministic: a full sketch drops every other value by the toss of a coin. Up to `size` values a
    column is held complete; beyond, two fits differ, and so do their bytes, within the rank error.
    """

    def __init__(self, columns: Mapping[str, Quantiles]) -> None:
        self._columns = dict(columns)

    @classmethod
    def of(cls, table: Any, names: Iterable[str], *, size: int) -> Self:
        """The sketches of a table (N, F), dense or sparse."""
        return cls(
            {name: Quantiles.of(_column(table, index), size=size) for index, name in enumerate(names)},
        )

    def merge(self, other: Self) -> Self:
        """The sketches of both tables' rows.

        Raises:
            SourceError: The columns have other names.
        """
        if set(self) != set(other):
            raise SourceError(f"merge: wanted the columns {list(self)}, got {list(other)}; merge scalers of one table.")
        return type(self)({name: column.merge(other[name]) for name, column in self.items()})

    def select(self, names: Iterable[str]) -> Self:
        """The named columns, in that order.

        Raises:
            SourceError: A name is none of the columns.
        """
        chosen = list(names)
        unknown = [name for name in chosen if name not in self]
        if unknown:
            raise SourceError(f"select: wanted some of the columns {list(self)}, got {unknown}.")
        return type(self)({name: self[name] for name in chosen})

    @property
    def fingerprint(self) -> str:
        """128 bits of the SHA-256 over names and sketches."""
        return hashlib.sha256(repr(list(self.rows().items())).encode()).hexdigest()[:32]

    def rows(self) -> dict[str, list[Any]]:
        """Per column: NaNs, infinities and the sketch in base64."""
        return {
            name: [column.nans, column.infs, base64.b64encode(column.sketch).decode()] for name, column in self.items()
        }

    @classmethod
    def from_rows(cls, rows: Mapping[str, Any]) -> Self:
        """Inverse of `rows`.

        Raises:
            ScalerFileError: A row is malformed; the message names the column.
        """
        columns = {}
        for name, row in rows.items():
            try:
                nans, infs, text = row
                column = Quantiles(sketch=base64.b64decode(text, validate=True), nans=nans, infs=infs)
                column.bounds  # noqa: B018  (opens the sketch)
                if not all(type(count) is int and 0 <= count < 2**63 for count in (nans, infs)):
                    raise ValueError(f"counts {nans!r} and {infs!r}")
            except (ValueError, TypeError, RuntimeError, IndexError, MemoryError) as error:
                raise ScalerFileError(f"column {name[:60]!r}: wanted two counts and a sketch, got {error}.") from None
            columns[name] = column
        return cls(columns)

    def __getitem__(self, name: str) -> Quantiles:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def rank_error(size: int) -> float:
    """The error of a rank, as a share of all values, that a sketch of this size keeps below with 99 % probability."""
    return float(_kll().get_normalized_rank_error(size, False))


def _column(table: Any, index: int) -> npt.NDArray[Any]:
    column = table[:, [index]].toarray()[:, 0] if hasattr(table, "toarray") else table[:, index]
    return np.asarray(column, dtype=np.float64)


def _kll() -> Any:
    try:
        import datasketches  # optional, and this is its room
    except ImportError:
        raise ConfigError("RobustScaler needs the package datasketches; pip install 'onesigma[sketches]'.") from None
    return datasketches.kll_doubles_sketch
