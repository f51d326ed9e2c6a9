"""CSV and its kin: delimiter, header, decimal mark and types are read from the start of the file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from onesigma._errors import SourceError
from onesigma.inputs.sources.reading import Reading, state_of
from onesigma.inputs.sources.remote import streamed
from onesigma.inputs.sources.sniff import Style, sniff
from onesigma.inputs.sources.source import Piece, Sheet
from onesigma.inputs.sources.text import first_not_a_number, numbers

__all__ = ["look"]

_HEAD_BYTES = 1 << 20
_HEAD_LINES = 8
_MAX_HEAD_BYTES = 256 << 20
_BLOCK_BYTES = 4 << 20
_BLOCK_LINES = 4  # at least, as far as the first lines tell how long one is


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is needed to read one delimited file: its style, the columns of numbers, whether fractions stay decimal."""

    path: Path
    style: Style
    block_bytes: int
    numeric: frozenset[str] = frozenset()
    decimal: bool = False


def look(path: Path, reading: Reading) -> Sheet:
    """Read the first megabyte: what separates values, which columns hold numbers.

    Raises:
        SourceError: The file is empty or binary, or its first rows are ragged.
    """
    state = state_of(path)
    head, whole = _head(path)
    block_bytes = max(_BLOCK_BYTES, _BLOCK_LINES * max(map(len, head.split(b"\n"))))
    style = sniff(head, name=str(path))
    layout = Layout(path=path, style=style, decimal=reading.decimal, block_bytes=block_bytes)
    names = layout.style.names
    texts = _first_rows(layout, head if whole else _whole_lines(head))
    typed = {name: numbers(text, decimal=layout.decimal, comma=layout.style.comma) for name, text in texts.items()}
    layout = replace(layout, numeric=frozenset(name for name in names if typed[name] is not None))
    schema = pa.schema([(name, _kind(texts[name], typed[name])) for name in names])
    notes = {name: _note(texts[name], comma=layout.style.comma) for name in names if typed[name] is None}
    rows = len(texts[names[0]])
    piece = Piece(
        read=partial(_read, layout),
        name=str(path),
        num_rows=rows if whole else None,
        about_rows=rows * max(state.num_bytes, len(head)) // len(head),
        num_bytes=state.num_bytes,
    )
    return Sheet(name=str(path), schema=schema, pieces=(piece,), states=(state,), notes=notes)


def _head(path: Path) -> tuple[bytes, bool]:
    """Read a megabyte, or some lines where one alone is longer; and tell whether that is all."""
    head = b""
    with streamed(path) as stream:
        while len(head) < _HEAD_BYTES or (head.count(b"\n") < _HEAD_LINES and len(head) < _MAX_HEAD_BYTES):
            more = stream.read(_HEAD_BYTES)
            if not more:
                return head, True
            head += more
    return head, False


def _whole_lines(head: bytes) -> bytes:
    return head[: head.rfind(b"\n") + 1] or head


def _first_rows(layout: Layout, head: bytes) -> dict[str, pa.Array]:
    names = layout.style.names
    batches = [batch for batch, _ in _text_batches(layout, BytesIO(head), names)]
    schema = pa.schema([(name, pa.string()) for name in names])
    table = pa.Table.from_batches(batches, schema).combine_chunks()
    empty = pa.array([], pa.string())
    return {name: pa.concat_arrays([*table[index].chunks, empty]) for index, name in enumerate(names)}


def _kind(text: pa.Array, typed: pa.Array | None) -> pa.DataType:
    if typed is None:
        return pa.string()
    return pa.null() if text.null_count == len(text) else typed.type


def _note(text: pa.Array, *, comma: bool) -> str:
    index, value = first_not_a_number(text, comma=comma)
    return f"text, such as {value[:40]!r} in row {index + 1}"


def _text_batches(layout: Layout, stream: Any, names: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield batches of strings, and the number of rows before each.

    Raises:
        SourceError: A row has more or fewer values than the header.
    """
    style, ragged = layout.style, []

    def note(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    read = arrow_csv.ReadOptions(
        column_names=list(style.names),
        skip_rows=style.skip_lines,
        block_size=layout.block_bytes,
        encoding=style.encoding,
        use_threads=False,
    )
    parse = arrow_csv.ParseOptions(
        delimiter=style.delimiter, newlines_in_values=style.quoted_newlines, invalid_row_handler=note
    )
    convert = arrow_csv.ConvertOptions(
        include_columns=list(names),
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        null_values=[""],
        check_utf8=False,
    )
    rows = 0
    try:
        with arrow_csv.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert) as reader:
            for batch in reader:
                yield batch, rows
                rows += batch.num_rows
    except pa.ArrowInvalid as error:
        if ragged:
            raise SourceError(_ragged(layout, ragged[0])) from None
        if "Empty CSV file" not in str(error):  # a header alone
            raise


def _ragged(layout: Layout, row: arrow_csv.InvalidRow) -> str:
    line = "a row" if row.number is None else f"line {row.number}"
    return (
        f"{layout.path}: {line} has {row.actual_columns} values, {row.expected_columns} wanted: "
        f"{row.text[:60]!r}; mend that line, or quote values that hold {layout.style.delimiter!r}."
    )


def _read(layout: Layout, names: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    with streamed(layout.path) as stream:
        for index, (batch, rows) in enumerate(_text_batches(layout, stream, names)):
            if index < skip:
                continue
            columns = [_column(layout, name, text, rows=rows) for name, text in zip(names, batch.columns, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, names=list(names))


def _column(layout: Layout, name: str, text: pa.Array, *, rows: int) -> pa.Array:
    if name not in layout.numeric:
        return text
    found = numbers(text, decimal=layout.decimal, comma=layout.style.comma)
    if found is not None:
        return found
    index, value = first_not_a_number(text, comma=layout.style.comma)
    raise SourceError(
        f"{layout.path}: column {name!r} must hold numbers, got {value[:40]!r} in row {rows + index + 1}; "
        f"mend it, or leave the column out."
    )
