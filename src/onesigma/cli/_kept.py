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
        if any(_holds(path, out) for path in read):
            raise OutputError(f"{out}: is among the data that are read, and they would be lost; choose another --out.")


def _holds(path: Path, out: Path) -> bool:
    """Whether `path` is this file, or a folder that it lies in with others of its kind."""
    if path.is_dir():
        # A folder is read for one kind of file, the commonest; a result of another kind may lie among them.
        return out.resolve().is_relative_to(path.resolve()) and out.suffix.lower() != ".json"
    return path.is_file() and path.samefile(out)
