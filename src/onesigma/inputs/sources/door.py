"""The one door for tables: whatever it is, it comes out as a `Source`."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np

from onesigma._errors import SourceError
from onesigma.inputs.sources import images
from onesigma.inputs.sources.arrays import array_sheet, record_sheet
from onesigma.inputs.sources.columns import (
    as_numbers,
    choose_columns,
    kinds_of,
    left_out_later,
    merged_type,
    refuse_other_columns,
)
from onesigma.inputs.sources.files import find_files, folders_alone, look_at
from onesigma.inputs.sources.reading import Reading
from onesigma.inputs.sources.source import Block, Sheet, Source, shard_of
from onesigma.inputs.sources.streams import inputs_of, stream_sheet
from onesigma.inputs.sources.tables import arrow_sheet, is_arrow, is_pandas, mapping_sheet, pandas_sheet
from onesigma.numbers.tensors import is_tensor

__all__ = ["open_source"]

_BATCH = 256
_SPARSE_ROWS = 4096


def open_source(
    source: Any,
    columns: Sequence[str | int] | str | None = None,
    *,
    decimal: bool = False,
    axis: int | None = None,
    field: str | int | None = None,
    text: bool = False,
) -> Source:
    """Open a table of numbers, whatever holds it. Nothing but its beginning is read.

    Args:
        source: Path, glob, folder, or a list of these (Parquet, CSV, Arrow, Feather, NPY, NPZ, JSON lines, images);
            NumPy array, tensor, pandas, Polars, DuckDB, or anything with the Arrow PyCapsule interface; dict of
            columns; iterable of batches of any of these, such as a `DataLoader`.
        columns: Names, patterns such as `"trip_*"`, or positions. None: every column of numbers.
        decimal: Keep the fractions of CSV text exact, as decimals: one tenth is one tenth, not the double next to it.
            It costs about twice the time, and the numbers differ in the last bits from those read as doubles.
        axis: Axis of the columns in arrays of three and more dimensions, such as 1 for images (N, C, H, W).
        field: Which part of a batch `(x, y)` or `{"x": …}` holds the inputs; which array of an NPZ file.
        text: Take every column, whatever it holds, to pass it through.

    Raises:
        SourceError: It is not there, not readable, empty, or its columns are not what was asked for.

    Example:
        >>> source = open_source({"miles": [100.0, 100_000.0], "color": ["red", "blue"]})
        >>> source.names, dict(source.left_out)
        (('miles',), {'color': 'text'})
        >>> open_source(np.zeros((4, 3)), columns=["x2"]).num_rows
        4
    """
    reading = Reading(decimal=decimal, axis=axis, field=field)
    if isinstance(source, Source):
        return source
    sheets, description = _sheets(source, reading)
    first = next((sheet for sheet in sheets if sheet.pieces), sheets[0])
    names, left_out = (tuple(first.schema.names), {}) if text else choose_columns(first, columns)
    for sheet in sheets:
        refuse_other_columns(first, sheet, names)
    if not text and columns is None:
        left_out = {**left_out, **left_out_later(first, sheets), **_of_folders(source, sheets)}
    kinds = [kinds_of(sheet) for sheet in sheets]
    cast = _same if text else as_numbers
    return Source(
        names=names,
        types=tuple(merged_type([kind[name] for kind in kinds]) for name in names),
        shards=tuple(shard_of(piece, names=names, cast=cast) for sheet in sheets for piece in sheet.pieces),
        left_out=left_out,
        description=description,
        states=tuple(state for sheet in sheets for state in sheet.states),
    )


def _of_folders(source: Any, sheets: Sequence[Sheet]) -> dict[str, str]:
    files = (state.path for sheet in sheets for state in sheet.states)
    names = sheets[0].schema.names
    return folders_alone(source, files, names) if isinstance(source, str | Path) else {}


def _same(block: Block) -> Block:
    return block


def _sheets(source: Any, reading: Reading) -> tuple[list[Sheet], str]:
    if _is_paths(source):
        description = ", ".join(str(path) for path in source[:3]) + (f" and {len(source) - 3} more" * (len(source) > 3))
        return _sheets_of(
            [file for path in source for file in find_files(path)], reading, name=description
        ), description
    if isinstance(source, str | Path):
        return _sheets_of(find_files(source), reading, name=str(source)), str(source)
    return [_look(source, reading, name=_described(source))], _described(source)


def _is_paths(source: Any) -> bool:
    return isinstance(source, list | tuple) and bool(source) and all(isinstance(part, str | Path) for part in source)


def _sheets_of(files: Sequence[Path], reading: Reading, *, name: str) -> list[Sheet]:
    if files[0].suffix.lower() in images.SUFFIXES:
        return [images.look(files, name=name)]
    return [look_at(file, reading) for file in files]


def _described(source: Any) -> str:
    kind = type(source)
    # Others may compute their shape: a DuckDB relation runs its query for it.
    knows_shape = kind.__module__.partition(".")[0] in ("numpy", "torch", "pandas", "polars", "pyarrow", "scipy")
    shape = getattr(source, "shape", None) if knows_shape else None
    return kind.__name__ if shape is None else f"{kind.__name__} {tuple(shape)}"


def _in_batches(table: Any) -> Any:
    """A torch `Dataset` of known length as its batches; anything else as it is."""
    data = sys.modules.get("torch.utils.data")
    if data is None or not isinstance(table, data.Dataset) or not hasattr(table, "__len__"):
        return table
    return data.DataLoader(table, batch_size=_BATCH)


def _look(table: Any, reading: Reading, *, name: str) -> Sheet:
    """Describe a table in memory."""
    if isinstance(table, np.ndarray) or is_tensor(table):
        return _look_at_array(table, reading, name=name)
    if is_pandas(table):
        return pandas_sheet(table, name=name)
    if is_arrow(table):
        return arrow_sheet(table, name=name)
    if type(table).__name__ == "LazyFrame" and hasattr(table, "collect"):
        return arrow_sheet(table.collect(), name=name)
    if isinstance(table, Mapping):
        return mapping_sheet(table, name=name)
    if hasattr(table, "tocsr"):
        matrix = table.tocsr()
        return _sparse_sheet(lambda start, stop: matrix[start:stop].toarray(), matrix.shape[0], name=name)
    if isinstance(table, tuple) and any(hasattr(part, "__array__") and np.ndim(part) for part in table):
        return _look(inputs_of(table, reading.field, name=name), reading, name=name)  # (x, y): one batch
    table = _in_batches(table)
    if isinstance(table, list | tuple) and (array := _as_array(table)) is not None:
        return _look_at_array(array, reading, name=name)
    if hasattr(table, "__array__"):
        return _look_at_array(np.asarray(table), reading, name=name)
    if isinstance(table, Iterable) and not isinstance(table, str | bytes):
        return stream_sheet(table, reading, name=name, look=_look)
    raise SourceError(
        f"{name}: a table is wanted: a path, an array, a tensor, a frame, a dict of columns, or batches of these."
    )


def _look_at_array(array: Any, reading: Reading, *, name: str) -> Sheet:
    if is_tensor(array) and "sparse" in str(array.layout):
        return _sparse_sheet(partial(_dense_rows, array.to_sparse(layout=None)), len(array), name=name)
    if isinstance(array, np.ndarray) and array.dtype.names:
        return record_sheet(partial(_identity, array), name=name)
    if isinstance(array, np.ndarray) and array.dtype == object and array.ndim in (1, 2):
        columns = array.reshape(len(array), -1).T
        return mapping_sheet({f"x{index}": column.tolist() for index, column in enumerate(columns)}, name=name)
    return array_sheet(partial(_identity, array), name=name, axis=reading.axis)


def _identity(array: Any) -> Any:
    return array


def _as_array(rows: Sequence[Any]) -> Any:
    """Return lists of numbers as an array; None for lists of batches."""
    if any(_is_table(row) for row in rows):
        return None
    try:
        array = np.asarray(rows)
    except ValueError:
        return None
    if array.dtype == object and not all(value is None or isinstance(value, Number) for value in array.flat):
        return None
    return array if array.dtype.kind in "biufmMO" and array.ndim else None


def _is_table(row: Any) -> bool:
    return (hasattr(row, "__array__") and np.ndim(row) > 0) or isinstance(row, Mapping) or is_arrow(row)


def _sparse_sheet(dense: Callable[[int, int], Any], num_rows: int, *, name: str) -> Sheet:
    """A sparse matrix, made dense a block of rows at a time."""
    return stream_sheet(_Blocks(dense, num_rows), Reading(), name=name, look=_look)


class _Blocks:
    """Blocks of rows, made one by one and as often as asked for."""

    def __init__(self, dense: Callable[[int, int], Any], num_rows: int) -> None:
        self.dense, self.num_rows = dense, num_rows

    def __iter__(self) -> Iterator[Any]:
        starts = range(0, max(self.num_rows, 1), _SPARSE_ROWS)
        return (self.dense(start, min(start + _SPARSE_ROWS, self.num_rows)) for start in starts)


def _dense_rows(tensor: Any, start: int, stop: int) -> Any:
    return tensor.narrow_copy(0, start, stop - start).to_dense()
