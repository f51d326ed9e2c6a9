"""Where the columns of a table stand: moments, or places in arrays of digits that nobody has read yet."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from onesigma.numbers.moments import Moments

__all__ = ["Cell", "Cells", "PlainCells", "added_cells"]


class Cell(NamedTuple):
    """One column of a tally that nobody has read yet."""

    tally: int
    column: int
    kind: str
    divisor: int
    nulls: int


Cells: TypeAlias = Mapping[str, Moments | Cell]


class PlainCells(Mapping[str, Cell]):
    """The cells of an array, column after column of one tally: a name each, and no object until it is looked up.

    Two of them compare at the speed of their names, so that blocks of a wide table merge without a look at each column.

    Example:
        >>> cells = PlainCells(("a", "b"), kind="number")
        >>> cells["b"].column, cells == PlainCells(("a", "b"), kind="number")
        (1, True)
    """

    __slots__ = ("_kind", "_names", "_places")

    def __init__(self, names: tuple[str, ...], *, kind: str) -> None:
        self._names, self._kind = names, kind
        self._places: dict[str, int] | None = None

    def __getitem__(self, name: str) -> Cell:
        if self._places is None:
            self._places = {name: place for place, name in enumerate(self._names)}
        return Cell(0, self._places[name], self._kind, 1, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PlainCells):
            return self._kind == other._kind and self._names == other._names
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # as any mapping


def added_cells(left: Cells, right: Cells) -> Cells | None:
    """Return the cells of both tables' rows; None where they do not stand at the same places of the same tallies."""
    if isinstance(left, PlainCells) and left == right:
        return left
    cells: dict[str, Moments | Cell] = {}
    for name, cell in left.items():
        both = _added(cell, right[name])
        if both is None:
            return None
        cells[name] = both
    return cells


def _added(left: Moments | Cell, right: Moments | Cell) -> Moments | Cell | None:
    if isinstance(left, Moments) and isinstance(right, Moments):
        return left.merge(right)
    if isinstance(left, Cell) and isinstance(right, Cell) and left[:4] == right[:4]:
        return left._replace(nulls=left.nulls + right.nulls) if right.nulls else left
    return None
