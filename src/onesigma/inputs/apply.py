"""A fitted scaler applied to a table of any size, from any format to any other, a block at a time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from onesigma._errors import ConfigError, SourceError
from onesigma.inputs.layer import Standardize
from onesigma.inputs.scalers import ColumnScaler
from onesigma.inputs.scan import Progress
from onesigma.inputs.sinks import open_sink, refuse_bad_output
from onesigma.inputs.sources import Block, Source, open_source
from onesigma.inputs.sources.columns import close_to, is_number, is_time
from onesigma.inputs.sources.table import matrix_of

__all__ = ["Scaling", "apply", "scaling_of"]

_DTYPES = {"float32": pa.float32(), "float64": pa.float64()}


def apply(
    scaler: ColumnScaler,
    source: Any,
    *,
    to: str | Path,
    dtype: str | None = None,
    only: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **reading: Any,
) -> int:
    """Scale a table into a file; columns that the scaler does not know pass through unchanged.

    Args:
        scaler: Fitted; its columns are found by name.
        source: Anything that `open_source` takes.
        to: Where to write: .parquet, .csv, .tsv, .feather, .arrow, or .npy, which holds the scaled columns alone.
        dtype: "float32" or "float64"; None: float32 where all columns to scale are, else float64.
        only: Leave the other columns out.
        progress: Called after every block.
        reading: `axis`, `field`: see `open_source`.

    Returns:
        The number of rows written. A missing value stays missing.

    Raises:
        SourceError: A column is missing or holds no numbers.
        OutputError: The file cannot be written; nothing is left of it.
        ConfigError: An unknown dtype or suffix.
    """
    target = Path(to)
    refuse_bad_output(target)
    table = open_source(source, text=True, **reading)
    scaling = scaling_of(scaler, table, dtype=dtype, only=only or target.suffix.lower() == ".npy")
    began, rows = time.monotonic(), 0
    with open_sink(target, scaling.schema) as sink:
        for block in table.blocks():
            batch = scaling.block(block, table.names)
            sink.write(batch)
            rows += batch.num_rows
            if progress is not None:
                seconds = time.monotonic() - began
                progress(Progress(num_rows=rows, total_rows=table.about_rows, seconds=seconds))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A fitted map of tables: Arrow in, Arrow out, row by row, so that any cut into tables gives the same rows.

    Attributes:
        layer: The map of the scaled columns.
        schema: Columns that come out, in order.
        where: What an error calls the table.
    """

    layer: Standardize
    schema: pa.Schema
    where: str

    def __call__(self, table: pa.Table) -> pa.Table:
        """Scale a table: its columns that are in the schema."""
        schema = pa.schema([field for field in self.schema if field.name in table.column_names])
        batches = [self.block(batch, table.column_names, schema=schema) for batch in table.to_batches()]
        return pa.Table.from_batches(batches, schema)

    def block(self, block: Block, names: Sequence[str], *, schema: pa.Schema | None = None) -> pa.RecordBatch:
        """Scale a block whose columns have these names."""
        return _scaled(block, self.layer, names=names, schema=schema or self.schema, where=self.where)


def scaling_of(scaler: ColumnScaler, table: Source, *, dtype: str | None = None, only: bool = False) -> Scaling:
    """Return the map of a table like this one; see `apply`.

    Raises:
        SourceError: A column is missing or holds no numbers.
        ConfigError: An unknown dtype.
    """
    layer = scaler.to_module()
    refuse_other_columns(table, layer.names)
    kind = _kind(table, layer.names, dtype)
    types = dict(zip(table.names, table.types, strict=True))
    fields = [(name, kind if name in layer.names else types[name]) for name in table.names]
    kept = [field for field in fields if field[0] in layer.names or not only]
    return Scaling(layer=layer, schema=pa.schema(kept), where=table.description)


def refuse_other_columns(table: Source, wanted: Sequence[str]) -> None:
    """Raise unless the table has all columns of a scaler, as numbers.

    Raises:
        SourceError: With what is alike.
    """
    kinds = dict(zip(table.names, table.types, strict=True))
    for name in wanted:
        if name not in kinds:
            raise SourceError(
                f"{table.description}: no column {name!r}, which was fitted; {close_to(name, table.names)}"
            )
        if not (is_number(kinds[name]) or is_time(kinds[name])):
            raise SourceError(
                f"{table.description}: column {name!r} must hold numbers, as when fitted; got {kinds[name]}."
            )


def _kind(table: Source, names: Sequence[str], dtype: str | None) -> pa.DataType:
    if dtype is not None:
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
        return _DTYPES[dtype]
    kinds = dict(zip(table.names, table.types, strict=True))
    return pa.float32() if all(kinds[name] in (pa.float32(), pa.float16()) for name in names) else pa.float64()


def _scaled(block: Block, layer: Standardize, *, names: Sequence[str], schema: pa.Schema, where: str) -> pa.RecordBatch:
    places = {name: index for index, name in enumerate(names)}
    chosen = [places[name] for name in layer.names]
    with torch.no_grad():
        y = layer(torch.from_numpy(matrix_of(block, chosen))).numpy()
    scaled = dict(zip(layer.names, y.T, strict=True))
    columns = [
        _filled(block, places[field.name], scaled[field.name], field)
        if field.name in scaled
        else _passed(block, places[field.name], field, where=where)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _filled(block: Block, place: int, values: npt.NDArray[np.float64], field: pa.Field) -> pa.Array:
    # A NaN that was a null becomes one again.
    mask = None
    if isinstance(block, pa.RecordBatch) and block.column(place).null_count:
        mask = block.column(place).is_null().to_numpy(zero_copy_only=False)
    return pa.array(values.astype(field.type.to_pandas_dtype()), field.type, mask=mask)


def _passed(block: Block, place: int, field: pa.Field, *, where: str) -> pa.Array:
    if not isinstance(block, pa.RecordBatch):
        values = block[:, place]
        values = values.cpu().numpy() if isinstance(values, torch.Tensor) else values
        return pa.array(np.ascontiguousarray(values), field.type)
    column = block.column(place)
    try:
        return column if column.type == field.type else column.cast(field.type)
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{where}: column {field.name!r} begins as {field.type} but holds other values further on ({error}); "
            f"leave it out with only=True (--only)."
        ) from error
