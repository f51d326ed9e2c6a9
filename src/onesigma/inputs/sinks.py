"""Tables to files, a block at a time: whole under their name at the end, or not there at all."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from onesigma._errors import ConfigError, OutputError

__all__ = ["Sink", "open_sink", "refuse_bad_output"]

_GROUP_BYTES = 32 << 20
_HEADER_BYTES = 128


class Sink(Protocol):
    """Takes record batches of one schema until it is closed."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows."""

    def close(self) -> None:
        """Write what is left, and the end of the file."""


class _Parquet:
    """Gathers batches into row groups of some megabytes: readers skip and share out whole groups."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.writer = pq.ParquetWriter(path, schema)
        self.waiting: list[pa.RecordBatch] = []
        self.num_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self.waiting.append(batch)
        self.num_bytes += batch.nbytes
        if self.num_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self.waiting:
            table = pa.Table.from_batches(self.waiting)
            self.writer.write_table(table, row_group_size=table.num_rows)
        self.waiting, self.num_bytes = [], 0

    def close(self) -> None:
        self._flush()
        self.writer.close()


class _Arrow:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.writer = pa.ipc.new_file(str(path), schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self.writer.write_batch(batch)

    def close(self) -> None:
        self.writer.close()


class _Csv:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        delimiter = "\t" if ".tsv" in path.suffixes else ","
        options = arrow_csv.WriteOptions(delimiter=delimiter, quoting_style="needed")
        self.writer = arrow_csv.CSVWriter(str(path), schema, write_options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        self.writer.write_batch(batch)

    def close(self) -> None:
        self.writer.close()


class _Npy:
    """A matrix, row after row; the header, which holds their number, is written last, into the room left for it."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.dtype = np.result_type(*(field.type.to_pandas_dtype() for field in schema))
        self.file = path.open("wb")
        self.file.write(b"\0" * _HEADER_BYTES)
        self.shape = (0, len(schema))

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]  # null becomes NaN
        self.file.write(np.stack(columns, axis=1).astype(self.dtype, copy=False).tobytes())
        self.shape = (self.shape[0] + batch.num_rows, self.shape[1])

    def close(self) -> None:
        with self.file as file:
            entry = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
            text = repr(entry).encode()
            room = _HEADER_BYTES - 10
            file.seek(0)
            file.write(b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n")


_Open: TypeAlias = Callable[[Path, pa.Schema], Sink]
_SINKS: Mapping[str, _Open] = MappingProxyType({
    ".parquet": _Parquet, ".pq": _Parquet, ".csv": _Csv, ".tsv": _Csv,
    ".feather": _Arrow, ".arrow": _Arrow, ".ipc": _Arrow, ".npy": _Npy,
})  # fmt: skip


def refuse_bad_output(path: Path) -> None:
    """Raise before any work is done if this name cannot become a table.

    Raises:
        ConfigError: The suffix names no format that is written.
        OutputError: The folder is not there.
    """
    if path.suffix.lower() not in _SINKS:
        raise ConfigError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(_SINKS)}.")
    refuse_no_folder(path)


def refuse_no_folder(path: Path) -> None:
    """Raise if a file cannot stand here.

    Raises:
        OutputError: The folder is not there, or the name is a folder's.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: the folder {str(path.parent)!r} does not exist; create it first.")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file in it.")


@contextmanager
def open_sink(path: str | Path, schema: pa.Schema) -> Iterator[Sink]:
    """Write a table that appears under its name when it is whole; after an error nothing is left.

    Args:
        path: Its suffix chooses the format: .parquet, .csv, .tsv, .feather, .arrow or .npy.
        schema: Columns; numbers only for .npy.

    Raises:
        OutputError: The file cannot be written: no space, no permission.
        ConfigError: A suffix that names no format.
    """
    path = Path(path)
    refuse_bad_output(path)
    part = path.with_name(f".{path.name}.part{path.suffix}")
    sink: Sink | None = None
    try:
        sink = _SINKS[path.suffix.lower()](part, schema)
        yield sink
        sink.close()
        os.replace(part, path)
    except OSError as error:
        _discard(sink, part)
        words = " ".join(str(error).split())
        raise OutputError(
            f"{path}: cannot be written: {words}; nothing is left of it, the old file is intact."
        ) from error
    except BaseException:
        _discard(sink, part)
        raise


def _discard(sink: Any, part: Path) -> None:
    try:
        if sink is not None:
            sink.close()
    except (OSError, pa.ArrowException):
        pass  # It could not be written: that is why it goes.
    part.unlink(missing_ok=True)
