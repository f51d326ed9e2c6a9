"""Law 1 for a table: the moments of all its columns, one summary per batch."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from onesigma._errors import ScalerFileError, SourceError
from onesigma.numbers.arrays import tensor_array
from onesigma.numbers.exact import Reader, encode_int
from onesigma.numbers.moments import Moments

__all__ = ["Columns"]


class Columns(Mapping[str, Moments]):
    """The `Moments` of every column of a table, in order, by name: `zero`, `of` a batch, or `merge`d.

    Immutable. Columns are matched by name; two summaries merge when they have the same names, in any order (the left
    one's order stays).

    Example:
        >>> batches = [{"x": np.array([1.0, 2.0])}, {"x": np.array([6.0])}]
        >>> merged = Columns.of(batches[0]) + Columns.of(batches[1])
        >>> merged["x"].mean, list(merged)
        (3.0, ['x'])
    """

    __slots__ = ("_moments",)

    def __init__(self, moments: Mapping[str, Moments]) -> None:
        self._moments = dict(moments)

    @classmethod
    def zero(cls, names: Iterable[str]) -> Self:
        """The moments of a table without rows."""
        return cls({name: Moments.zero() for name in names})

    @classmethod
    def of(cls, table: Any, names: Iterable[str] | None = None, *, weights: Any = None) -> Self:
        """The moments of a batch.

        Args:
            table: 2-D NumPy array or tensor (rows × columns; any device), pyarrow `RecordBatch` or `Table`, a mapping
                of names to columns (each as in `Moments.of`), or an object with the Arrow PyCapsule interface.
            names: For an array or tensor, the names of its columns, "x0", "x1", … if left out; for named columns, which
                of them to read.
            weights: One for each row; see `Moments`.

        Raises:
            SourceError: The shape does not fit, a column is missing, or it holds no numbers.
        """
        columns = _columns(table, None if names is None else list(names))
        return cls({name: _named(name, column, weights) for name, column in columns.items()})

    def merge(self, other: Self) -> Self:
        """The moments of both tables' rows together.

        Raises:
            SourceError: The names differ, or a column's kinds do.
        """
        self._check_names(other)
        return type(self)({name: moments.merge(other[name]) for name, moments in self.items()})

    def unmerge(self, other: Self) -> Self:
        """The moments without the rows of `other`; see `Moments.unmerge`."""
        self._check_names(other)
        return type(self)({name: moments.unmerge(other[name]) for name, moments in self.items()})

    def __add__(self, other: Self) -> Self:
        """See `merge`."""
        return self.merge(other)

    def __sub__(self, other: Self) -> Self:
        """See `unmerge`."""
        return self.unmerge(other)

    def select(self, names: Iterable[str]) -> Self:
        """The named columns, in that order.

        Raises:
            SourceError: A name is none of the columns.
        """
        chosen = list(names)
        _check_known(chosen, self._moments)
        return type(self)({name: self._moments[name] for name in chosen})

    def to_bytes(self) -> bytes:
        """Canonical bytes: equal names in equal order with equal moments, equal bytes."""
        parts = [b"\x01", encode_int(len(self))]
        for name, moments in self.items():
            for piece in (name.encode(), moments.to_bytes()):
                parts += [encode_int(len(piece)), piece]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`.

        Raises:
            ScalerFileError: The bytes are truncated, overlong or describe no possible table.
        """
        reader = Reader(data)
        if reader.take(1) != b"\x01":
            raise ScalerFileError("Columns: these bytes begin with another version; read them with the onesigma of it.")
        moments = {}
        for _ in range(reader.integer()):
            name = reader.take(reader.integer()).decode(errors="replace")
            moments[name] = Moments.from_bytes(reader.take(reader.integer()))
        reader.end()
        return cls(moments)

    @property
    def fingerprint(self) -> str:
        """128 bits of the SHA-256 of the canonical bytes, in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:32]

    def __getitem__(self, name: str) -> Moments:
        return self._moments[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._moments)

    def __len__(self) -> int:
        return len(self._moments)

    def __repr__(self) -> str:
        return f"Columns({', '.join(map(repr, self))})"

    def _check_names(self, other: Self) -> None:
        if self.keys() != other.keys():
            missing, extra = sorted(self.keys() - other.keys()), sorted(other.keys() - self.keys())
            raise SourceError(f"merge: the columns differ; missing: {missing}, not expected: {extra}.")


def _named(name: str, column: Any, weights: Any) -> Moments:
    try:
        return Moments.of(column, weights=weights)
    except SourceError as error:
        raise SourceError(f"column {name!r}: {error}") from None


def _columns(table: Any, names: list[str] | None) -> dict[str, Any]:
    """A table as columns by name, in order."""
    if isinstance(table, torch.Tensor):
        table = tensor_array(table)
    if isinstance(table, np.ndarray):
        return _array_columns(table, names)
    if not isinstance(table, Mapping | pa.RecordBatch | pa.Table) and hasattr(table, "__arrow_c_stream__"):
        table = pa.table(table)
    if isinstance(table, pa.RecordBatch | pa.Table):
        table = dict(zip(table.column_names, table.columns, strict=True))
    if not isinstance(table, Mapping):
        raise SourceError(f"Columns: wanted a table, got {type(table).__name__}; pass an array, Arrow data or a dict.")
    if names is None:
        return dict(table)
    _check_known(names, table)
    return {name: table[name] for name in names}


def _array_columns(array: np.ndarray, names: list[str] | None) -> dict[str, Any]:
    if array.ndim != 2:
        raise SourceError(f"Columns: wanted rows × columns, got shape {array.shape}; see Columns.of_axes for more.")
    names = [f"x{i}" for i in range(array.shape[1])] if names is None else names
    if len(names) != array.shape[1] or len(set(names)) != len(names):
        raise SourceError(f"Columns: wanted {array.shape[1]} distinct names, got {len(names)}: {names[:8]}.")
    return dict(zip(names, array.T, strict=True))


def _check_known(names: Iterable[str], known: Mapping[str, Any]) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise SourceError(f"columns {missing} are not there; there are: {list(known)[:40]}.")
