"""NPZ: one matrix, or one column for each array, streamed out of the archive."""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from onesigma._errors import SourceError
from onesigma.inputs.sources.arrays import array_sheet, arrow_type
from onesigma.inputs.sources.reading import Reading, state_of
from onesigma.inputs.sources.source import Piece, Sheet, rows_per_block

__all__ = ["look"]


class Header(NamedTuple):
    """What stands before an array's bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


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
    if header.fortran or len(header.shape) != 2 or header.dtype.names:
        # Its rows do not lie one after the other, so the array is read whole.
        return array_sheet(
            partial(_load, path, field), name=f"{path}[{field}]", axis=reading.axis, states=(state_of(path),)
        )
    return _matrix(path, field, header)


def _load(path: Path, field: str) -> Any:
    with np.load(path, allow_pickle=False) as archive:
        return archive[field]


def _headers(path: Path) -> dict[str, Header]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        found = {}
        for name in names:
            with archive.open(name) as member:
                found[name.removesuffix(".npy")] = _read_header(member)
    if not found:
        raise SourceError(f"{path}: the archive holds no arrays; an NPZ file written by numpy.savez is wanted.")
    return found


def _read_header(member: Any) -> Header:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return Header(*read(member))


def _matrix(path: Path, field: str, header: Header) -> Sheet:
    kind = arrow_type(np.empty(0, header.dtype), name=f"{path}[{field}]")
    names = [f"x{index}" for index in range(header.shape[1])]
    read = partial(_read_matrix, path, field, names)
    piece = Piece(read=read, name=f"{path}[{field}]", num_rows=header.shape[0], num_bytes=path.stat().st_size)
    return Sheet(
        name=piece.name, schema=pa.schema([(name, kind) for name in names]), pieces=(piece,), states=(state_of(path),)
    )


def _read_matrix(path: Path, field: str, all_names: list[str], names: Sequence[str], skip: int) -> Iterator[Any]:
    chosen = None if list(names) == all_names else [all_names.index(name) for name in names]
    with zipfile.ZipFile(path) as archive, archive.open(f"{field}.npy") as member:
        header = _read_header(member)
        rows = rows_per_block(header.shape[1] * header.dtype.itemsize)
        for index, start in enumerate(range(0, header.shape[0], rows)):
            block = _take(member, header, min(rows, header.shape[0] - start))
            if index >= skip:
                yield block if chosen is None else block[:, chosen]


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
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = [stack.enter_context(archive.open(f"{name}.npy")) for name in names]
        headers = [_read_header(member) for member in members]
        rows = rows_per_block(sum(header.dtype.itemsize for header in headers))
        length = headers[0].shape[0]
        for index, start in enumerate(range(0, length, rows)):
            count = min(rows, length - start)
            arrays = [pa.array(_take(*pair, count)) for pair in zip(members, headers, strict=True)]
            if index >= skip:
                yield pa.RecordBatch.from_arrays(arrays, names=list(names))


def _take(member: BinaryIO | Any, header: Header, rows: int) -> Any:
    shape = (rows, *header.shape[1:])
    wanted = int(np.prod(shape)) * header.dtype.itemsize
    data = member.read(wanted)
    if len(data) < wanted:
        raise EOFError(f"the array ends after {len(data)} of {wanted} bytes")
    array = np.frombuffer(data, header.dtype).reshape(shape)
    return array.astype(header.dtype.newbyteorder("="), copy=False)
