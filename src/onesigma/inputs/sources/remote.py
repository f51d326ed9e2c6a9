"""Files elsewhere: any URL of a web server, or that a filesystem of pyarrow or fsspec opens, read in place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pa_fs

from onesigma._errors import SourceError
from onesigma.inputs.sources.web import Web, is_web

__all__ = ["RemotePath", "find_remote", "handle", "is_url", "mapped", "streamed"]


class _Status(NamedTuple):
    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A file behind a URL, with what the readers ask of a `Path`. It pickles: a worker opens the file itself."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part, without a query behind it."""
        return PurePosixPath(self.url.partition("?")[0] if is_web(self.url) else self.url).name

    @property
    def suffix(self) -> str:
        """Of the name."""
        return PurePosixPath(self.name).suffix

    @property
    def suffixes(self) -> list[str]:
        """Of the name."""
        return PurePosixPath(self.name).suffixes

    def absolute(self) -> "RemotePath":
        """Itself: URLs are."""
        return self

    def stat(self) -> _Status:
        """Size and time of last change; 0 where the filesystem does not tell."""
        filesystem, path = _opened_filesystem(self.url)
        info = filesystem.get_file_info(path)
        return _Status(info.size or 0, int(info.mtime_ns or 0))

    def open(self, mode: str = "rb") -> Any:
        """Open for reading anywhere."""
        del mode
        filesystem, path = _opened_filesystem(self.url)
        return filesystem.open_input_file(path)

    def stream(self) -> Any:
        """Open for reading from front to back, decompressed as the name says."""
        filesystem, path = _opened_filesystem(self.url)
        return filesystem.open_input_stream(path)


def is_url(text: str) -> bool:
    """Return whether a path names its filesystem.

    Example:
        >>> is_url("s3://bucket/x.parquet"), is_url("C:/x.parquet")
        (True, False)
    """
    return re.match(r"^[a-z][a-z0-9+]+://", text) is not None


def handle(path: Any) -> Any:
    """Return what a reader of random access takes: the path itself, or an open remote file."""
    return path.open() if isinstance(path, RemotePath) else path


def mapped(path: Path | RemotePath) -> Any:
    """Open a file for reading anywhere: mapped where it is here."""
    return path.open() if isinstance(path, RemotePath) else pa.memory_map(str(path))


def streamed(path: Path | RemotePath) -> Any:
    """Open a file for reading from front to back, decompressed as its name says."""
    return path.stream() if isinstance(path, RemotePath) else pa.input_stream(str(path), compression="detect")


def find_remote(url: str, suffixes: Sequence[str]) -> list[RemotePath]:
    """Return the files that a URL means: a file, a pattern, or all tables of these suffixes in a folder.

    Raises:
        SourceError: Nothing is there, or no filesystem opens it.
    """
    if is_web(url):
        return [_on_the_web(url)]
    base = re.split(r"[^/]*[*\[]", url, maxsplit=1)[0]
    filesystem, path = _opened_filesystem(base)
    try:
        info = filesystem.get_file_info(path.rstrip("/") or path)
        if base == url and info.type == pa_fs.FileType.File:
            return [RemotePath(url)]
        found = filesystem.get_file_info(pa_fs.FileSelector(path.rstrip("/"), recursive=True, allow_not_found=True))
    except OSError as error:
        raise SourceError(f"{url}: cannot be looked at: {' '.join(str(error).split())}") from error
    paths = sorted(entry.path for entry in found if entry.type == pa_fs.FileType.File)
    root = path.rstrip("/") + "/"
    if base == url:
        kept = [name for name in paths if PurePosixPath(name).suffix.lower() in suffixes and not _hidden(name, root)]
    else:
        pattern = url[len(base) :]
        kept = [name for name in paths if fnmatchcase(name.removeprefix(root), pattern)]
    if not kept:
        raise SourceError(f"{url}: no file is there; is the address right, and may you list it?")
    return [RemotePath(base.rstrip("/") + "/" + name.removeprefix(root)) for name in kept]


def _on_the_web(url: str) -> RemotePath:
    if "*" in url or url.endswith("/"):
        raise SourceError(f"{url}: a web server lists no files; name each one, as a list of URLs.")
    try:
        Web().info(url)
    except OSError as error:
        words = " ".join(str(error).split())
        raise SourceError(f"{url}: cannot be read: {words}; is the address right, and the server up?") from error
    return RemotePath(url)


def _hidden(name: str, root: str) -> bool:
    return any(part.startswith(("_", ".")) for part in PurePosixPath(name.removeprefix(root)).parts)


def _opened_filesystem(url: str) -> tuple[Any, str]:
    if is_web(url):
        return pa_fs.PyFileSystem(pa_fs.FSSpecHandler(Web())), url
    try:
        filesystem, path = pa_fs.FileSystem.from_uri(url)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _of_fsspec(url)
    except OSError as error:
        raise SourceError(f"{url}: its filesystem cannot be reached: {' '.join(str(error).split())}") from error
    return filesystem, path


def _of_fsspec(url: str) -> tuple[Any, str]:
    try:
        import fsspec  # An optional dependency: pyarrow alone opens file, s3, gs and hdfs.

        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        words = " ".join(str(error).split())
        raise SourceError(f"{url}: no filesystem opens it ({words}); pip install fsspec and what it names.") from error
    return pa_fs.PyFileSystem(pa_fs.FSSpecHandler(filesystem)), path
