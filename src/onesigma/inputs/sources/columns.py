"""Which columns a source offers: numbers by default, anything numeric by name, every refusal with its reason."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from onesigma._errors import SourceError
from onesigma.inputs.sources.source import Block, Sheet

__all__ = ["as_numbers", "choose_columns", "close_to", "listed", "reason_left_out", "unwrapped"]


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values themselves: past a dictionary, run lengths or an extension."""
    if isinstance(kind, pa.BaseExtensionType):
        return value_type(kind.storage_type)
    return value_type(kind.value_type) if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind) else kind


def is_number(kind: pa.DataType) -> bool:
    """Return whether values of this type are numbers as they stand; bool counts as 0 and 1."""
    kind = value_type(kind)
    numeric = pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)
    return bool(numeric or pt.is_boolean(kind) or pt.is_null(kind))


def is_time(kind: pa.DataType) -> bool:
    """Return whether values of this type are dates, times or durations: numbers only if one says so."""
    return bool(pt.is_temporal(value_type(kind)))


def reason_left_out(kind: pa.DataType) -> str:
    """Return in a few words why a column of this type is not taken by default."""
    if is_time(kind):
        return f"a date or time ({kind}): name it in columns to include it"
    kind = value_type(kind)
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return "text"
    return f"not a number ({kind})"


def listed(names: Iterable[object], *, most: int = 8) -> str:
    """Return names as a list for a message, cut after `most`.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        "'a', 'b' and 1 more"
    """
    names = list(names)
    text = ", ".join(repr(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


def close_to(name: str, names: Sequence[str], *, what: str = "columns") -> str:
    """Return a hint that ends a message: the names most like this one, or all of them.

    Example:
        >>> close_to("qualty", ["quality", "pH"])
        "did you mean 'quality'?"
    """
    by_folded = {other.strip().casefold(): other for other in names}
    close = get_close_matches(name.strip().casefold(), list(by_folded), n=3)
    if close:
        return f"did you mean {' or '.join(repr(by_folded[key]) for key in close)}?"
    return f"the {what} are {listed(names)}." if names else f"there are no {what}."


def kinds_of(sheet: Sheet) -> dict[str, pa.DataType]:
    """Return the type of every column, by name, in order."""
    return {field.name: field.type for field in sheet.schema}


def refuse_duplicates(sheet: Sheet) -> None:
    """Raise if a name stands twice: which of the two is meant nobody can say.

    Raises:
        SourceError: With the names and how often each is there.
    """
    if len(set(sheet.schema.names)) == len(sheet.schema):
        return
    twice = {name: times for name, times in Counter(sheet.schema.names).items() if times > 1}
    told = ", ".join(f"{name!r} stands {times} times" for name, times in list(twice.items())[:5])
    raise SourceError(f"{sheet.name}: column names must differ, but {told}; rename them in the data.")


def choose_columns(sheet: Sheet, columns: Sequence[str | int] | str | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the columns asked for, in that order, and those left out by default with the reason.

    Args:
        sheet: The table.
        columns: Names, patterns such as `"trip_*"`, or positions. None: every column of numbers.

    Raises:
        SourceError: A name that is not there, a column that holds no numbers, or nothing left at all.
    """
    refuse_duplicates(sheet)
    if columns is None:
        return _numbers_of(sheet)
    kinds = kinds_of(sheet)
    wanted = [columns] if isinstance(columns, str | int) else list(columns)
    if not wanted:
        raise SourceError(f"{sheet.name}: columns=[] asks for no column; leave it out to take all numbers.")
    names = tuple(dict.fromkeys(name for want in wanted for name in _matching(sheet, want, kinds=kinds)))
    for name in names:
        kind = kinds[name]
        if not (is_number(kind) or is_time(kind)):
            why = sheet.notes.get(name, reason_left_out(kind))
            raise SourceError(f"{sheet.name}: column {name!r} must hold numbers, but it is {why}; leave it out.")
    return names, {}


def _numbers_of(sheet: Sheet) -> tuple[tuple[str, ...], dict[str, str]]:
    names = tuple(field.name for field in sheet.schema if is_number(field.type))
    others = {
        field.name: sheet.notes.get(field.name, reason_left_out(field.type))
        for field in sheet.schema
        if not is_number(field.type)
    }
    if names:
        return names, others
    told = "; ".join(f"{name!r} is {why}" for name, why in list(others.items())[:5]) or "it has no columns"
    raise SourceError(f"{sheet.name}: no column holds numbers: {told}.")


def _matching(sheet: Sheet, want: str | int, *, kinds: Mapping[str, pa.DataType]) -> list[str]:
    if want in kinds:
        return [str(want)]
    names = list(kinds)
    if isinstance(want, int):
        if -len(names) <= want < len(names):
            return [names[want]]
        raise SourceError(f"{sheet.name}: column {want} is asked for, but there are {len(names)}, counted from 0.")
    found = [name for name in names if fnmatchcase(name, want)]
    if not found:
        raise SourceError(f"{sheet.name}: no column {want!r}; {close_to(want, names)}")
    return found


def refuse_other_columns(first: Sheet, sheet: Sheet, names: Sequence[str]) -> None:
    """Raise unless a later sheet holds the same columns as numbers.

    Raises:
        SourceError: Naming the file, the column, and what the first file has there.
    """
    refuse_duplicates(sheet)
    kinds = kinds_of(sheet)
    before_of = kinds_of(first)
    for name in names:
        if name not in kinds:
            hint = close_to(name, list(kinds))
            raise SourceError(f"{sheet.name}: no column {name!r}, which {first.name} has; {hint}")
        kind, before = kinds[name], before_of[name]
        if _family(kind) != _family(before) and not pt.is_null(kind) and not pt.is_null(before):
            why = sheet.notes.get(name, kind)
            raise SourceError(
                f"{sheet.name}: column {name!r} is {why}, but {before} in {first.name}; "
                f"convert it, or leave it out with columns."
            )


def _family(kind: pa.DataType) -> str:
    """Return what adds up: integers and floats do, exactly; a date and a decimal do not."""
    kind = value_type(kind)
    if pt.is_integer(kind) or pt.is_floating(kind):
        return "number"
    if pt.is_decimal(kind):
        return "decimal"
    return "text" if pt.is_string(kind) or pt.is_large_string(kind) else str(kind)


def as_numbers(block: Block) -> Block:
    """Return the block with every column a plain array of numbers: dictionaries decoded, extensions unwrapped."""
    if not isinstance(block, pa.RecordBatch) or not any(_is_wrapped(field.type) for field in block.schema):
        return block
    plain = [unwrapped(column, name=name) for name, column in zip(block.schema.names, block.columns, strict=True)]
    return pa.RecordBatch.from_arrays(plain, names=block.schema.names)


def _is_wrapped(kind: pa.DataType) -> bool:
    return value_type(kind) != kind or bool(pt.is_null(kind) or pt.is_decimal256(kind))


def unwrapped(column: pa.Array, *, name: str) -> pa.Array:
    """Return a column as a plain array of numbers.

    Raises:
        SourceError: Decimals of more digits than 38.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return unwrapped(column.storage, name=name)
    if pt.is_dictionary(kind):
        return unwrapped(column.dictionary_decode(), name=name)
    if pt.is_run_end_encoded(kind):
        return unwrapped(pc.run_end_decode(column), name=name)
    if pt.is_null(kind):
        return column.cast(pa.float64())
    if not pt.is_decimal256(kind):
        return column
    try:
        return column.cast(pa.decimal128(38, kind.scale))
    except pa.ArrowInvalid:
        raise SourceError(
            f"column {name!r} holds decimals of more than 38 digits ({kind}); convert it to float64, or leave it out "
            f"with columns."
        ) from None


def merged_type(kinds: Iterable[pa.DataType]) -> pa.DataType:
    """Return one type for a column over all files: their own if they agree, else float64."""
    found = {value_type(kind) for kind in kinds} - {pa.null()}
    return found.pop() if len(found) == 1 else pa.float64()


def left_out_later(first: Sheet, later: Sequence[Sheet]) -> Mapping[str, str]:
    """Return columns that only later files have, each with the first file that does."""
    known = set(first.schema.names)
    return {
        name: f"only in {sheet.name}" for sheet in reversed(later) for name in sheet.schema.names if name not in known
    }
