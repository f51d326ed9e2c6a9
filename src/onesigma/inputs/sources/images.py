"""Folders of images: one column per channel, one row per pixel, as the bytes that the files hold."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from onesigma._errors import SourceError
from onesigma.inputs.sources.reading import state_of
from onesigma.inputs.sources.source import Piece, Sheet

__all__ = ["SUFFIXES", "look"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})

_GRAY = ("1", "L", "LA", "La")
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")
_PER_PIECE = 64


def look(paths: Sequence[Path], *, name: str) -> Sheet:
    """Describe image files as one sheet; the first file says how many channels there are.

    As in torchvision, images are red, green and blue unless the first is gray; transparency is dropped.

    Raises:
        SourceError: Pillow is not installed, or the first file is no image.
    """
    channels, mode = _channels(paths[0])
    kind = {"L": pa.uint8(), "RGB": pa.uint8(), "F": pa.float32()}.get(mode, pa.int32())
    groups = [paths[start : start + _PER_PIECE] for start in range(0, len(paths), _PER_PIECE)]
    states = tuple(map(state_of, paths))
    sizes = [
        sum(state.num_bytes for state in states[start : start + _PER_PIECE])
        for start in range(0, len(paths), _PER_PIECE)
    ]
    pieces = tuple(
        Piece(
            read=partial(_read, tuple(group), mode, channels),
            name=f"{group[0]} and {len(group) - 1} more",
            num_bytes=size,
        )
        for group, size in zip(groups, sizes, strict=True)
    )
    return Sheet(name=name, schema=pa.schema([(channel, kind) for channel in channels]), pieces=pieces, states=states)


def _pillow() -> Any:
    try:
        from PIL import Image  # optional: only folders of images need it
    except ImportError as error:
        raise SourceError("images need Pillow; install it with: pip install 'onesigma[images]'.") from error
    return Image


def _channels(path: Path) -> tuple[tuple[str, ...], str]:
    with _open(path) as image:
        if image.mode in _GRAY:
            return ("gray",), "L"
        return (("gray",), image.mode) if image.mode in _DEEP else (("red", "green", "blue"), "RGB")


def _open(path: Path) -> Any:
    try:
        return _pillow().open(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read as an image: {error}; remove or mend it.") from error


def _read(
    paths: Sequence[Path], mode: str, channels: tuple[str, ...], names: Sequence[str], skip: int
) -> Iterator[Any]:
    chosen = None if tuple(names) == channels else [channels.index(name) for name in names]
    for path in paths[skip:]:
        matrix = _pixels(path, mode).reshape(-1, len(channels))
        yield matrix if chosen is None else matrix[:, chosen]


def _pixels(path: Path, mode: str) -> Any:
    with _open(path) as image:
        if mode == "L" and image.mode not in _GRAY:
            raise SourceError(f"{path}: is a color image ({image.mode}) among gray ones; convert it, or sort it out.")
        try:
            return np.asarray(image if image.mode == mode else image.convert(mode))
        except (OSError, SyntaxError) as error:
            raise SourceError(f"{path}: cannot be decoded: {error}; remove or mend it.") from error
