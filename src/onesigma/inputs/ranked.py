"""Exact moments and quantile sketches of a source in one pass: what a robust scaler and its table need."""

import json
from typing import NamedTuple

import numpy as np

from onesigma.inputs.scan import Statistic
from onesigma.inputs.sketches import Sketches
from onesigma.inputs.sources import Block, Source
from onesigma.inputs.sources.table import matrix_of
from onesigma.numbers.columns import Columns

__all__ = ["RankedColumns", "ranked_columns_of"]


class RankedColumns(NamedTuple):
    """Both summaries of the same rows."""

    columns: Columns
    sketches: Sketches


def ranked_columns_of(source: Source, *, size: int) -> Statistic[RankedColumns]:
    """Return the statistic; `size` values of a column are kept in full. Its sketches toss coins beyond that."""
    names, places = source.names, range(len(source.names))

    def of(block: Block) -> RankedColumns:
        return RankedColumns(Columns.of(block, names), Sketches.of(matrix_of(block, places), names, size=size))

    def merge(left: RankedColumns, right: RankedColumns) -> RankedColumns:
        return RankedColumns(left.columns.merge(right.columns), left.sketches.merge(right.sketches))

    zero = RankedColumns(Columns.zero(names), Sketches.of(np.empty((0, len(names))), names, size=size))
    return Statistic(name=f"ranked/1/{size}", zero=zero, of=of, merge=merge, to_bytes=_encode, from_bytes=_decode)


def _encode(both: RankedColumns) -> bytes:
    return json.dumps([both.columns.to_bytes().hex(), both.sketches.rows()]).encode()


def _decode(data: bytes) -> RankedColumns:
    columns, rows = json.loads(data)
    return RankedColumns(Columns.from_bytes(bytes.fromhex(columns)), Sketches.from_rows(rows))
