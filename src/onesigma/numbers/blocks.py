"""Where the elements of a part of a tensor lie in the whole: rows of consecutive row-major indices."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

__all__ = ["Rows", "pieces", "rectangles", "rows_of"]


@dataclass(frozen=True, slots=True)
class Rows:
    """`len(starts)` rows of `length` consecutive logical indices each, row i from `starts[i]` on."""

    starts: Tensor
    length: int


def rectangles(indices: Sequence[Sequence[int]]) -> Iterator[tuple[tuple[slice, ...], tuple[range, ...]]]:
    """Cut a part of a tensor into boxes: per box its place in the part and its logical indices, per axis.

    Args:
        indices: Per axis the logical indices that the part holds, ascending.
    """
    per_axis = [list(_unbroken(axis)) for axis in indices]
    for box in product(*per_axis):
        yield tuple(place for place, _ in box), tuple(logical for _, logical in box)


def _unbroken(axis: Sequence[int]) -> Iterator[tuple[slice, range]]:
    """The unbroken ranges of one axis, with their places in the part."""
    if isinstance(axis, range) and axis.step == 1:
        yield slice(0, len(axis)), axis
        return
    cuts = [i for i in range(1, len(axis)) if axis[i] != axis[i - 1] + 1]
    for begin, end in zip([0, *cuts], [*cuts, len(axis)], strict=True):
        yield slice(begin, end), range(axis[begin], axis[begin] + end - begin)


def rows_of(box: Sequence[range], *, shape: Sequence[int]) -> Rows:
    """The rows of a box of a tensor of this shape; trailing axes that the box fills are joined."""
    if not box:
        return Rows(torch.zeros(1, dtype=torch.int64), 1)
    last = len(box) - 1
    while last > 0 and len(box[last]) == shape[last]:
        last -= 1
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(box))]
    starts = torch.full((1,), box[last].start * strides[last], dtype=torch.int64)
    for axis in reversed(range(last)):
        steps = torch.arange(box[axis].start, box[axis].stop) * strides[axis]
        starts = (steps[:, None] + starts).flatten()
    return Rows(starts, len(box[last]) * strides[last])


def pieces(rows: Rows, *, limit: int) -> Iterator[tuple[slice, slice]]:
    """Cut rows into pieces of at most `limit` elements: several whole rows, or a part of one."""
    num_rows = len(rows.starts)
    if rows.length >= limit:
        for row, begin in product(range(num_rows), range(0, rows.length, limit)):
            yield slice(row, row + 1), slice(begin, min(begin + limit, rows.length))
    elif rows.length:
        step = limit // rows.length
        for begin in range(0, num_rows, step):
            yield slice(begin, min(begin + step, num_rows)), slice(0, rows.length)
