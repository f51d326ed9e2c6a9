"""Which axes of an array tell its columns apart: images by channel, sequences by feature, by number or by name."""

from collections.abc import Iterator, Sequence

import numpy as np

from onesigma._errors import SourceError
from onesigma.numbers.kernel import Array

__all__ = ["Axes", "axis_names", "kept_axes", "kept_columns"]

Axes = int | str | Sequence[int | str]
"""One axis or several, each by its number (negative ones count from the end) or by its name."""

_FEW = 64  # columns that are copied out one by one sooner than all at once


def kept_axes(shape: Sequence[int], axes: Axes, *, dims: Sequence[str] | None) -> list[int]:
    """The numbers of axes given by number or name, from 0.

    Args:
        shape: Of the array.
        axes: Axes to keep.
        dims: The names of the array's axes, such as "NCHW" or ("time", "feature").

    Raises:
        SourceError: There is no such axis, or it stands twice.
    """
    if dims is not None and len(dims) != len(shape):
        raise SourceError(f"axes: {len(dims)} names {tuple(dims)} for an array of shape {tuple(shape)}.")
    asked = [axes] if isinstance(axes, int | str) else list(axes)
    numbers = []
    for axis in asked:
        number = list(dims or ()).index(axis) if isinstance(axis, str) and axis in (dims or ()) else axis
        if not isinstance(number, int) or not -len(shape) <= number < len(shape):
            raise SourceError(
                f"axes: {axis!r} is none of {tuple(dims) if dims else len(shape)} axes of {tuple(shape)}."
            )
        numbers.append(number % len(shape))
    if len(set(numbers)) < len(numbers):
        raise SourceError(f"axes: {axes!r} names an axis twice.")
    return numbers


def axis_names(shape: Sequence[int], kept: Sequence[int]) -> list[str]:
    """Names of the columns: "0", "1", … along one axis, "0,0", "0,1", … along two."""
    return [",".join(map(str, index)) for index in np.ndindex(*(shape[axis] for axis in kept))]


def kept_columns(array: Array, kept: Sequence[int]) -> Iterator[Array]:
    """Tables whose columns, one after another, are those of the kept axes; no copy where memory allows."""
    last = np.moveaxis(array, kept, range(array.ndim - len(kept), array.ndim))
    columns = int(np.prod([array.shape[axis] for axis in kept], dtype=np.int64))
    trailing = list(kept) == list(range(array.ndim - len(kept), array.ndim))
    if trailing or columns > _FEW or not columns:
        yield last.reshape(-1, columns) if columns else np.empty((0, 0), array.dtype)
        return
    for index in np.ndindex(*last.shape[array.ndim - len(kept) :]):
        yield last[(..., *index)].reshape(-1, 1)
