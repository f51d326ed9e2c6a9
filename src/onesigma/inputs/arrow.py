"""Arrow in, Arrow out: a fitted map laid over tables, row by row, so that any cut into tables gives the same rows."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from onesigma._errors import ConfigError, SourceError
from onesigma.inputs.sources import Block
from onesigma.inputs.sources.columns import close_to, is_number, is_time, unwrapped
from onesigma.inputs.sources.table import matrix_of
from onesigma.numbers.tensors import is_tensor

__all__ = ["Scaling", "map_arrow", "scaling_like"]

_DTYPES = {"float32": pa.float32(), "float64": pa.float64()}

_WHOLE = 2**53
"""Up to here float64 holds every integer."""

Matrix: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A map of some columns of a table; the others pass through.

    Attributes:
        map: From a matrix (N, F) to one of that shape.
        names: The F columns that are mapped.
        schema: Columns that come out, in order.
        where: What an error calls the table.
    """

    map: Callable[[Matrix], Matrix]
    names: tuple[str, ...]
    schema: pa.Schema
    where: str

    def __call__(self, table: pa.Table) -> pa.Table:
        """Scale a table: its columns that are in the schema."""
        schema = pa.schema([field for field in self.schema if field.name in table.column_names])
        batches = [self.block(batch, table.column_names, schema=schema) for batch in table.to_batches()]
        return pa.Table.from_batches(batches, schema)

    def block(self, block: Block, names: Sequence[str], *, schema: pa.Schema | None = None) -> pa.RecordBatch:
        """Scale a block whose columns have these names."""
        places = {name: index for index, name in enumerate(names)}
        chosen = [places[name] for name in self.names]
        mapped = self.map(matrix_of(block, chosen))
        self._map_wide(block, chosen, mapped)
        scaled = dict(zip(self.names, mapped.T, strict=True))
        schema = schema or self.schema
        columns = [
            _filled(block, places[field.name], scaled[field.name], field)
            if field.name in scaled
            else _passed(block, places[field.name], field, where=self.where)
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _map_wide(self, block: Block, chosen: Sequence[int], mapped: Matrix) -> None:
        """Map the integers again that float64 does not hold, as integers: there the shift loses nothing."""
        columns = {i: _integers(block, place) for i, place in enumerate(chosen)}
        wide = {i: values for i, values in columns.items() if values is not None and _is_wide(values)}
        for dtype in {values.dtype for values in wide.values()}:
            whole = np.zeros(mapped.shape, dtype)
            alike = [i for i, values in wide.items() if values.dtype == dtype]
            for i in alike:
                whole[:, i] = wide[i]
            mapped[:, alike] = self.map(whole)[:, alike]


def scaling_like(
    schema: pa.Schema,
    map: Callable[[Matrix], Matrix],
    *,
    names: Sequence[str],
    where: str,
    dtype: str | None = None,
    only: bool = False,
) -> Scaling:
    """Return the map of a table that has this schema.

    Args:
        schema: Of the table that comes in.
        map: From a matrix (N, F) to one of that shape.
        names: The F columns to map.
        where: What an error calls the table.
        dtype: "float32" or "float64"; None: float32 where all these columns are that or half, else float64.
        only: Leave the other columns out.

    Raises:
        SourceError: A column is missing or holds no numbers, or two have one name.
        ConfigError: An unknown dtype.
    """
    _refuse_other_columns(schema, names, where=where)
    kind = _kind(schema, names, dtype)
    fields = [(field.name, kind if field.name in names else field.type) for field in schema]
    kept = [field for field in fields if field[0] in names or not only]
    return Scaling(map=map, names=tuple(names), schema=pa.schema(kept), where=where)


def map_arrow(
    table: pa.Table | pa.RecordBatch, map: Callable[[Matrix], Matrix], *, names: Sequence[str], by_place: bool
) -> pa.Table | pa.RecordBatch:
    """Return a table with its columns `names` mapped: a record batch of a record batch, else a table.

    Args:
        table: Any columns; those that are not named pass through.
        map: From a matrix (N, F) to one of that shape.
        names: The F columns to map.
        by_place: Take a table of F columns that has other names as it stands.

    Raises:
        SourceError: A column is missing or holds no numbers, or two have one name.

    Example:
        >>> table = pa.table({"miles": [100, None], "city": ["Ulm", "Bonn"]})
        >>> map_arrow(table, lambda x: x / 100, names=["miles"], by_place=False).to_pydict()
        {'miles': [1.0, None], 'city': ['Ulm', 'Bonn']}
    """
    if by_place and len(table.schema) == len(names) and not set(names) & set(table.schema.names):
        names = table.schema.names
    where = f"{type(table).__name__} {table.shape}"
    scaling = scaling_like(table.schema, map, names=names, where=where)
    if isinstance(table, pa.RecordBatch):
        return scaling.block(table, table.schema.names)
    return scaling(table)


def _refuse_other_columns(schema: pa.Schema, wanted: Sequence[str], *, where: str) -> None:
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise SourceError(f"{where}: two columns are called {twice[0]!r}; rename one of them.")
    for name in wanted:
        if name not in schema.names:
            raise SourceError(f"{where}: no column {name!r}, which was fitted; {close_to(name, schema.names)}")
        kind = schema.field(name).type
        if not (is_number(kind) or is_time(kind)):
            raise SourceError(f"{where}: column {name!r} must hold numbers, as when fitted; got {kind}.")


def _kind(schema: pa.Schema, names: Sequence[str], dtype: str | None) -> pa.DataType:
    if dtype is not None:
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
        return _DTYPES[dtype]
    narrow = all(schema.field(name).type in (pa.float32(), pa.float16()) for name in names)
    return pa.float32() if narrow else pa.float64()


def _integers(block: Block, place: int) -> npt.NDArray[Any] | None:
    """A column of 64-bit integers or times, nulls as 0; None for any other."""
    if not isinstance(block, pa.RecordBatch):
        return None
    column = unwrapped(block.column(place), name=block.schema.names[place])
    if is_time(column.type) and column.type.bit_width == 64:
        column = column.cast(pa.int64())
    if column.type not in (pa.int64(), pa.uint64()):
        return None
    return np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False))


def _is_wide(values: npt.NDArray[Any]) -> bool:
    return bool(values.size) and (int(values.max()) > _WHOLE or int(values.min()) < -_WHOLE)


def _filled(block: Block, place: int, values: npt.NDArray[np.float64], field: pa.Field) -> pa.Array:
    # A NaN that was a null becomes one again.
    mask = None
    if isinstance(block, pa.RecordBatch):
        column = unwrapped(block.column(place), name=field.name)
        mask = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    return pa.array(values.astype(field.type.to_pandas_dtype()), field.type, mask=mask)


def _passed(block: Block, place: int, field: pa.Field, *, where: str) -> pa.Array:
    if not isinstance(block, pa.RecordBatch):
        values = block[:, place]
        values = values.cpu().numpy() if is_tensor(values) else values
        return pa.array(np.ascontiguousarray(values), field.type)
    column = block.column(place)
    try:
        return column if column.type == field.type else column.cast(field.type)
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{where}: column {field.name!r} begins as {field.type} but holds other values further on ({error}); "
            f"leave it out with only=True (--only)."
        ) from error
