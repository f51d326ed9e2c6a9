"""How a source is to be read, where its format leaves a choice; and the state of a file."""

from dataclasses import dataclass
from pathlib import Path

from onesigma.inputs.sources.source import FileState

__all__ = ["Reading", "state_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Choices that a format cannot make itself.

    Attributes:
        decimal: Keep decimal text exact, as decimals, where else it becomes the nearest double.
        axis: Which axis of an array of three or more dimensions holds the columns.
        field: Which part of each batch `(x, y)` or `{"x": …}`, or which array of an NPZ file.
    """

    decimal: bool = False
    axis: int | None = None
    field: str | int | None = None


def state_of(path: Path) -> FileState:
    """Return the size and time of last change of a file."""
    status = path.stat()
    return FileState(path=str(path.absolute()), num_bytes=status.st_size, modified_ns=status.st_mtime_ns)
