"""Input statistics as a file: JSON that a person can read, exact to the last bit, with a checksum; nothing in it runs.

    {"schema": "onesigma/inputs/1", "kind": "standard", "version": "0.1.0",
     "parameters": {"with_mean": true, "with_std": true},
     "provenance": {"source": "wine.csv", "rows": 178, "columns": 13, "date": "2026-11-22", "correction": 0},
     "fields": ["count", "minimum", "maximum", "total", "squares"],
     "columns": {"alcohol": [178, "0x1.6p+3", …], …},
     "checksum": "…"}

Real numbers are texts such as `0x1b3p-5`: a hexadecimal integer times a power of two (and `/0x5` where a divisor is
odd), which `float.fromhex` reads too. Counts are integers. A column says what is unusual of it in a sixth item.
"""

import errno
import hashlib
import json
import os
import stat
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from onesigma._errors import ScalerFileError

__all__ = ["MAX_COLUMNS", "SCHEMA", "canonical", "read_document", "write_document"]

SCHEMA = "onesigma/inputs/1"
MAX_COLUMNS = 100_000
"""A file with more columns is refused before its columns are looked at."""

_MAX_BYTES = 64 << 20
_MAX_KEYS = 4 * MAX_COLUMNS  # counted as colons: one a column, and some for what is unusual of it
_MAX_DIGITS = 20  # the counts are 64-bit integers; all larger numbers are texts
_KEYS = ("schema", "kind", "version", "parameters", "provenance", "fields", "columns")


def canonical(value: Any) -> bytes:
    """JSON without spaces, keys in their order: equal values, equal bytes, however the file was laid out.

    Example:
        >>> canonical({"b": [1, "x"], "a": None})
        b'{"b":[1,"x"],"a":null}'
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def write_document(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write `document` with schema and checksum, at once: a reader, or a full disk, never sees half a file.

    Raises:
        ScalerFileError: The folder cannot be written to, or the document is too large to be read back.
    """
    target = Path(path)
    content = {"schema": SCHEMA, **document}
    text = _laid_out({**content, "checksum": _checksum(content)}).encode()
    if len(text) > _MAX_BYTES or len(content["columns"]) > MAX_COLUMNS or text.count(b":") > _MAX_KEYS:
        raise ScalerFileError(
            f"{target}: {len(content['columns'])} columns in {len(text)} bytes are more than a file of statistics "
            f"holds ({MAX_COLUMNS} columns, {_MAX_BYTES} bytes); save the columns in several files with select()."
        )
    try:
        _write_atomically(target, text)
    except OSError as error:
        raise ScalerFileError(
            f"{target}: cannot be written: {error.strerror or error}; the old file is intact."
        ) from None


def read_document(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The document in a file, checked: bounded size, strict JSON, known schema, right checksum.

    Raises:
        ScalerFileError: The file is truncated, edited, newer than this library, hostile, or not one of statistics.
    """
    target = Path(path)
    try:
        return _checked(_parsed(_read_bounded(target)))
    except RecursionError:
        raise ScalerFileError(f"{target}: brackets are nested too deep for a file of input statistics.") from None
    except ScalerFileError as error:
        raise ScalerFileError(f"{target}: {error}") from None
    except OSError as error:
        raise ScalerFileError(f"{target}: cannot be read: {error.strerror or error}.") from None


def _read_bounded(path: Path) -> bytes:
    # Opened without waiting: a pipe without a writer would hang.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ScalerFileError("wanted a file of input statistics, got something that is no ordinary file.")
        if status.st_size > _MAX_BYTES:
            raise ScalerFileError(
                f"wanted a file of input statistics of at most {_MAX_BYTES} bytes, got {status.st_size}; not one."
            )
        return stream.read(_MAX_BYTES + 1)


def _parsed(content: bytes) -> Any:
    # Before parsing, which takes long where there are millions of them.
    if content.count(b":") > _MAX_KEYS:
        raise ScalerFileError(f"wanted at most {MAX_COLUMNS} columns, got {content.count(b':')} keys; not such a file.")
    try:
        return json.loads(
            content.decode("utf-8"),
            parse_int=_integer,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError as error:
        raise ScalerFileError(f"wanted JSON in UTF-8, got byte {content[error.start]:#04x} at {error.start}.") from None
    except json.JSONDecodeError as error:
        raise ScalerFileError(
            f"wanted input statistics as JSON, got {error.msg.lower()} in line {error.lineno}; "
            "truncated, or not such a file."
        ) from None


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ScalerFileError(f"wanted integers of at most {_MAX_DIGITS} digits, got one of {len(text)}.")
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise ScalerFileError(f"wanted integers and hexadecimal texts as numbers, got {text[:40]}.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ScalerFileError(f"the key {twice[:60]!r} stands there twice.")
    return result


def _checked(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ScalerFileError(f"wanted a record of input statistics, got a {type(document).__name__}; not one.")
    schema = document.get("schema")
    if schema != SCHEMA:
        name, _, number = str(schema)[:60].rpartition("/")
        newer = name == SCHEMA.rpartition("/")[0] and number.isdecimal()
        advice = "read it with the newer onesigma that wrote it" if newer else "this is no file of input statistics"
        raise ScalerFileError(f'wanted "schema": "{SCHEMA}", got {str(schema)[:60]!r}; {advice}.')
    checksum = document.pop("checksum", None)
    if checksum != _checksum(document):
        raise ScalerFileError("the checksum does not fit the content: edited or damaged; fit and save it again.")
    if tuple(sorted(document)) != tuple(sorted(_KEYS)):
        raise ScalerFileError(f"wanted the keys {', '.join(_KEYS)}; got {', '.join(map(str, document))[:200]}.")
    kinds = {"kind": str, "version": str, "parameters": dict, "provenance": dict, "fields": list, "columns": dict}
    for key, kind in kinds.items():
        if not isinstance(document[key], kind):
            raise ScalerFileError(f"wanted {key!r} to be a {kind.__name__}, got {type(document[key]).__name__}.")
    if not 1 <= len(document["columns"]) <= MAX_COLUMNS:
        raise ScalerFileError(f"wanted 1 to {MAX_COLUMNS} columns, got {len(document['columns'])}.")
    return document


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()[:32]


def _laid_out(document: Mapping[str, Any]) -> str:
    """One line per key and per column."""
    lines = []
    for key, value in document.items():
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
        if key == "columns":
            rows = (f"{json.dumps(name)}:{json.dumps(row, separators=(',', ':'))}" for name, row in value.items())
            text = "{\n" + ",\n".join(rows) + "\n}"
        lines.append(f"{json.dumps(key)}:{text}")
    return "{" + ",\n".join(lines) + "}\n"


def _write_atomically(target: Path, content: bytes) -> None:
    """A new file beside the old one, on the disk before it takes its name; a link stays a link."""
    target = target.resolve()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    part = target.with_name(f".onesigma-{uuid.uuid4().hex}.part")
    try:
        with open(part, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            os.chmod(part, stat.S_IMODE(target.stat().st_mode))
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """The new name is on the disk too, where the system lets a folder be synced."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
