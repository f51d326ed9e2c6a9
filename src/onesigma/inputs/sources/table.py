"""A whole table in memory, inputs beside their target: for data that a model is checked with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onesigma._errors import SourceError
from onesigma.inputs.sources.columns import close_to, is_number, is_time, listed, unwrapped
from onesigma.inputs.sources.door import open_source
from onesigma.inputs.sources.source import Block, Source
from onesigma.numbers.tensors import is_tensor

__all__ = ["Table", "load_table", "matrix_of"]


class Table(NamedTuple):
    """Column names, a matrix (rows, columns) in float64, and the target: int64, float64 or text."""

    names: tuple[str, ...]
    matrix: npt.NDArray[np.float64]
    target: npt.NDArray[Any] | None


def load_table(
    source: str | Path | Any, *, target: str | None = None, columns: Sequence[str | int] | str | None = None
) -> Table:
    """Read a table whole: every column but the target is an input, and all must be numbers.

    Args:
        source: Anything that `open_source` takes.
        target: Column to predict; it is no input. Integers come as int64, other numbers as float64, text as text.
        columns: Inputs. None: all columns but the target.

    Raises:
        SourceError: No rows, a column that is missing or holds text, missing values: each named and counted.

    Example:
        >>> names, x, y = load_table({"pH": [3.5, 3.2], "quality": [5, 6]}, target="quality")
        >>> names, x.shape, y.tolist()
        (('pH',), (2, 1), [5, 6])
    """
    everything = open_source(source, text=True)
    where = everything.description
    if target is not None and target not in everything.names:
        raise SourceError(f"{where}: no column {target!r} for the target; {close_to(target, everything.names)}")
    names = _inputs(everything, target=target) if columns is None else open_source(source, columns).names
    blocks = list(everything.blocks())
    places = {name: index for index, name in enumerate(everything.names)}
    parts = [matrix_of(block, [places[name] for name in names]) for block in blocks]
    matrix = np.concatenate(parts) if parts else np.empty((0, len(names)))
    if not len(matrix):
        raise SourceError(f"{where}: the table has {len(names)} columns but no rows; at least one row is wanted.")
    _refuse_missing(matrix, names, where=where)
    if target is None:
        return Table(names, matrix, None)
    return Table(names, matrix, _target([_column(block, places[target]) for block in blocks], f"{where}: {target!r}"))


def _inputs(source: Source, *, target: str | None) -> tuple[str, ...]:
    kinds = {name: kind for name, kind in zip(source.names, source.types, strict=True) if name != target}
    others = [name for name, kind in kinds.items() if not is_number(kind)]
    if others:
        verb = "holds" if len(others) == 1 else "hold"
        raise SourceError(
            f"{source.description}: column {listed(others)} {verb} no numbers ({kinds[others[0]]}); "
            f"encode it as numbers, or name the columns to use."
        )
    if not kinds:
        raise SourceError(f"{source.description}: no column is left beside the target {target!r}.")
    return tuple(kinds)


def matrix_of(block: Block, places: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return columns of a block as float64 (rows, columns); missing values are NaN.

    Example:
        >>> matrix_of(pa.record_batch({"a": [1, None], "b": [2.5, 3.5]}), [1, 0])
        array([[2.5, 1. ],
               [3.5, nan]])
    """
    if is_tensor(block):
        return np.asarray(block[:, list(places)].cpu().double().numpy())
    if isinstance(block, np.ndarray):
        return np.asarray(block[:, list(places)], dtype=np.float64)
    matrix = np.empty((block.num_rows, len(places)))
    for index, place in enumerate(places):
        matrix[:, index] = _float64(unwrapped(block.column(place), name=block.schema.names[place]))
    return matrix


def _float64(column: pa.Array) -> npt.NDArray[np.float64]:
    if is_time(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    column = pc.cast(column, pa.float64(), safe=False)  # Integers past 2^53 become the nearest double.
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _refuse_missing(matrix: npt.NDArray[np.float64], names: Sequence[str], *, where: str) -> None:
    bad = ~np.isfinite(matrix)
    if not bad.any():
        return
    counts = {names[index]: int(bad[:, index].sum()) for index in np.flatnonzero(bad.any(axis=0)).tolist()}
    told = ", ".join(f"{name!r} {count}" for name, count in list(counts.items())[:6])
    first = int(np.flatnonzero(bad.any(axis=1))[0]) + 1
    raise SourceError(
        f"{where}: {int(bad.any(axis=1).sum())} of {len(matrix)} rows have missing or infinite values "
        f"({told}; first in row {first}); drop or fill them."
    )


def _column(block: Block, place: int) -> Any:
    if isinstance(block, pa.RecordBatch):
        return block.column(place)
    values = block[:, place]
    return pa.array(values.cpu().numpy() if is_tensor(values) else np.ascontiguousarray(values))


def _target(parts: Sequence[pa.Array], name: str) -> npt.NDArray[Any]:
    nulls = sum(part.null_count for part in parts)
    if nulls:
        raise SourceError(f"{name}: {nulls} values of the target are missing; drop those rows.")
    kinds = {part.type for part in parts}
    if all(pa.types.is_integer(kind) or pa.types.is_boolean(kind) for kind in kinds):
        return np.concatenate([part.cast(pa.int64()).to_numpy() for part in parts])
    if all(is_number(kind) for kind in kinds):
        values = np.concatenate([_float64(unwrapped(part, name=name)) for part in parts])
        if not np.isfinite(values).all():
            raise SourceError(f"{name}: {int((~np.isfinite(values)).sum())} values of the target are NaN or infinite.")
        return values
    labels = np.concatenate([np.asarray(part.cast(pa.string()).to_pylist(), dtype=object) for part in parts])
    return labels.astype(str)
