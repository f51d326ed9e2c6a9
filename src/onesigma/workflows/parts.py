"""What an engine is given: parts of a table, the state of a part, and the way a state travels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic, Protocol, Self, TypeVar

from onesigma._errors import OnesigmaError, SourceError
from onesigma.inputs.scan import Statistic
from onesigma.inputs.sources import Block, Shard, open_source

__all__ = ["Parcel", "Part", "Summary", "join", "parts_of"]

_TRIES = 3
_MOST_PIECES, _MOST_BYTES = 512, 8 << 20  # that wait to be merged
_PART_BYTES = (1 << 20, 256 << 20)  # least and most, where shards allow


class Packable(Protocol):
    """A state that merges and knows its canonical bytes; it may have `merged_bytes`, which merges many of these."""

    def merge(self, other: Self) -> Self: ...

    def to_bytes(self) -> bytes: ...

    @classmethod
    def from_bytes(cls, data: bytes) -> Self: ...


S = TypeVar("S", bound=Packable)


class Parcel(Generic[S]):
    """A state on its way: within a process the object itself, between processes its canonical bytes.

    Where states merge as bytes, many at once, those that arrived are laid side by side until merging pays.
    """

    __slots__ = ("_kind", "_packed", "_state")

    def __init__(self, state: S) -> None:
        self._kind, self._packed = type(state), tuple[bytes, ...]()
        self._state: S | None = state

    @classmethod
    def packed(cls, kind: type[S], pieces: tuple[bytes, ...]) -> Self:
        """What the pieces merge to, each the canonical bytes of a state of this kind."""
        parcel = cls.__new__(cls)
        parcel._kind, parcel._packed, parcel._state = kind, pieces, None
        return parcel

    @property
    def state(self) -> S:
        """The state; unpacked when it is read."""
        if self._state is None:
            self._state, self._packed = self._kind.from_bytes(self._bytes()), ()
        return self._state

    def merge(self, other: Self) -> Self:
        """The state of both."""
        arrived = self._state is None or other._state is None
        if not arrived or not hasattr(self._kind, "merged_bytes"):
            return type(self)(self.state.merge(other.state))
        both = self.packed(self._kind, self._pieces() + other._pieces())
        if len(both._packed) > _MOST_PIECES or sum(map(len, both._packed)) > _MOST_BYTES:
            both._packed = (both._bytes(),)
        return both

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self._kind, self._bytes())

    def _pieces(self) -> tuple[bytes, ...]:
        return self._packed or (self._bytes(),)

    def _bytes(self) -> bytes:
        if self._state is not None:
            return self._state.to_bytes()
        if len(self._packed) == 1:
            return self._packed[0]
        merged: bytes = self._kind.merged_bytes(self._packed)  # type: ignore[attr-defined]  # `merge` has looked
        return merged


def _unpacked(kind: type[S], data: bytes) -> Parcel[S]:
    return Parcel.packed(kind, (data,))  # A function has a shorter name than a method, and each parcel bears it.


def join(left: Parcel[Any] | None, right: Parcel[Any] | None) -> Parcel[Any] | None:
    """Return the state of both; None is that of no rows."""
    if left is None or right is None:
        return left or right
    return left.merge(right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Shards that are read in one go: the first from block `skip` on."""

    shards: tuple[Shard, ...]
    skip: int = 0

    def blocks(self) -> Iterator[Block]:
        """Yield all rows, a few megabytes at a time."""
        for index, shard in enumerate(self.shards):
            yield from shard.blocks(0 if index else self.skip)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The state of a part, or of any table that the one door takes: what runs on the workers.

    A part that fails is read again from its beginning: what it had counted is dropped with it.

    Attributes:
        of: The state of a block.
        merge: The state of both.
        names: Columns to take from a table; parts have their own.
        whole: All columns were taken: an array without names that has more of them is no part of the same table.
        axis: See `open_source`.
        field: See `open_source`.
    """

    of: Callable[[Block], Any]
    merge: Callable[[Any, Any], Any]
    names: tuple[str, ...] = ()
    whole: bool = False
    axis: int | None = None
    field: str | int | None = None

    @classmethod
    def by(cls, statistic: Statistic[Any], **reading: Any) -> Self:
        """Return the summary of a statistic."""
        return cls(of=statistic.of, merge=statistic.merge, **reading)

    def __call__(self, part: Any) -> Parcel[Any] | None:  # noqa: D102
        for _ in range(_TRIES - 1):
            try:
                return self._once(part)
            except Exception as error:
                if isinstance(error, OnesigmaError) and not isinstance(error.__cause__, OSError):
                    raise  # The data are wrong, not the moment.
        return self._once(part)

    def _once(self, part: Any) -> Parcel[Any] | None:
        states = map(self.of, self._blocks(part))
        first = next(states, None)
        return None if first is None else Parcel(reduce(self.merge, states, first))

    def _blocks(self, part: Any) -> Iterator[Block]:
        if isinstance(part, Part):
            return part.blocks()
        if hasattr(part, "__len__") and not len(part):
            return iter(())  # Perhaps without columns, too.
        if self.whole and hasattr(part, "shape") and not hasattr(part, "columns"):
            found = len(open_source(part, axis=self.axis, field=self.field).names)
            if found > len(self.names):
                shape = tuple(part.shape)
                raise SourceError(f"a part of shape {shape} has {found} columns, the first {len(self.names)}.")
        return open_source(part, list(self.names), axis=self.axis, field=self.field).blocks()


def parts_of(shards: Sequence[Shard], *, workers: int, skip: int = 0) -> list[Part]:
    """Return the shards as parts of about equal size, several for each worker.

    Args:
        shards: In order.
        workers: How many parts run at once.
        skip: Blocks of the first shard that are counted already.
    """
    sizes = [shard.num_bytes for shard in shards]
    least, most = _PART_BYTES
    wanted = min(max(sum(size or 0 for size in sizes) // (32 * workers), least), most)
    parts: list[Part] = []
    group: list[Shard] = []
    filled = 0
    for shard, size in zip(shards, sizes, strict=True):
        group.append(shard)
        filled += wanted if size is None else size
        if filled >= wanted or shard is shards[-1]:
            parts.append(Part(shards=tuple(group), skip=0 if parts else skip))
            group, filled = [], 0
    return parts
