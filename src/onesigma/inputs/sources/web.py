"""Files on a web server, read in place by ranges of bytes; the standard library alone."""

import io
import re
import shutil
import tempfile
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

__all__ = ["Web", "is_web"]

_TIMEOUT = 60.0  # seconds without a byte
_BUFFER = 1 << 20


def is_web(url: str) -> bool:
    """Return whether a URL is one of a web server.

    Example:
        >>> is_web("https://example.org/x.csv"), is_web("s3://bucket/x.csv")
        (True, False)
    """
    return url.startswith(("http://", "https://"))


class Found(NamedTuple):
    """What a server says of a file: its bytes, if it tells them, and whether it sends parts."""

    size: int | None
    by_ranges: bool


class Web:
    """What `pyarrow.fs.FSSpecHandler` asks of a filesystem, for http and https: URLs are paths, folders are none."""

    protocol = "http"

    def info(self, path: str) -> dict[str, Any]:
        """Size and type.

        Raises:
            FileNotFoundError: The server knows no such file.
            OSError: It is not to be reached, or refuses, in its own words.
        """
        return {"name": path, "size": _look(path).size, "type": "file"}

    def isfile(self, path: str) -> bool:
        """Whatever a server sends is a file; what is not there says so when it is opened."""
        del path
        return True

    def open(self, path: str, mode: str = "rb") -> io.BufferedIOBase:
        """Open for reading anywhere; a file that the server sends only whole is fetched first.

        Raises:
            OSError: See `info`.
        """
        del mode
        found = _look(path)
        if found.by_ranges and found.size is not None:
            return io.BufferedReader(_Ranges(path, found.size), _BUFFER)
        return io.BufferedReader(_Fetched(path), _BUFFER)


class _Fetched(io.RawIOBase):
    """A copy on disk, which is gone when nobody reads it any more, closed or not."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  # see `close`
        with _answer(url, {}) as answer:
            shutil.copyfileobj(answer, self.file)
        self.file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        return self.file.readinto(buffer)

    def close(self) -> None:
        if hasattr(self, "file"):
            self.file.close()
        super().close()


class _Ranges(io.RawIOBase):
    """A file of known size, of which each read fetches its bytes."""

    def __init__(self, url: str, size: int) -> None:
        super().__init__()
        self.url, self.size, self.place = url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence])
        return self.place

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self.size - self.place)
        if wanted <= 0:
            return 0
        with _answer(self.url, {"Range": f"bytes={self.place}-{self.place + wanted - 1}"}) as answer:
            if answer.status != 206 or _total(answer) != self.size:
                raise OSError(f"{self.url} changed while it was read; read it again")
            data = answer.read(wanted)
        if len(data) < wanted:
            raise OSError(f"{self.url}: the server sent {len(data)} of {wanted} bytes")
        buffer[:wanted] = data
        self.place += wanted
        return wanted


def _look(url: str) -> Found:
    try:
        with _answer(url, {"Range": "bytes=0-0"}) as answer:
            if answer.status == 206:
                return Found(_total(answer), by_ranges=True)
            length = answer.headers.get("Content-Length")
            return Found(int(length) if length else None, by_ranges=False)
    except HTTPError as error:
        if error.code == 416:  # no first byte
            return Found(0, by_ranges=False)
        raise


def _answer(url: str, headers: dict[str, str]) -> Any:
    try:
        return urlopen(Request(url, headers={"Accept-Encoding": "identity", **headers}), timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise FileNotFoundError(f"the server knows no such file ({error})") from error
        raise
    except URLError as error:
        raise OSError(f"the server cannot be reached: {error.reason}") from error
    except HTTPException as error:
        raise OSError(f"the server does not speak HTTP: {type(error).__name__} {error}") from error


def _total(answer: Any) -> int | None:
    found = re.fullmatch(r"bytes .*/(\d+)", answer.headers.get("Content-Range", ""))
    return None if found is None else int(found[1])
