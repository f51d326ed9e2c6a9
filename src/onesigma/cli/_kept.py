"""Data that are read are kept: a command does not write its result over them."""

from collections.abc import Iterable
from glob import glob
from pathlib import Path

from onesigma._errors import OutputError

__all__ = ["refuse_own_source"]


def refuse_own_source(out: Path, sources: Iterable[str]) -> None:
    """Raise where the file to be written is one of those to be read.

    Raises:
        OutputError: `out` is a source, matches a pattern of one, or lies in a folder of them.
    """
    if not out.is_file():
        return
    for source in sources:
        read = (Path(name) for name in (source, *glob(source, recursive=True)))
        if any(path.is_file() and path.samefile(out) for path in read):
            raise OutputError(f"{out}: is among the data that are read, and they would be lost; choose another --out.")
