"""The nouns of the door: a table of numbers that comes in blocks, whatever it is kept in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from onesigma._errors import OnesigmaError, SourceError

if TYPE_CHECKING:
    import torch

__all__ = [
    "BLOCK_BYTES",
    "WIDE_BYTES",
    "WIDE_ROWS",
    "Block",
    "FileState",
    "Piece",
    "Shard",
    "Sheet",
    "Source",
    "rows_per_block",
]

BLOCK_BYTES = 8 << 20
"""Size of a block: large enough to hide the cost of a call, small enough that a few in flight weigh nothing."""

WIDE_ROWS, WIDE_BYTES = 2048, 64 << 20
"""Rows of a block of a wide table, where they weigh no more than that."""

Block: TypeAlias = "pa.RecordBatch | np.ndarray[Any, Any] | torch.Tensor"
"""Some rows: a record batch, or a matrix (rows, columns)."""


def rows_per_block(row_bytes: float) -> int:
    """Return how many rows of that many bytes fill one block: at least one.

    A block of a wide table is larger, up to 64 MB: each costs half a microsecond per column, whatever its rows.

    Example:
        >>> rows_per_block(4 * 128)
        16384
    """
    size = max(row_bytes, 1)
    return max(1, int(BLOCK_BYTES // size), min(WIDE_ROWS, int(WIDE_BYTES // size)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a sheet that can be read alone, and again: a row group, a file of text, an array.

    Attributes:
        read: `read(names, skip)` gives the blocks of these columns after the first `skip` of them; cut alike each time.
        name: What an error calls this piece.
        num_rows: Rows, if known before reading.
        about_rows: Rows by estimate, for progress, where they are not known.
        num_bytes: Bytes in the file or in memory, if known: the measure of progress.
    """

    read: Callable[[Sequence[str], int], Iterator[Block]]
    name: str
    num_rows: int | None = None
    about_rows: int | None = None
    num_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What tells one state of a file from another."""

    path: str
    num_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One file, or one table in memory, before columns are chosen."""

    name: str
    schema: pa.Schema
    pieces: tuple[Piece, ...]
    states: tuple[FileState, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A piece with its columns chosen: the unit that engines share out and that a scan resumes at."""

    read: Callable[[int], Iterator[Block]]
    name: str
    num_rows: int | None = None
    about_rows: int | None = None
    num_bytes: int | None = None

    def blocks(self, skip: int = 0) -> Iterator[Block]:
        """Yield the blocks after the first `skip`; the same cut every time.

        Raises:
            SourceError: The piece cannot be read, with its name and the reader's own words.
        """
        try:
            yield from self.read(skip)
        except OnesigmaError:
            raise
        except (pa.ArrowException, OSError, ValueError, EOFError) as error:
            words = " ".join(str(error).split())
            raise SourceError(
                f"{self.name}: cannot be read: {words}; is the file damaged or still being written?"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table of numbers. Past this point nobody asks whether it was a file, an array or a loader.

    Attributes:
        names: The chosen columns, in order; every block has exactly these.
        types: Arrow type of each column; a text file's numbers are typed block by block, exactly.
        shards: What can be read apart; in order, they are the table.
        left_out: Columns that were not chosen for you, each with the reason.
        description: Where the table came from, for people and for provenance.
        states: State of every file; empty for a table in memory, which cannot be resumed.

    Example:
        >>> from onesigma.inputs.sources import open_source
        >>> source = open_source({"miles": [100.0, 100_000.0], "stars": [4, 5]})
        >>> source.names, source.num_rows
        (('miles', 'stars'), 2)
    """

    names: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    shards: tuple[Shard, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    states: tuple[FileState, ...] = ()

    @property
    def num_rows(self) -> int | None:
        """Rows of the table, if every shard knows its own."""
        return _total([shard.num_rows for shard in self.shards])

    @property
    def about_rows(self) -> int | None:
        """Rows of the table, known or estimated from its first megabyte."""
        return _total([shard.about_rows if shard.num_rows is None else shard.num_rows for shard in self.shards])

    @property
    def num_bytes(self) -> int | None:
        """Bytes to read, if every shard knows its own."""
        return _total([shard.num_bytes for shard in self.shards])

    def blocks(self) -> Iterator[Block]:
        """Yield all rows, a few megabytes at a time."""
        for shard in self.shards:
            yield from shard.blocks()


def _total(parts: Sequence[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def shard_of(piece: Piece, *, names: Sequence[str], cast: Callable[[Block], Block]) -> Shard:
    """Return the piece with these columns chosen, each block passed through `cast`."""
    read = partial(_read_cast, piece, tuple(names), cast)
    return Shard(
        read=read, name=piece.name, num_rows=piece.num_rows, about_rows=piece.about_rows, num_bytes=piece.num_bytes
    )


def _read_cast(piece: Piece, names: tuple[str, ...], cast: Callable[[Block], Block], skip: int) -> Iterator[Block]:
    return map(cast, piece.read(names, skip))
