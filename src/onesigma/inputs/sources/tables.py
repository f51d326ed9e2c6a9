"""Tables in memory: pandas, dicts of columns, and all that speaks Arrow, such as Polars, DuckDB and PyArrow."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from onesigma._errors import SourceError
from onesigma.inputs.sources.ipc import slices
from onesigma.inputs.sources.source import Piece, Sheet, rows_per_block
from onesigma.numbers.tensors import is_tensor, tensor_array

__all__ = ["arrow_sheet", "is_arrow", "is_pandas", "mapping_sheet", "mapping_table", "pandas_sheet"]

_IN_MEMORY = 16  # Views cost no memory: larger blocks, fewer calls.


def is_arrow(table: object) -> bool:
    """Return whether the table speaks Arrow's PyCapsule interface."""
    return hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__")


def is_pandas(table: object) -> bool:
    """Return whether it is a pandas frame or series; never imports pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(table, pandas.DataFrame | pandas.Series)


def arrow_sheet(table: Any, *, name: str) -> Sheet:
    """Describe anything with `__arrow_c_stream__` or `__arrow_c_array__`; columns without a name become "x0".

    Raises:
        SourceError: It is an array that is no table.
    """
    if isinstance(table, pa.ChunkedArray | pa.Array) and not pa.types.is_struct(table.type):
        table = pa.table({"x0": table})
    if not hasattr(table, "__arrow_c_stream__"):
        table = _record_batch(table, name=name)
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        rows, size, reader = table.num_rows, table.nbytes, None
    else:
        reader = pa.RecordBatchReader.from_stream(table)
        rows, size = getattr(table, "height", None), None  # Polars knows; others would run a query for it.
    schema = table.schema if reader is None else reader.schema
    piece = Piece(read=partial(_read, _Stream(table, reader)), name=name, num_rows=rows, num_bytes=size)
    return Sheet(name=name, schema=schema, pieces=(piece,))


def _record_batch(table: Any, *, name: str) -> pa.RecordBatch:
    try:
        return pa.record_batch(table)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.record_batch({"x0": pa.array(table)})


class _Stream:
    """Opens a table's stream; the reader that told the schema serves the first time, so one-shot readers work."""

    def __init__(self, table: Any, reader: pa.RecordBatchReader | None) -> None:
        self.table, self.reader = table, reader

    def __call__(self) -> Iterator[pa.RecordBatch]:
        reader, self.reader = self.reader, None
        if reader is not None:
            return iter(reader)
        if isinstance(self.table, pa.Table):
            return iter(self.table.to_batches())
        return iter(pa.RecordBatchReader.from_stream(self.table))


def _read(opened: _Stream, names: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    return slices(opened(), names, skip, scale=_IN_MEMORY)


def pandas_sheet(frame: Any, *, name: str) -> Sheet:
    """Describe a pandas frame, or a series as one column; the index is no column."""
    if frame.ndim == 1:
        frame = frame.to_frame(name=frame.name if frame.name is not None else "x0")
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    if frame.columns.has_duplicates:
        return Sheet(name=name, schema=pa.schema([(column, pa.null()) for column in frame.columns]), pieces=())
    fields = [_pandas_field(frame[column]) for column in frame.columns]
    piece = Piece(read=partial(_read_pandas, frame), name=name, num_rows=len(frame))
    return Sheet(name=name, schema=pa.schema(fields), pieces=(piece,))


def _pandas_field(series: Any) -> pa.Field:
    # A column of objects is typed by its values; others by their dtype, which no value changes.
    part = series if series.dtype == object else series.iloc[:0]
    try:
        return pa.field(series.name, pa.Array.from_pandas(part).type)
    except (pa.ArrowException, TypeError):
        return pa.field(series.name, pa.binary())


def _read_pandas(frame: Any, names: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    rows = _IN_MEMORY * rows_per_block(8 * len(names))
    for start in range(skip * rows, len(frame), rows):
        part = frame.iloc[start : start + rows]
        arrays = [pa.array(part[name], from_pandas=True) for name in names]
        yield pa.RecordBatch.from_arrays(arrays, names=list(names))


def mapping_sheet(columns: Mapping[str, Any], *, name: str) -> Sheet:
    """Describe a mapping of names to columns; see `mapping_table`."""
    return arrow_sheet(mapping_table(columns, name=name), name=name)


def mapping_table(columns: Mapping[str, Any], *, name: str) -> pa.Table:
    """Return a mapping of names to equally long one-dimensional columns as a table.

    Raises:
        SourceError: Lengths differ, or a column is no sequence of one type.
    """
    arrays = {str(key): _column(values, name=f"{name}[{key!r}]") for key, values in columns.items()}
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key!r} {length}" for key, length in list(lengths.items())[:6])
        raise SourceError(f"{name}: columns must be equally long, but they hold: {told}.")
    return pa.table(arrays)


def _column(values: Any, *, name: str) -> pa.Array:
    if is_tensor(values):
        values = tensor_array(values)
    try:
        if isinstance(values, np.ma.MaskedArray):
            return pa.array(values.data, mask=np.ma.getmaskarray(values))
        if isinstance(values, pa.ChunkedArray):
            return values.combine_chunks()
        return values if isinstance(values, pa.Array) else pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        words = " ".join(str(error).split())
        raise SourceError(f"{name}: a column of numbers is wanted: {words}; convert it first.") from error
