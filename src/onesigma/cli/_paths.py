"""Names of files on the command line: an empty one is a mistake, though Python reads it as the folder we are in."""

from pathlib import Path

import typer

__all__ = ["file", "source"]


def file(name: str | Path) -> Path:  # a default comes here, too
    """The path of this name.

    Raises:
        typer.BadParameter: There is no name.
    """
    return Path(source(str(name)))


def source(name: str) -> str:
    """The name itself: of a file, a folder, a pattern or an address.

    Raises:
        typer.BadParameter: There is no name.
    """
    if not name.strip():
        raise typer.BadParameter("the name is empty; is a variable of your shell unset?")
    return name
