"""Arrow IPC files, streams and Feather: mapped, and mapped anew for every block so that read pages can leave memory."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from onesigma.inputs.sources.reading import Reading, state_of
from onesigma.inputs.sources.remote import mapped
from onesigma.inputs.sources.source import Piece, Sheet, rows_per_block

__all__ = ["look", "slices"]

_FILE_MAGIC = b"ARROW1"


def look(path: Path, reading: Reading) -> Sheet:
    """Read the schema; a file also tells its batches, a stream does not.

    Raises:
        pa.ArrowInvalid: Neither an Arrow file nor a stream.
    """
    del reading  # Arrow says everything about itself.
    state = state_of(path)
    with path.open("rb") as file:
        is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    if not is_file:
        with mapped(path) as file, pa.ipc.open_stream(file) as stream:
            schema = stream.schema
        piece = Piece(read=partial(_read_stream, path), name=str(path), num_bytes=state.num_bytes)
        return Sheet(name=str(path), schema=schema, pieces=(piece,), states=(state,))
    with mapped(path) as file, pa.ipc.open_file(file) as reader:
        schema, num_batches = reader.schema, reader.num_record_batches
        rows = [reader.get_batch(index).num_rows for index in range(num_batches)]
    piece = Piece(read=partial(_read_file, path, rows), name=str(path), num_rows=sum(rows), num_bytes=state.num_bytes)
    return Sheet(name=str(path), schema=schema, pieces=(piece,), states=(state,))


def _read_file(path: Path, rows: Sequence[int], names: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    cuts = []
    for index, num_rows in enumerate(rows):
        with mapped(path) as file, pa.ipc.open_file(file) as reader:
            step = rows_per_block(reader.get_batch(index).select(list(names)).nbytes / max(num_rows, 1))
        cuts += [(index, start, step) for start in range(0, num_rows, step)]
    for index, start, step in cuts[skip:]:
        # Left open: the block's buffers are the map, and both are closed when the block is dropped.
        reader = pa.ipc.open_file(mapped(path))
        yield reader.get_batch(index).select(list(names)).slice(start, step)


def _read_stream(path: Path, names: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    with mapped(path) as file, pa.ipc.open_stream(file) as stream:
        yield from slices(stream, names, skip)


def slices(
    batches: Iterator[pa.RecordBatch], names: Sequence[str], skip: int, *, scale: int = 1
) -> Iterator[pa.RecordBatch]:
    """Cut batches of any size into blocks of these columns; views, no copies.

    Args:
        batches: Record batches.
        names: Columns to keep, in this order.
        skip: Blocks to leave out at the start.
        scale: Blocks this many times the usual size: for tables that are in memory anyway.
    """
    index = 0
    for batch in batches:
        batch = batch.select(list(names))
        step = scale * rows_per_block(batch.nbytes / max(batch.num_rows, 1))
        for start in range(0, batch.num_rows, step):
            if index >= skip:
                yield batch.slice(start, step)
            index += 1
