"""Exact moments and quantile sketches of a source in one pass: what a robust scaler and its table need."""

import json
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Self

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

    def merge(self, other: Self) -> Self:
        """The summaries of both tables' rows."""
        return type(self)(self.columns.merge(other.columns), self.sketches.merge(other.sketches))

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return json.dumps([self.columns.to_bytes().hex(), self.sketches.rows()]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`."""
        columns, rows = json.loads(data)
        return cls(Columns.from_bytes(bytes.fromhex(columns)), Sketches.from_rows(rows))


def ranked_columns_of(source: Source, *, size: int) -> Statistic[RankedColumns]:
    """Return the statistic; `size` values of a column are kept in full. Its sketches toss coins beyond that."""
    names = source.names
    zero = RankedColumns(Columns.zero(names), Sketches.of(np.empty((0, len(names))), names, size=size))
    return Statistic(
        name=f"ranked/1/{size}",
        zero=zero,
        of=partial(_ranked_of_block, names=names, size=size),
        merge=RankedColumns.merge,
        to_bytes=RankedColumns.to_bytes,
        from_bytes=RankedColumns.from_bytes,
    )


def _ranked_of_block(block: Block, names: Sequence[str], size: int) -> RankedColumns:
    matrix = matrix_of(block, range(len(names)))
    return RankedColumns(Columns.of(block, names), Sketches.of(matrix, names, size=size))
