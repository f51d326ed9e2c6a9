"""Parquet: one piece per row group, checksums verified, pages streamed so that memory does not follow the file."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from onesigma.inputs.sources.reading import Reading, state_of
from onesigma.inputs.sources.remote import handle
from onesigma.inputs.sources.source import Piece, Sheet, rows_per_block

__all__ = ["look"]


def look(path: Path, reading: Reading) -> Sheet:
    """Read the footer alone: columns, row groups and their rows.

    Raises:
        pa.ArrowInvalid: Not a Parquet file, or a damaged footer.
    """
    del reading  # Parquet says everything about itself.
    with pq.ParquetFile(handle(path)) as file:
        schema, metadata = file.schema_arrow, file.metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    pieces = tuple(
        Piece(
            read=partial(_read, path, metadata, index),
            name=f"{path}, row group {index}",
            num_rows=group.num_rows,
            num_bytes=group.total_byte_size,
        )
        for index, group in enumerate(groups)
    )
    return Sheet(name=str(path), schema=schema, pieces=pieces, states=(state_of(path),))


def _read(
    path: Path, metadata: pq.FileMetaData, group: int, names: Sequence[str], skip: int
) -> Iterator[pa.RecordBatch]:
    # Without pre_buffer and with a buffer, columns are read page by page: a row group of many gigabytes stays on disk.
    options = {"metadata": metadata, "pre_buffer": False, "buffer_size": 1 << 16, "page_checksum_verification": True}
    with pq.ParquetFile(handle(path), **options) as file:
        rows = rows_per_block(sum(_width(file.schema_arrow.field(name).type) for name in names))
        batches = file.iter_batches(rows, row_groups=[group], columns=list(names))
        for index, batch in enumerate(batches):
            if index >= skip:
                yield batch.select(list(names))


def _width(kind: pa.DataType) -> float:
    try:
        return float(kind.bit_width) / 8
    except ValueError:  # text and lists have no fixed width
        return 32.0
