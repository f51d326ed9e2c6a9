"""JSON lines: one object per line, read in blocks of whole lines."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as arrow_json

from onesigma._errors import SourceError
from onesigma.inputs.sources.columns import is_number
from onesigma.inputs.sources.reading import Reading, state_of
from onesigma.inputs.sources.remote import streamed
from onesigma.inputs.sources.source import Piece, Sheet

__all__ = ["look"]

_BLOCK_BYTES = 4 << 20


def look(path: Path, reading: Reading) -> Sheet:
    """Read the first block of lines: names and types.

    Raises:
        SourceError: One array holds everything, so that it cannot be read line by line.
    """
    del reading  # JSON numbers are doubles and integers.
    state = state_of(path)
    first = next(_blocks(path), None)
    if first is None:
        raise SourceError(f"{path}: the file is empty; one JSON object per line is wanted.")
    about = first.num_rows * max(state.num_bytes, _BLOCK_BYTES) // _BLOCK_BYTES
    read = partial(_read, path, first.schema)
    piece = Piece(read=read, name=str(path), about_rows=about, num_bytes=state.num_bytes)
    return Sheet(name=str(path), schema=first.schema, pieces=(piece,), states=(state,))


def _blocks(path: Path) -> Iterator[pa.Table]:
    line, rest = 1, b""
    with streamed(path) as stream:
        while True:
            data = stream.read(_BLOCK_BYTES)
            cut = data.rfind(b"\n") + 1 if data else 0
            lines = rest + (data[:cut] if data else b"")
            rest = data[cut:] if cut or not data else rest + data
            if not cut and data:
                continue
            if lines.strip():
                yield _parse(path, lines, line)
            line += lines.count(b"\n")
            if not data:
                return


def _parse(path: Path, lines: bytes, line: int) -> pa.Table:
    if lines.lstrip()[:1] == b"[":
        raise SourceError(f"{path}: one object per line is wanted, got an array; convert it, as `jq -c '.[]'` does.")
    options = arrow_json.ReadOptions(block_size=2 * len(lines) + 16)
    try:
        return arrow_json.read_json(pa.BufferReader(lines), read_options=options)
    except pa.ArrowInvalid as error:
        last = line + lines.rstrip().count(b"\n")
        raise SourceError(f"{path}: lines {line} to {last}: {error}; mend them.") from error


def _read(path: Path, kinds: pa.Schema, names: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    for index, table in enumerate(_blocks(path)):
        if index >= skip:
            columns = [_column(path, table, kinds.field(name)) for name in names]
            yield pa.RecordBatch.from_arrays(columns, names=list(names))


def _column(path: Path, table: pa.Table, field: pa.Field) -> Any:
    if field.name not in table.column_names:  # A key that no object of this block has.
        return pa.nulls(table.num_rows, field.type)
    column = pa.concat_arrays(table[field.name].chunks)
    if is_number(field.type) and not is_number(column.type):
        value = column.drop_null()[0].as_py()
        raise SourceError(f"{path}: {field.name!r} must hold numbers, got {value!r:.40}; mend it, or leave it out.")
    return column.cast(pa.float64()) if pa.types.is_null(column.type) else column
