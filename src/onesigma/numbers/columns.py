"""Law 1 for a table: the moments of all its columns, one summary per batch."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from onesigma._errors import SourceError
from onesigma.numbers.arrays import Flat, flatten
from onesigma.numbers.axes import Axes, axis_names, kept_axes, kept_columns
from onesigma.numbers.cells import Cell, Cells, PlainCells, added_cells
from onesigma.numbers.histogram import histograms
from onesigma.numbers.moments import Moments
from onesigma.numbers.packed import Packer, merged_records, named_records, table_bytes
from onesigma.numbers.sums import Sums
from onesigma.numbers.tables import array_names, check_known, is_plain, named_columns
from onesigma.numbers.tally import Tally
from onesigma.numbers.tensors import is_on_device, is_tensor, tensor_array

if TYPE_CHECKING:
    import torch

__all__ = ["Columns"]


class Columns(Mapping[str, Moments]):
    """The `Moments` of every column of a table, in order, by name: `zero`, `of` a batch, or `merge`d.

    Immutable. Columns are matched by name; two summaries merge when they have the same names, in any order (the left
    one's order stays). Sums stay in arrays until a column is read, so that merging batches costs little.

    Example:
        >>> batches = [{"x": np.array([1.0, 2.0])}, {"x": np.array([6.0])}]
        >>> merged = Columns.of(batches[0]) + Columns.of(batches[1])
        >>> merged["x"].mean, list(merged)
        (3.0, ['x'])
    """

    __slots__ = ("_cells", "_read", "_tallies")

    def __init__(self, moments: Mapping[str, Moments]) -> None:
        self._cells: Cells = dict(moments)
        self._read: dict[str, Moments] = {}
        self._tallies: tuple[Tally, ...] = ()

    @classmethod
    def zero(cls, names: Iterable[str]) -> Self:
        """The moments of a table without rows."""
        return cls(dict.fromkeys(names, Moments.zero()))

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
        chosen = None if names is None else list(names)
        if is_tensor(table):
            if table.device.type != "cpu" and weights is None and is_on_device(table):
                return cls._of_tensor(table, array_names(table, chosen))
            table = tensor_array(table)
        if isinstance(table, np.ndarray) and weights is None and is_plain(table):
            return cls._of_table(table, array_names(table, chosen))
        return cls._of_columns(named_columns(table, chosen), weights)

    @classmethod
    def of_axes(
        cls, array: Any, axes: Axes, *, dims: Sequence[str] | None = None, names: Iterable[str] | None = None
    ) -> Self:
        """The moments of an array of any shape, a column for each index along the kept axes.

        Args:
            array: NumPy array or tensor. Bytes (uint8) are counted by `Histogram`.
            axes: The axis or axes to keep, by number or by a name of `dims`: 1 or "C" for images of shape NCHW.
            dims: Names of all axes, such as "NCHW".
            names: Of the columns; "0", "1", … if left out.

        Raises:
            SourceError: There is no such axis, or not as many names as columns.

        Example:
            >>> images = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
            >>> [moments.mean for moments in Columns.of_axes(images, "C", dims="NCHW").values()]
            [7.5, 11.5, 15.5]
        """
        if is_tensor(array):
            array = tensor_array(array)
        kept = kept_axes(array.shape, axes, dims=dims)
        chosen = axis_names(array.shape, kept) if names is None else list(names)
        array_names(np.empty((0, len(axis_names(array.shape, kept)))), chosen)
        if array.dtype == np.uint8 and len(kept) == 1:
            found = (histogram.moments() for histogram in histograms(array, axis=kept[0]))
            return cls(dict(zip(chosen, found, strict=True)))
        tables = list(kept_columns(array, kept))
        if not chosen or not is_plain(array):
            flat = (column for table in tables for column in table.T)
            return cls._of_columns(dict(zip(chosen, flat, strict=True)), None)
        return cls._of_cells(PlainCells(tuple(chosen), kind=_kind(array)), (Tally.of(tables),))

    @classmethod
    def _of_table(cls, table: np.ndarray, names: list[str]) -> Self:
        return cls._of_cells(PlainCells(tuple(names), kind=_kind(table)), (Tally.of([table]),) if names else ())

    @classmethod
    def _of_tensor(cls, table: "torch.Tensor", names: list[str]) -> Self:
        from onesigma.numbers.device import tally_of_tensor  # computes with torch, which is there with the tensor

        return cls._of_cells(PlainCells(tuple(names), kind="number"), (tally_of_tensor(table),) if names else ())

    @classmethod
    def _of_columns(cls, columns: Mapping[str, Any], weights: Any) -> Self:
        """Columns of one dtype share a tally; weighted ones and Python objects stand alone."""
        flats = {name: _flat(name, column, weights) for name, column in columns.items()}
        groups: dict[np.dtype[Any], list[np.ndarray]] = {}
        cells: dict[str, Moments | Cell] = {}
        for name, flat in flats.items():
            if weights is not None or flat.values.dtype.kind == "O" or flat.kind == "any":
                cells[name] = Moments.of_flat(flat)
                continue
            group = groups.setdefault(flat.values.dtype, [])
            cells[name] = Cell(list(groups).index(flat.values.dtype), len(group), flat.kind, flat.divisor, flat.nulls)
            group.append(flat.values.reshape(-1, 1))
        return cls._of_cells(cells, tuple(map(Tally.of, groups.values())))

    @classmethod
    def _of_cells(cls, cells: Cells, tallies: tuple[Tally, ...]) -> Self:
        columns = cls({})
        columns._cells, columns._tallies = cells, tallies
        return columns

    def merge(self, other: Self) -> Self:
        """The moments of both tables' rows together.

        Raises:
            SourceError: The names differ, or a column's kinds do.
        """
        self._check_names(other)
        cells = added_cells(self._cells, other._cells) if _alike(self._tallies, other._tallies) else None
        if cells is not None:
            tallies = tuple(left.merge(right) for left, right in zip(self._tallies, other._tallies, strict=True))
            return self._of_cells(cells, tallies)
        zero = Moments.zero()
        if all(isinstance(cell, Moments) and cell == zero for cell in self._cells.values()):
            return other.select(self)
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
        if chosen == list(self._cells):
            return self
        check_known(chosen, self._cells)
        return self._of_cells({name: self._cells[name] for name in chosen}, self._tallies)

    def to_bytes(self) -> bytes:
        """Canonical bytes: equal names in equal order with equal moments, equal bytes."""
        packers = list(map(Packer, self._tallies))
        records = (self._record(name, cell, packers) for name, cell in self._cells.items())
        return table_bytes(list(map(str.encode, self)), list(records))

    def _record(self, name: str, cell: Moments | Cell, packers: Sequence[Packer]) -> bytes:
        if isinstance(cell, Moments) or cell.divisor != 1:
            return self[name].to_bytes()
        return packers[cell.tally].record(cell.column, kind=cell.kind, nulls=cell.nulls)

    @classmethod
    def merged_bytes(cls, parts: Sequence[bytes]) -> bytes:
        """Canonical bytes of what tables merge to whose canonical bytes are given: many at once, a fifth of the cost.

        Raises:
            SourceError: The names differ, or a column's kinds do.
            ScalerFileError: The bytes are truncated, overlong or describe no possible table.

        Example:
            >>> parts = [Columns.of({"x": np.array([value])}) for value in (1.0, 2.0)]
            >>> Columns.merged_bytes([part.to_bytes() for part in parts]) == (parts[0] + parts[1]).to_bytes()
            True
        """
        tables = list(map(named_records, parts))
        names = tables[0][0]
        if any(other != names for other, _ in tables):
            return reduce(cls.merge, map(cls.from_bytes, parts)).to_bytes()
        return table_bytes(names, list(map(merged_records, zip(*(records for _, records in tables), strict=True))))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`.

        Raises:
            ScalerFileError: The bytes are truncated, overlong or describe no possible table.
        """
        names, records = named_records(data)
        decoded = [name.decode(errors="replace") for name in names]
        return cls(dict(zip(decoded, map(Moments.from_bytes, records), strict=True)))

    @property
    def infinities(self) -> dict[str, int]:
        """The columns that hold +inf or −inf, and how many; their sums are not read for it.

        Example:
            >>> Columns.of(np.array([[1.0, np.inf], [2.0, -np.inf]])).infinities
            {'x1': 2}
        """
        tallied = [tally.nonfinite[:, 1:].sum(axis=1).tolist() for tally in self._tallies]
        counts = {
            name: cell.pos_infs + cell.neg_infs if isinstance(cell, Moments) else tallied[cell.tally][cell.column]
            for name, cell in self._cells.items()
        }
        return {name: count for name, count in counts.items() if count}

    @property
    def fingerprint(self) -> str:
        """128 bits of the SHA-256 of the canonical bytes, in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:32]

    def __getitem__(self, name: str) -> Moments:
        cell = self._cells[name]
        if isinstance(cell, Moments):
            return cell
        if name not in self._read:
            sums = Sums.of_tally(self._tallies[cell.tally], cell.column, divisor=cell.divisor)
            self._read[name] = Moments.of_sums(sums, kind=cell.kind, nulls=cell.nulls)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._cells  # what `Mapping` would do reads the column

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __repr__(self) -> str:
        return f"Columns({', '.join(map(repr, self))})"

    def _check_names(self, other: Self) -> None:
        if list(self) != list(other) and set(self) != set(other):  # what `keys()` would do goes name by name
            missing, extra = sorted(self.keys() - other.keys()), sorted(other.keys() - self.keys())
            raise SourceError(f"merge: the columns differ; missing: {missing}, not expected: {extra}.")


def _kind(array: np.ndarray) -> str:
    return "bool" if array.dtype.kind == "b" else "number"


def _flat(name: str, column: Any, weights: Any) -> Flat:
    try:
        return flatten(column, weights=weights)
    except SourceError as error:
        raise SourceError(f"column {name!r}: {error}") from None


def _alike(left: tuple[Tally, ...], right: tuple[Tally, ...]) -> bool:
    """Whether tallies add up, array by array."""
    return [(one.layout, len(one.finite)) for one in left] == [(one.layout, len(one.finite)) for one in right]
