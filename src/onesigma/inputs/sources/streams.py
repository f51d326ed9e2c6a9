"""Iterables of batches, such as a `DataLoader`: each a small table, or `(x, y)` with the inputs named by `field`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from numbers import Number
from typing import Any

import numpy as np

from onesigma._errors import SourceError
from onesigma.inputs.sources.reading import Reading
from onesigma.inputs.sources.source import Piece, Sheet
from onesigma.numbers.tensors import is_tensor

__all__ = ["stream_sheet"]


def stream_sheet(batches: Iterable[Any], reading: Reading, *, name: str, look: Any) -> Sheet:
    """Describe an iterable of batches by its first one; a one-shot iterator is read once only.

    Args:
        batches: Matrices, tensors, frames, record batches, `(x, y)` or `{"x": …}`.
        reading: `field` says which part of a batch holds the inputs; by default the first of a tuple.
        name: For messages.
        look: Describes one batch in memory: the same door.

    Raises:
        SourceError: It yields nothing, or parts of a batch that no field names.
    """
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None:
        raise SourceError(f"{name}: yields no batch; is the data set empty, or the iterator used up?")
    sheet: Sheet = look(inputs_of(first, reading.field, name=name), reading, name=f"{name}, batch 0")
    source = _Once(chain([first], iterator), batches if batches is not iterator else None)
    read = partial(_read, source, reading, name, look, len(sheet.schema))
    return Sheet(name=name, schema=sheet.schema, pieces=(Piece(read=read, name=name),), notes=sheet.notes)


class _Once:
    """Iterates with the first batch put back; again only if the iterable can start again."""

    def __init__(self, started: Iterator[Any], again: Iterable[Any] | None) -> None:
        self.started: Iterator[Any] | None = started
        self.again = again

    def __iter__(self) -> Iterator[Any]:
        started, self.started = self.started, None
        if started is not None:
            return started
        if self.again is None:
            raise SourceError("an iterator gives its batches once; pass a list, a DataLoader or a function's result.")
        return iter(self.again)


def _read(
    source: _Once, reading: Reading, name: str, look: Any, width: int, names: Sequence[str], skip: int
) -> Iterator[Any]:
    count = 0
    for index, batch in enumerate(source):
        sheet = look(inputs_of(batch, reading.field, name=name), reading, name=f"{name}, batch {index}")
        missing = [column for column in names if column not in sheet.schema.names]
        if missing:
            raise SourceError(
                f"{sheet.name}: has {len(sheet.schema)} columns, {missing[0]!r} of the first batch is not among them."
            )
        if len(sheet.schema) > width and _is_nameless(sheet.schema.names):
            raise SourceError(f"{sheet.name}: has {len(sheet.schema)} columns, the first batch has {width}.")
        for piece in sheet.pieces:
            for block in piece.read(names, 0):
                if count >= skip:
                    yield block
                count += 1


def _is_nameless(names: Sequence[str]) -> bool:
    """An array, whose columns are called by their places alone: a wider one is no part of the same table."""
    return list(names) == [f"x{index}" for index in range(len(names))]


def inputs_of(batch: Any, field: str | int | None, *, name: str) -> Any:
    """Return the part of a batch that holds the inputs.

    Raises:
        SourceError: The field is not there, or must be said.
    """
    if isinstance(batch, Mapping):
        return _of_mapping(batch, field, name=name)
    if field is None and isinstance(batch, tuple | list) and all(isinstance(part, Number) for part in batch):
        return [batch]  # One row.
    if isinstance(batch, tuple | list) and not _is_row(batch):
        place = 0 if field is None else field
        if isinstance(place, int) and -len(batch) <= place < len(batch):
            part = batch[place]
            return inputs_of(part, None, name=name) if isinstance(part, tuple | list) and not _is_row(part) else part
        named = getattr(batch, place, None) if isinstance(place, str) else None
        if named is not None:
            return named
        raise SourceError(f"{name}: a batch has {len(batch)} parts, counted from 0; field={field!r} is not one.")
    return batch


def _is_row(batch: Sequence[Any]) -> bool:
    """A list of numbers, or of lists of numbers, is data; a tuple of tensors is `(x, y)`."""
    return not any(
        hasattr(part, "__array__") or hasattr(part, "__arrow_c_array__") or isinstance(part, dict) for part in batch
    )


def _of_mapping(batch: Mapping[Any, Any], field: str | int | None, *, name: str) -> Any:
    if field is not None:
        if field in batch:
            return batch[field]
        raise SourceError(f"{name}: no field {field!r} in a batch; the fields are {', '.join(map(repr, batch))}.")
    shapes = {key: tuple(value.shape) if is_tensor(value) else np.shape(value) for key, value in batch.items()}
    if all(len(shape) == 1 for shape in shapes.values()):
        return batch  # A small table: columns by name.
    if not any(shapes.values()):
        return {key: [value] for key, value in batch.items()}  # One row.
    if len(batch) == 1:
        return next(iter(batch.values()))
    raise SourceError(f"{name}: which field holds the inputs? Say field= one of {', '.join(map(repr, batch))}.")
