"""Arrays: NumPy, structured, masked and sparse ones, tensors, and NPY files, as tables of columns."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from onesigma._errors import SourceError
from onesigma.inputs.sources.reading import Reading, state_of
from onesigma.inputs.sources.source import BLOCK_BYTES, Block, FileState, Piece, Sheet, rows_per_block
from onesigma.numbers.tensors import is_tensor, tensor_array

__all__ = ["array_sheet", "as_block", "look", "record_sheet"]

_IN_MEMORY = 16 * BLOCK_BYTES  # Views cost no memory: larger blocks, fewer calls.


def look(path: Path, reading: Reading) -> Sheet:
    """Map an NPY file and describe it; nothing is unpickled.

    Raises:
        SourceError: An array of objects, text or complex numbers, or of more than two dimensions without an axis.
    """
    name, states = str(path), (state_of(path),)
    dtype = _dtype_of(path)
    if dtype.hasobject:
        raise SourceError(f"{name}: holds Python objects, which only unpickling could read; save numbers instead.")
    if dtype.names:
        return record_sheet(partial(_mapped, path), name=name, states=states)
    return array_sheet(partial(_mapped, path), name=name, axis=reading.axis, states=states)


def _dtype_of(path: Path) -> np.dtype[Any]:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)[2]


def _mapped(path: Path) -> Any:
    # Mapped anew for every block: dropping the block unmaps what was read, so memory does not follow the file.
    return np.load(path, mmap_mode="r", allow_pickle=False)


def array_sheet(
    opened: Callable[[], Any], *, name: str, axis: int | None = None, states: tuple[FileState, ...] = ()
) -> Sheet:
    """Describe an array as a table: columns along `axis`, every other axis counts rows.

    Args:
        opened: Returns the array or tensor; called for every block.
        name: For messages.
        axis: Axis of the columns. None: the last of a matrix, axis 1 of a tensor of four or more dimensions (N, C, …).
        states: State of the file behind it.

    Raises:
        SourceError: Values that are no numbers, no axis where one must be named, or one that is not there.
    """
    array = opened()
    kind = arrow_type(array, name=name)
    axis = columns_axis(array, axis=axis, name=name)
    num_columns = 1 if array.ndim == 1 else array.shape[axis]
    names = [f"x{index}" for index in range(num_columns)]
    size = array.numel() if is_tensor(array) else array.size
    read = partial(_read, opened, axis, dict(zip(names, range(num_columns), strict=True)), bool(states))
    width = array.element_size() if is_tensor(array) else array.dtype.itemsize
    piece = Piece(read=read, name=name, num_rows=size // max(num_columns, 1), num_bytes=size * width)
    return Sheet(name=name, schema=pa.schema([(column, kind) for column in names]), pieces=(piece,), states=states)


def columns_axis(array: Any, *, axis: int | None, name: str) -> int:
    """Return the axis that holds the columns, checked.

    Raises:
        SourceError: It must be named, or does not exist.
    """
    shape = tuple(array.shape)
    if array.ndim == 0:
        raise SourceError(f"{name}: a table has rows and columns, but this is a single number; wrap it in a list.")
    if axis is not None and not -array.ndim <= axis < array.ndim:
        raise SourceError(f"{name}: axis={axis} is not there, the shape is {shape}; axes are counted from 0.")
    if axis is not None:
        return axis % int(array.ndim)
    if array.ndim <= 2:
        return int(array.ndim) - 1
    if is_tensor(array) and array.ndim >= 4:
        return 1
    raise SourceError(f"{name}: which axis of shape {shape} holds the columns? Say axis=1 (channels first) or axis=-1.")


def arrow_type(array: Any, *, name: str) -> pa.DataType:
    """Return the Arrow type of an array's values.

    Raises:
        SourceError: They are complex, text, objects, or wider than Arrow knows.
    """
    if is_tensor(array):
        if array.is_complex() or array.is_quantized:
            raise SourceError(f"{name}: values must be real numbers, got {array.dtype}; convert them first.")
        return pa.from_numpy_dtype(tensor_array(array.new_empty(0)).dtype)
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind not in "biufmM" or dtype.itemsize > 8:
        raise SourceError(f"{name}: values must be real numbers of at most 64 bits, got {dtype}; convert them first.")
    return pa.array(np.zeros(0, dtype)).type


def _read(
    opened: Callable[[], Any], axis: int, places: dict[str, int], on_disk: bool, names: Sequence[str], skip: int
) -> Iterator[Block]:
    array = opened()
    chosen = None if list(names) == list(places) else [places[name] for name in names]
    num_rows, row_axis = array.shape[0], 0
    if axis == 0 and array.ndim > 1:  # Columns come first, so walk along the next axis.
        num_rows, row_axis = array.shape[1], 1
    row_bytes = _num_bytes(array) / max(num_rows, 1)
    step = rows_per_block(row_bytes) if on_disk else max(1, int(_IN_MEMORY // max(row_bytes, 1)))
    for start in range(skip * step, num_rows, step):
        part = (opened() if on_disk else array)[(slice(None),) * row_axis + (slice(start, start + step),)]
        yield as_block(_as_matrix(part, axis, chosen), names)


def _num_bytes(array: Any) -> int:
    return int(array.numel() * array.element_size() if is_tensor(array) else array.nbytes)


def _as_matrix(part: Any, axis: int, chosen: list[int] | None) -> Any:
    if part.ndim == 1:
        return part.reshape(-1, 1)
    if part.ndim > 2 or axis == 0:
        moved = part.movedim(axis, -1) if is_tensor(part) else np.moveaxis(part, axis, -1)
        part = moved.reshape(-1, part.shape[axis])
    return part if chosen is None else part[:, chosen]


def as_block(matrix: Any, names: Sequence[str]) -> Block:
    """Return a matrix as a block: detached, in native byte order, dates and masks as Arrow columns."""
    if is_tensor(matrix):
        return matrix.detach().to_dense()
    if isinstance(matrix, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(matrix)
        columns = [pa.array(np.asarray(matrix[:, i].data), mask=mask[:, i]) for i in range(matrix.shape[1])]
        return pa.RecordBatch.from_arrays(columns, names=list(names))
    if matrix.dtype.kind in "mM":
        columns = [pa.array(np.ascontiguousarray(matrix[:, index])) for index in range(matrix.shape[1])]
        return pa.RecordBatch.from_arrays(columns, names=list(names))
    return np.asarray(matrix, dtype=matrix.dtype.newbyteorder("="))


def record_sheet(opened: Callable[[], Any], *, name: str, states: tuple[FileState, ...] = ()) -> Sheet:
    """Describe a structured array, or a mapping of equally long arrays made one: a column per field."""
    array = opened().reshape(-1)
    kinds = {field: array.dtype[field] for field in array.dtype.names}
    schema = pa.schema([(field, _record_type(kind)) for field, kind in kinds.items()])
    read = partial(_read_records, opened)
    piece = Piece(read=read, name=name, num_rows=array.size, num_bytes=array.nbytes)
    return Sheet(name=name, schema=schema, pieces=(piece,), states=states)


def _record_type(dtype: np.dtype[Any]) -> pa.DataType:
    try:
        return pa.array(np.zeros(0, dtype.newbyteorder("="))).type if not dtype.shape else pa.list_(pa.null())
    except pa.ArrowException:
        return pa.binary()


def _read_records(opened: Callable[[], Any], names: Sequence[str], skip: int) -> Iterator[Block]:
    step = max(1, int(BLOCK_BYTES // max(opened().dtype.itemsize, 1)))
    for start in range(skip * step, opened().size, step):
        part = opened().reshape(-1)[start : start + step]
        columns = [np.ascontiguousarray(part[name], part.dtype[name].newbyteorder("=")) for name in names]
        yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=list(names))
