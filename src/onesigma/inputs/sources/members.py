"""An NPY array read from front to back: out of an archive, or from another machine, where nothing can be mapped."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from onesigma._errors import SourceError
from onesigma.inputs.sources.arrays import array_sheet, arrow_type, record_sheet
from onesigma.inputs.sources.reading import Reading, state_of
from onesigma.inputs.sources.source import FileState, Piece, Sheet, rows_per_block

__all__ = ["Header", "Opened", "look", "matrix_sheet", "read_header", "take"]

Opened: TypeAlias = Callable[[], AbstractContextManager[Any]]
"""Opens an NPY file at its first byte; pickles."""


class Header(NamedTuple):
    """What stands before an array's bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def in_rows(self) -> bool:
        """Whether its rows are numbers that lie one after the other."""
        return not self.fortran and len(self.shape) == 2 and not self.dtype.names


def look(path: Path, reading: Reading) -> Sheet:
    """Read the header of a remote NPY file: a matrix is streamed, any other array fetched whole.

    Raises:
        SourceError: It holds no numbers.
    """
    with path.open("rb") as file:
        header = read_header(file)
    name, state = str(path), state_of(path)
    if header.dtype.hasobject:
        raise SourceError(f"{name}: holds Python objects, which only unpickling could read; save numbers instead.")
    if header.in_rows:
        return matrix_sheet(path.open, header, name=name, state=state)
    opened = partial(_same, _fetched(path))
    if header.dtype.names:
        return record_sheet(opened, name=name, states=(state,))
    return array_sheet(opened, name=name, axis=reading.axis, states=(state,))


def _same(array: Any) -> Any:
    return array


def _fetched(path: Path) -> Any:
    with path.open("rb") as file:
        header = read_header(file)
        array = take(file, header._replace(shape=()), int(np.prod(header.shape))).reshape(-1)
    return array.reshape(header.shape, order="F" if header.fortran else "C")


def read_header(member: Any) -> Header:
    """Read up to an array's first byte."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return Header(*read(member))


def matrix_sheet(opened: Opened, header: Header, *, name: str, state: FileState) -> Sheet:
    """Describe a matrix whose rows come one after the other."""
    kind = arrow_type(np.empty(0, header.dtype), name=name)
    names = [f"x{index}" for index in range(header.shape[1])]
    piece = Piece(
        read=partial(_read_matrix, opened, names), name=name, num_rows=header.shape[0], num_bytes=state.num_bytes
    )
    schema = pa.schema([(column, kind) for column in names])
    return Sheet(name=name, schema=schema, pieces=(piece,), states=(state,))


def _read_matrix(opened: Opened, all_names: list[str], names: Sequence[str], skip: int) -> Iterator[Any]:
    chosen = None if list(names) == all_names else [all_names.index(name) for name in names]
    with opened() as member:
        header = read_header(member)
        rows = rows_per_block(header.shape[1] * header.dtype.itemsize)
        for index, start in enumerate(range(0, header.shape[0], rows)):
            block = take(member, header, min(rows, header.shape[0] - start))
            if index >= skip:
                yield block if chosen is None else block[:, chosen]


def take(member: BinaryIO | Any, header: Header, rows: int) -> Any:
    """Read the next rows.

    Raises:
        EOFError: There are not as many.
    """
    shape = (rows, *header.shape[1:])
    wanted = int(np.prod(shape)) * header.dtype.itemsize
    data = member.read(wanted)
    if len(data) < wanted:
        raise EOFError(f"the array ends after {len(data)} of {wanted} bytes")
    array = np.frombuffer(data, header.dtype).reshape(shape)
    return array.astype(header.dtype.newbyteorder("="), copy=False)
