"""Law 3: a change to a model is a list of `Edit`s, each reported, provable and reversible."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

__all__ = ["Edit", "Edits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change to one layer, made or refused.

    Attributes:
        layer: Dotted path of the layer, with `.weight` or `.bias` where one parameter is meant.
        action: What was done, as a verb phrase: "draw weight", "scale weight", "insert BatchNorm1d".
        applied: False for a refusal.
        before: The measured number before, e.g. the pre-activation std; None where nothing was measured.
        after: The same number after.
        error: The certificate: the largest relative change of the output, where one is claimed.
        reason: Why it was refused, or what is worth knowing of the change.
    """

    layer: str
    action: str
    applied: bool = True
    before: float | None = None
    after: float | None = None
    error: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Edits(Sequence[Edit]):
    """The edits of one action, in order of execution, and the way back.

    Attributes:
        items: The edits.
        undo_steps: What `undo` calls, last first.

    Example:
        >>> edits = Edits((Edit(layer="fc", action="draw weight"), Edit(layer="head", action="draw weight",
        ...                applied=False, reason="intended zero")))
        >>> len(edits.applied), edits.refused[0].reason
        (1, 'intended zero')
    """

    items: tuple[Edit, ...] = ()
    undo_steps: tuple[Callable[[], None], ...] = field(default=(), repr=False, compare=False)

    @property
    def applied(self) -> tuple[Edit, ...]:
        """The edits that were made."""
        return tuple(edit for edit in self.items if edit.applied)

    @property
    def refused(self) -> tuple[Edit, ...]:
        """The edits that were not made; each says why in `reason`."""
        return tuple(edit for edit in self.items if not edit.applied)

    def undo(self) -> None:
        """Put the model back, bit for bit, to what it was before these edits; a second call does nothing new."""
        for restore in reversed(self.undo_steps):
            restore()

    def __add__(self, other: "Edits") -> "Edits":
        """These edits, then `other`; undone in the reverse order."""
        return Edits(self.items + other.items, self.undo_steps + other.undo_steps)

    @overload
    def __getitem__(self, index: int) -> Edit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Edit, ...]: ...
    def __getitem__(self, index: int | slice) -> Edit | tuple[Edit, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.items)
