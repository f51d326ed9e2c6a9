"""Files of weights, read as tensors by name: safetensors, and what `torch.save` wrote. Nothing in them is executed."""

import json
import math
import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
import torch

from onesigma._errors import SourceError
from onesigma.measure.states import tensors_of_state

__all__ = ["holds_weights", "load_weights"]

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_INDEX = ".index.json"  # of a model in several files: model.safetensors.index.json

_MOST_HEADER = 100 << 20
_DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def holds_weights(name: str) -> bool:
    """Whether a file of this name holds weights, or tells in which files they lie.

    Example:
        >>> holds_weights("model.safetensors.index.json"), holds_weights("my_model.py:build")
        (True, False)
    """
    return name.lower().endswith((*_SUFFIXES, _INDEX))


def load_weights(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of every entry, mapped into memory where the format allows: a file may be larger than that.

    Raises:
        SourceError: No such file, another format, a file that is damaged, or one that wants to run code.
    """
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file of weights.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if path.name.lower().endswith(_INDEX):
        return _sharded(path)
    if path.suffix.lower() == ".safetensors":
        return _safetensors(path)
    if not start:
        raise SourceError(f"{path}: the file is empty; wanted one that torch.save or safetensors wrote.")
    return iter(_pickled(path).items())


def _sharded(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of all files that an index names, a file at a time."""
    for shard, names in _shards(path).items():
        found = set()
        for name, tensor in load_weights(path.with_name(shard)):
            found.add(name)
            yield name, tensor
        if lost := [name for name in names if name not in found]:
            raise SourceError(f"{path}: {shard} should hold {lost[0]!r:.60}, and does not; was it replaced?")


def _shards(path: Path) -> dict[str, list[str]]:
    """File → names of the tensors in it, as the index has them; files lie beside the index."""
    try:
        places = json.loads(path.read_bytes())["weight_map"]
        pairs = [(str(name), str(shard)) for name, shard in places.items()]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{path}: wanted the index of a model in several files, a JSON object with a weight_map of name to file "
            f"({type(error).__name__}: {_first_line(error)})."
        ) from error
    shards: dict[str, list[str]] = {}
    for name, shard in pairs:
        if Path(shard).name != shard or not holds_weights(shard) or shard.lower().endswith(_INDEX):
            raise SourceError(f"{path}: {name!r:.60} lies in {shard!r:.60}; wanted a file of weights beside the index.")
        shards.setdefault(shard, []).append(name)
    return shards


def _pickled(path: Path) -> Mapping[str, torch.Tensor]:
    """What `torch.save` wrote, by torch's reader of plain data, which refuses code."""
    try:
        # It warns of formats that it reads all the same.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = _loaded(path)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{path}: not read, for it holds more than tensors or is damaged ({_first_line(error)}); "
            "save weights alone: torch.save(model.state_dict(), …)."
        ) from error
    except Exception as error:
        raise SourceError(
            f"{path}: not written by torch.save, or damaged ({type(error).__name__}: {_first_line(error)})."
        ) from error
    if not isinstance(loaded, Mapping):
        raise SourceError(f"{path}: wanted a state_dict, got a {type(loaded).__name__}; save model.state_dict().")
    return tensors_of_state(loaded)


def _loaded(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, ValueError) as error:
        if "mmap" not in str(error):
            raise
        # The format of before 2020 cannot be mapped.
        return torch.load(path, map_location="cpu", weights_only=True)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0].partition(". ")[0]
    return text if len(text) <= 160 else text[:157] + "…"


def _safetensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    with path.open("rb") as file:
        header, base = _header(file, path)
    size = path.stat().st_size - base
    data = np.memmap(path, mode="c", dtype=np.uint8, offset=base) if size else np.zeros(0, np.uint8)
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, _tensor(entry, data, where=f"{path}: tensor {name!r:.60}")


def _header(file: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    """The JSON at the start, behind its length as eight bytes, and where the tensors begin."""
    start, size = file.read(8), path.stat().st_size
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= min(_MOST_HEADER, size - 8):
        raise SourceError(f"{path}: not a safetensors file: its header would be {length} bytes of {size}.")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not a safetensors file: its header is no JSON ({_first_line(error)}).") from error
    if not isinstance(header, dict):
        raise SourceError(f"{path}: not a safetensors file: its header is a {type(header).__name__}.")
    return header, 8 + length


def _tensor(entry: Any, data: np.ndarray, *, where: str) -> torch.Tensor:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
        raise SourceError(f"{where} has no shape or no place: {entry!r:.80}.")
    dtype = _DTYPES.get(str(entry.get("dtype")))
    if dtype is None:
        raise SourceError(f"{where} is of dtype {entry.get('dtype')!r:.40}; known are {', '.join(_DTYPES)}.")
    start, end = offsets
    wanted = math.prod(shape) * dtype.itemsize
    if not start <= end <= len(data) or end - start != wanted:
        raise SourceError(f"{where} takes {wanted} bytes, its place is {start} to {end} of {len(data)}: damaged.")
    if not wanted:
        return torch.zeros(shape, dtype=dtype)
    # A place may begin anywhere; torch reads from whole elements.
    raw = data[start:end]
    raw = raw if raw.ctypes.data % dtype.itemsize == 0 else raw.copy()
    return torch.from_numpy(np.asarray(raw)).view(dtype).reshape(shape)


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 1 << 62 for size in value)
