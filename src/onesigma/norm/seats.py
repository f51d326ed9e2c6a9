"""Seats: slots that are taken, first by a tap that proves that the signal goes through them, then by a norm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from onesigma.model.batches import Batch
from onesigma.model.capture import recording
from onesigma.model.graph import Graph
from onesigma.model.names import module_names
from onesigma.model.state import preserved
from onesigma.norm.migration import InsertedNorm, undo_all
from onesigma.norm.places import Place, Scale, Seen
from onesigma.norm.slots import attach

__all__ = ["Seat", "Seats", "Tap", "take_seats", "tapped"]

_SEED = 0
# Of a mean and a std: the same signal, computed by the same calls once more.
_ROUNDING = 1e-3


class _Signal(NamedTuple):
    scale: Scale
    dtype: torch.dtype
    device: torch.device
    shape: tuple[int, ...]


class Tap(nn.Module):
    """Hands on a copy of what it is fed with, and remembers what that was."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[_Signal] = []

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """A copy, so that the way behind can be told from the way before."""
        with torch._C.DisableTorchFunction():  # what is looked at is no part of the graph
            self.seen.append(_Signal(Scale.of(signal), signal.dtype, signal.device, tuple(signal.shape)))
        return signal.clone()


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A slot that is taken: by what `holder` has under the name `key`.

    Attributes:
        place: Why it is there.
        tap: What was there first.
        holder: The module that has it as a part.
        key: The part's name there.
        linear: The layer, if it is a module.
        old_keys: Module → what becomes of its keys.
    """

    place: Place
    tap: Tap
    holder: nn.Module
    key: str
    linear: nn.Module | None
    old_keys: dict[nn.Module, InsertedNorm]

    def fill(self, norm: nn.Module) -> None:
        """Let a norm take the seat."""
        self.holder._modules[self.key] = norm

    def note(self, model: nn.Module) -> str:
        """What a reader should know of where it is."""
        names = module_names(model)
        name, slot = names.get(self.holder, ""), self.place.slot
        assert slot is not None
        if slot.side == "inside":
            owner = f"the forward of {name!r}" if name else "the model's own forward"
            return f"{owner} calls it on the result of {slot.op}"
        wrapped = f"wrapped: {name}.* is now {name}.layer.*" if self.key == "norm" and slot.module.state_dict() else ""
        return "; ".join(filter(None, ("before the layer that reads it" if slot.side == "before" else "", wrapped)))


@dataclass(frozen=True, slots=True, eq=False)
class Seats:
    """What `take_seats` did.

    Attributes:
        taken: The seats.
        steps: The way back.
        refused: Places that could not be had.
    """

    taken: tuple[Seat, ...]
    steps: list[Callable[[], None]]
    refused: tuple[Place, ...] = ()


def take_seats(model: nn.Module, batch: Batch, places: Sequence[Place], *, seen: Seen) -> Seats:
    """Tap every place; those whose tap does not get the signal, once in either mode, are given back with a reason."""
    wanted, refused = list(places), list[Place]()
    while True:
        seats = tapped(model, wanted)
        try:
            reasons = _reasons_against(model, batch, seats.taken, seen=seen) if wanted else []
        except BaseException:
            undo_all(seats.steps)
            raise
        if not any(reasons):
            return replace(seats, refused=tuple(refused))
        undo_all(seats.steps)
        tried = list(zip(wanted, reasons, strict=True))
        refused += [replace(place, slot=None, reason=reason) for place, reason in tried if reason]
        wanted = [place for place, reason in tried if not reason]


def tapped(model: nn.Module, places: Sequence[Place]) -> Seats:
    """Put a tap into every place."""
    modules = {name: module for module, name in module_names(model).items()}
    seats, steps = list[Seat](), list[Callable[[], None]]()
    for place in places:
        assert place.slot is not None
        tap = Tap().train(place.slot.module.training)
        holder, key, back, old_keys = attach(model, place.slot, tap)
        steps += back
        seats.append(Seat(place, tap, holder, key, modules.get(place.linear.layer), old_keys))
    return Seats(tuple(seats), steps)


def _reasons_against(model: nn.Module, batch: Batch, seats: Sequence[Seat], *, seen: Seen) -> list[str]:
    """For every seat what its tap shows, in the model's mode and in the other one; empty if all is well."""
    training = model.training
    with preserved(model), torch.no_grad():
        torch.manual_seed(_SEED)
        with recording(model) as recorder:
            recorder.run(batch)
        names = module_names(model)
        reasons = [_reason_against(seat, recorder.graph, names[seat.tap], seen) for seat in seats]
        # Also without looking: some models take a faster way where nobody looks.
        for mode in (training, not training):
            counts = _runs(model, batch, seats, training=mode)
            reason = f"in {'training' if mode else 'eval'} mode the model goes another way, past the place of the norm"
            reasons = [found or ("" if count == 1 else reason) for found, count in zip(reasons, counts, strict=True)]
    return reasons


def _runs(model: nn.Module, batch: Batch, seats: Sequence[Seat], *, training: bool) -> list[int]:
    """How often each tap runs in a mode."""
    before = [len(seat.tap.seen) for seat in seats]
    if model.training != training:
        model.train(training)
    torch.manual_seed(_SEED)
    try:
        model(*batch.args, **batch.kwargs)
    except Exception:  # a batch of one sample in training mode, say: then that mode says nothing
        for seat, count in zip(seats, before, strict=True):
            del seat.tap.seen[count:]
        return [1] * len(seats)
    return [len(seat.tap.seen) - count for seat, count in zip(seats, before, strict=True)]


def _reason_against(seat: Seat, graph: Graph, name: str, seen: Seen) -> str:
    known = seen.scales.get(seat.place.signal.index)
    if len(seat.tap.seen) != 1 or known is None or not _alike(seat.tap.seen[0].scale, known):
        return "the model goes past the place of the norm: it reads its layers in a way of its own"
    (tap,) = (call for call in graph.calls if call.layer == name)
    if any(reader.index != tap.index for reader in graph.consumers(tap.inputs[0])) or tap.inputs[0] in graph.outputs:
        return "its result is also read past the place of the norm"
    return ""


def _alike(one: Scale, other: Scale) -> bool:
    numbers = torch.tensor([one, other], dtype=torch.float64)
    if not numbers.isfinite().all():
        return bool((numbers.isfinite()[0] == numbers.isfinite()[1]).all())
    return bool(((numbers[0] - numbers[1]).abs() <= _ROUNDING * numbers.abs().max()).all())
