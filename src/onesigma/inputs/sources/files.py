"""From a path, glob or folder to the files it means, and from a file's name or first bytes to its format."""

import glob
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, cast

import pyarrow as pa

from onesigma._errors import OnesigmaError, SourceError
from onesigma.inputs.sources import archives, arrays, delimited, images, ipc, jsonlines, members, parquet
from onesigma.inputs.sources.reading import Reading
from onesigma.inputs.sources.remote import find_remote, is_url
from onesigma.inputs.sources.source import Sheet

__all__ = ["find_files", "folders_alone", "look_at"]

Look: TypeAlias = Callable[[Path, Reading], Sheet]

_FORMATS: Mapping[str, Look] = MappingProxyType({
    ".parquet": parquet.look, ".pq": parquet.look, ".parq": parquet.look,
    ".csv": delimited.look, ".tsv": delimited.look, ".tab": delimited.look, ".psv": delimited.look,
    ".arrow": ipc.look, ".feather": ipc.look, ".ipc": ipc.look, ".arrows": ipc.look,
    ".npy": arrays.look, ".npz": archives.look,
    ".jsonl": jsonlines.look, ".ndjson": jsonlines.look, ".json": jsonlines.look,
})  # fmt: skip
_ALSO_TEXT = (".txt", ".dat", ".data")  # read when named, not looked for in folders
_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".br")
_MAGIC: tuple[tuple[bytes, Look], ...] = (
    (b"PAR1", parquet.look), (b"ARROW1", ipc.look), (b"\xff\xff\xff\xff", ipc.look), (b"\x93NUMPY", arrays.look),
    (b"PK\x03\x04", archives.look), (b"{", jsonlines.look),
)  # fmt: skip
_FORMAT_NAMES = "Parquet, CSV, Arrow, Feather, NPY, NPZ, JSON lines or image"


def find_files(path: str | Path) -> list[Path]:
    """Return the files that a path, glob or folder means, in natural order: part-2 before part-10.

    Raises:
        SourceError: Nothing is there (with what is alike), or a folder holds no table, or tables of several formats.

    Example:
        >>> find_files("no/such/file.csv")
        Traceback (most recent call last):
        onesigma._errors.SourceError: no/such/file.csv: no such file or folder; 'no' does not exist.
    """
    text = str(path)
    if is_url(text):
        # A stand-in for `Path`, wherever a reader opens or names it.
        return cast(list[Path], find_remote(text, list(_FORMATS)))
    if not text.strip():
        raise SourceError("an empty path: name a file, a glob or a folder; '.' is the folder that you are in.")
    place = Path(text).expanduser()
    if place.is_dir():
        return _in_folder(place)
    if place.exists():
        return [place]
    if any(sign in text for sign in "*?["):
        found = [Path(name) for name in glob.glob(str(place), recursive=True)]
        files = sorted((file for file in found if file.is_file()), key=_natural)
        if files:
            return files
        raise SourceError(f"{text}: no file matches; the folder is {Path(glob.escape(text)).parent}.")
    raise SourceError(f"{text}: no such file or folder; {_alike(place)}")


def folders_alone(source: str | Path, files: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """What folders below the source say and no column does, as "year=2020": key → reason to leave it out.

    Example:
        >>> folders_alone("lake", ["lake/year=2020/a.parquet", "lake/year=2021/b.parquet"], ["x"])
        {'year': 'in the names of folders alone (year=2020)'}
    """
    base = re.split(r"[*?\[]", str(Path(source).expanduser()))[0]
    below = (file[len(base) :].replace("\\", "/").split("/")[:-1] for file in files if file.startswith(base))
    known, found = set(names), dict[str, str]()
    for part in dict.fromkeys(part for parts in below for part in parts if "=" in part[1:]):
        key = part.partition("=")[0]
        if key not in known:
            found.setdefault(key, f"in the names of folders alone ({part})")
    return found


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", str(path))]


def _alike(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        missing = next(part for part in (*reversed(folder.parents), folder) if not part.is_dir())
        return f"{str(missing)!r} does not exist."
    names = sorted(entry.name for entry in folder.iterdir())
    close = get_close_matches(path.name, names, n=3)
    same_stem = [name for name in names if Path(name).stem == path.stem]
    found = list(dict.fromkeys(close + same_stem))[:3]
    return f"did you mean {' or '.join(map(repr, found))}?" if found else f"nothing in {str(folder)!r} is named alike."


def _in_folder(folder: Path) -> list[Path]:
    hidden = ("_", ".")
    inside = (file.relative_to(folder).parts for file in folder.rglob("*") if file.is_file())
    files = [folder.joinpath(*parts) for parts in inside if not any(part.startswith(hidden) for part in parts)]
    tables = sorted((file for file in files if _suffix(file) in _FORMATS), key=_natural)
    formats = {_FORMATS[_suffix(file)] for file in tables}
    if len(formats) > 1:
        suffixes = sorted({_suffix(file) for file in tables})
        raise SourceError(
            f"{folder}: holds tables of several formats ({', '.join(suffixes)}); name one as {folder}/*{suffixes[0]}."
        )
    pictures = (
        [] if tables else sorted((file for file in files if file.suffix.lower() in images.SUFFIXES), key=_natural)
    )
    if tables or pictures:
        return tables or pictures
    raise SourceError(f"{folder}: the folder holds no {_FORMAT_NAMES} file.")


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def look_at(path: Path, reading: Reading) -> Sheet:
    """Return the sheet of one file, by the format that its name or its first bytes tell.

    Raises:
        SourceError: The file is empty, of no known format, or not what its name says.
    """
    try:
        return _format_of(path)(path, reading)
    except OnesigmaError:
        raise
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        words = " ".join(str(error).split())
        raise SourceError(
            f"{path}: cannot be read as {_suffix(path) or 'a table'}: {words}; is the file damaged?"
        ) from error


def _format_of(path: Path) -> Look:
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise SourceError(f"{path}: the file is empty (0 bytes); a {_FORMAT_NAMES} file is wanted.")
    suffix = _suffix(path)
    if suffix in _FORMATS:
        look = _FORMATS[suffix]
    elif suffix in _ALSO_TEXT:
        look = delimited.look
    else:
        look = next((look for magic, look in _MAGIC if start.startswith(magic)), delimited.look)
    return members.look if look is arrays.look and is_url(str(path)) else look  # only what is here can be mapped
