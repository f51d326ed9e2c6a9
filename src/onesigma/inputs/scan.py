"""One pass over a source: blocks become statistics, statistics merge; killed at any moment, it continues."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from onesigma.inputs.checkpoint import Checkpoint, Position
from onesigma.inputs.sources.source import Block, Source
from onesigma.numbers.columns import Columns

__all__ = ["Progress", "Statistic", "columns_of", "map_merge", "scan"]

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pass is.

    Attributes:
        num_rows: Rows read so far, those of an earlier, interrupted run included.
        total_rows: Rows of the whole source, by estimate where it does not say; None if nothing is known.
        seconds: Since this run began.
        resumed_rows: Rows that an earlier run had read.
    """

    num_rows: int
    total_rows: int | None
    seconds: float
    resumed_rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic(Generic[S]):
    """Law 1 as a value: what an engine needs to compute a statistic of a source, in any split and order.

    Attributes:
        name: Names the statistic and its version in checkpoints.
        zero: The statistic of no rows.
        of: The statistic of one block.
        merge: The statistic of both; commutative and associative.
        to_bytes: Canonical bytes.
        from_bytes: Inverse of `to_bytes`.
    """

    name: str
    zero: S
    of: Callable[[Block], S]
    merge: Callable[[S, S], S]
    to_bytes: Callable[[S], bytes]
    from_bytes: Callable[[bytes], S]


def columns_of(source: Source) -> Statistic[Columns]:
    """Return the statistic of the exact moments of a source's columns."""
    return Statistic(
        name="columns/1",
        zero=Columns.zero(source.names),
        of=partial(_columns_of_block, names=source.names),
        merge=Columns.merge,
        to_bytes=Columns.to_bytes,
        from_bytes=Columns.from_bytes,
    )


def _columns_of_block(block: Block, names: Sequence[str]) -> Columns:
    return Columns.of(block, names)


def scan(
    source: Source,
    *,
    checkpoint: str | Path | None = None,
    save_every: float = 1.0,
    progress: Callable[[Progress], None] | None = None,
) -> Columns:
    """Return the exact moments of every column of a source, in one pass and bounded memory.

    Args:
        source: From `open_source`.
        checkpoint: File that keeps what was counted so far. If the process dies, the same call continues from there
            and ends with the same bits; it is removed at the end. Needs a source of files.
        save_every: Seconds between two saves; longer where saving takes long.
        progress: Called after every block.

    Raises:
        SourceError: A block cannot be read, or the checkpoint belongs to other files or columns.

    Example:
        >>> from onesigma.inputs.sources import open_source
        >>> scan(open_source({"miles": [100.0, 100_000.0]}))["miles"].mean
        50050.0
    """
    return map_merge(source, columns_of(source), checkpoint=checkpoint, save_every=save_every, progress=progress)


def map_merge(
    source: Source,
    statistic: Statistic[S],
    *,
    checkpoint: str | Path | None = None,
    save_every: float = 1.0,
    progress: Callable[[Progress], None] | None = None,
) -> S:
    """Return the statistic of a whole source: `of` each block, then `merge`. The engine that is always there.

    Args:
        source: From `open_source`.
        statistic: See `Statistic`.
        checkpoint: See `scan`.
        save_every: See `scan`.
        progress: See `scan`.

    Raises:
        SourceError: See `scan`.
    """
    keeper = _Keeper(source, statistic, path=checkpoint, save_every=save_every)
    state, start = keeper.load()
    began = time.monotonic()
    for block, position in _positioned(source, start):
        state = statistic.merge(state, statistic.of(block))
        keeper.keep(state, position)
        if progress is not None:
            progress(
                Progress(
                    num_rows=position.rows,
                    total_rows=source.about_rows,
                    seconds=time.monotonic() - began,
                    resumed_rows=start.rows,
                )
            )
    keeper.done()
    return state


class _Keeper(Generic[S]):
    """Saves a pass now and then, or never without a path."""

    def __init__(self, source: Source, statistic: Statistic[S], *, path: str | Path | None, save_every: float) -> None:
        self.statistic = statistic
        self.checkpoint = None if path is None else Checkpoint.of(source, statistic.name, path=path)
        self.save_every = save_every
        self.due = time.monotonic() + save_every

    def load(self) -> tuple[S, Position]:
        found = None if self.checkpoint is None else self.checkpoint.load()
        if found is None:
            return self.statistic.zero, Position()
        return self.statistic.from_bytes(found.state), found.position

    def keep(self, state: S, position: Position) -> None:
        now = time.monotonic()
        if self.checkpoint is not None and now >= self.due:
            self.checkpoint.save(position, self.statistic.to_bytes(state))
            cost = time.monotonic() - now
            self.due = now + max(self.save_every, 20 * cost if self.save_every else 0)  # One part in twenty at most.

    def done(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint.remove()


def _positioned(source: Source, start: Position) -> Iterator[tuple[Block, Position]]:
    """Yield the blocks after a position, each with the position behind it."""
    rows = start.rows
    blocks = _blocks(source, start)
    for shard, index, block in _read_ahead(blocks) if source.states else blocks:
        rows += block.shape[0] if not hasattr(block, "num_rows") else block.num_rows
        yield block, Position(shard=shard, blocks=index + 1, rows=rows)


def _blocks(source: Source, start: Position) -> Iterator[tuple[int, int, Block]]:
    for number in range(start.shard, len(source.shards)):
        skip = start.blocks if number == start.shard else 0
        for index, block in enumerate(source.shards[number].blocks(skip), start=skip):
            yield number, index, block


T = TypeVar("T")


def _read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items while the next one is read in a thread: decoding and counting overlap."""
    with ThreadPoolExecutor(1, thread_name_prefix="onesigma-read") as pool:
        coming = pool.submit(_next, items)
        while (item := coming.result()) is not None:
            coming = pool.submit(_next, items)
            yield item


def _next(items: Iterator[T]) -> T | None:
    return next(items, None)
