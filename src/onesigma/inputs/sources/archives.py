"""NPZ: one matrix, or one column for each array, streamed out of the archive."""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from onesigma._errors import SourceError
from onesigma.inputs.sources.arrays import array_sheet, arrow_type
from onesigma.inputs.sources.members import Header, matrix_sheet, read_header, take
from onesigma.inputs.sources.reading import Reading, state_of
from onesigma.inputs.sources.remote import handle
from onesigma.inputs.sources.source import Piece, Sheet, rows_per_block

__all__ = ["look"]


def look(path: Path, reading: Reading) -> Sheet:
    """Read the archive's directory: arrays of one length are columns; of several tables `field` names one.

    Raises:
        SourceError: Which array is meant cannot be told, or it holds no numbers.
    """
    headers = _headers(path)
    if reading.field is not None and reading.field not in headers:
        raise SourceError(f"{path}: no array {reading.field!r}; the arrays are {', '.join(map(repr, headers))}.")
    if reading.field is None and len(headers) > 1:
        return _columns(path, headers)
    field = str(reading.field if reading.field is not None else next(iter(headers)))
    header = headers[field]
    if not header.in_rows:
        # Its rows do not lie one after the other, so the array is read whole.
        return array_sheet(
            partial(_load, path, field), name=f"{path}[{field}]", axis=reading.axis, states=(state_of(path),)
        )
    return matrix_sheet(partial(_member, path, field), header, name=f"{path}[{field}]", state=state_of(path))


def _load(path: Path, field: str) -> Any:
    with np.load(handle(path), allow_pickle=False) as archive:
        return archive[field]


def _headers(path: Path) -> dict[str, Header]:
    with zipfile.ZipFile(handle(path)) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        found = {}
        for name in names:
            with archive.open(name) as member:
                found[name.removesuffix(".npy")] = read_header(member)
    if not found:
        raise SourceError(f"{path}: the archive holds no arrays; an NPZ file written by numpy.savez is wanted.")
    return found


@contextmanager
def _member(path: Path, field: str) -> Iterator[Any]:
    with zipfile.ZipFile(handle(path)) as archive, archive.open(f"{field}.npy") as member:
        yield member


def _columns(path: Path, headers: dict[str, Header]) -> Sheet:
    lengths = {header.shape for header in headers.values()}
    if len(lengths) > 1 or len(next(iter(lengths))) != 1:
        told = ", ".join(f"{name!r} {header.shape}" for name, header in headers.items())
        raise SourceError(f"{path}: the arrays are not columns of one table: {told}; say which with field=.")
    kinds = [(name, _column_type(header.dtype)) for name, header in headers.items()]
    piece = Piece(
        read=partial(_read_columns, path),
        name=str(path),
        num_rows=next(iter(lengths))[0],
        num_bytes=path.stat().st_size,
    )
    return Sheet(name=str(path), schema=pa.schema(kinds), pieces=(piece,), states=(state_of(path),))


def _column_type(dtype: np.dtype[Any]) -> pa.DataType:
    try:
        return arrow_type(np.empty(0, dtype), name="")
    except SourceError:
        return pa.string() if dtype.kind in "US" else pa.binary()


def _read_columns(path: Path, names: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(handle(path)))
        members = [stack.enter_context(archive.open(f"{name}.npy")) for name in names]
        headers = [read_header(member) for member in members]
        rows = rows_per_block(sum(header.dtype.itemsize for header in headers))
        length = headers[0].shape[0]
        for index, start in enumerate(range(0, length, rows)):
            count = min(rows, length - start)
            arrays = [pa.array(take(*pair, count)) for pair in zip(members, headers, strict=True)]
            if index >= skip:
                yield pa.RecordBatch.from_arrays(arrays, names=list(names))
