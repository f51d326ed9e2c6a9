"""What an engine is: it shares out parts, takes a state of each and merges the states."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import islice
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from onesigma._errors import EngineError, OnesigmaError

__all__ = ["FAN_IN", "Engine", "failing_as", "failure_of", "grouped", "tree_merged"]

S = TypeVar("S")
T = TypeVar("T")

FAN_IN = 16
"""States that one merge takes: a million parts are five levels, and no machine holds more than this many at once."""


class Engine(Protocol):
    """Runs a pass: a state of each part, merged. Parts are values that pickle, or one of the engine's own datasets.

    A state is opaque: it pickles, and `merge` is associative and commutative, with `zero` as its neutral element. So a
    part may be retried, run twice or moved, and states may merge in any shape of tree: one result of each part counts.

    Attributes:
        name: As in `engine="dask"`.
        workers: Parts that run at once, as far as the engine tells.
    """

    name: str
    workers: int

    def map_merge(self, shards: Any, of: Callable[[Any], S], *, merge: Callable[[S, S], S], zero: S) -> S:
        """Return the merged states of all parts.

        Args:
            shards: A sequence of parts, or what `parts` returned.
            of: The state of one part.
            merge: The state of both.
            zero: The state of no part.

        Raises:
            OnesigmaError: What `of` raised, as it was raised.
            EngineError: The engine failed: workers died again and again, or it cannot be reached.
        """
        ...

    def agreed(self, function: Callable[[], T]) -> T:
        """Return what a function returns; where the pass has several drivers, all raise if it raises on one."""
        ...

    def example(self, dataset: Any) -> Any:
        """Return a small table in memory with the columns of one of the engine's datasets; little is computed.

        Raises:
            EngineError: The columns cannot be told.
        """
        ...

    def parts(self, dataset: Any, names: Sequence[str], *, axis: int | None = None) -> Any:
        """Return what `map_merge` takes for a dataset: `of` is then called with tables that hold these columns."""
        ...

    def map_tables(
        self, dataset: Any, of: Callable[[pa.Table], pa.Table], *, schema: pa.Schema, changed: Sequence[str]
    ) -> Any:
        """Return a dataset of the same engine whose tables are mapped; lazy: nothing is computed now.

        Args:
            dataset: One of the engine's own.
            of: Arrow in, Arrow out, row by row: any cut into tables gives the same rows.
            schema: What `of` returns for a whole table.
            changed: The columns that `of` changes; it passes all others through, and may be given these alone.
        """
        ...


def tree_merged(states: Iterable[S], merge: Callable[[S, S], S], *, zero: S) -> S:
    """Merge states as they come, in a tree: each meets others of its own size, and few are held at once.

    Where states grow by merging, as exact sums do, a tree of n states costs n small merges; a chain, n large ones.

    Example:
        >>> tree_merged(range(10), lambda a, b: a + b, zero=0)
        45
    """
    waiting: list[tuple[int, S]] = []  # (level, state), levels falling: the digits of a binary counter
    for state in states:
        level = 0
        while waiting and waiting[-1][0] == level:
            state, level = merge(waiting.pop()[1], state), level + 1
        waiting.append((level, state))
    left = [state for _, state in waiting]
    return reduce(lambda late, early: merge(early, late), reversed(left)) if left else zero


def grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


@contextmanager
def failing_as(name: str) -> Iterator[None]:
    """While open, what an engine raises becomes the `OnesigmaError` inside of it, or else an `EngineError`."""
    try:
        yield
    except Exception as error:
        raise failure_of(error, name) from error


def failure_of(error: BaseException, name: str) -> Exception:
    """Return the error to raise for one that an engine raised: ours if one is among its causes."""
    seen: BaseException | None = error
    while seen is not None and (wrapped := getattr(seen, "cause", None) or seen.__cause__ or seen.__context__):
        if isinstance(seen, OnesigmaError) and not hasattr(seen, "cause"):
            break
        seen = wrapped
    if isinstance(seen, OnesigmaError):
        return type(seen)(*seen.args)
    words = " ".join(_end_of_traceback(str(error)).split())
    return EngineError(f"{name}: the pass stopped: {type(error).__name__}: {words[-400:]}; nothing was counted.")


def _end_of_traceback(text: str) -> str:
    """Return what a worker's traceback ends with, of the error that came first; a text that is none as it is."""
    first = text.partition("The above exception was the direct cause")[0].rstrip()
    if '  File "' not in first:
        return text
    lines = first.splitlines()
    last_place = max(index for index, line in enumerate(lines) if line.startswith("  "))
    return "\n".join(lines[last_place + 1 :]) or text
