"""Norms made, calibrated and put into their seats; bias, checkpoints and optimizer follow."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from onesigma._errors import CaptureError, ModelError
from onesigma.model.batches import Batch
from onesigma.model.edits import Edit, Edits
from onesigma.model.names import module_names
from onesigma.model.state import preserved
from onesigma.norm.estimates import Readout, estimated
from onesigma.norm.fold import plan_folds
from onesigma.norm.kinds import Kind, norm_for
from onesigma.norm.migration import adopt, undo_all
from onesigma.norm.optimizers import keep_loading, listed
from onesigma.norm.places import Scale
from onesigma.norm.proof import outputs_of, relative_change
from onesigma.norm.removal import remove_bias
from onesigma.norm.seats import Seat, Seats, tapped
from onesigma.norm.statistics import BatchNorm, eager

__all__ = ["ACTION", "Recipe", "seat_norms"]

ACTION = "insert norm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What `insert_` was asked for."""

    kind: Kind
    preserve: bool
    num_groups: int
    optimizer: torch.optim.Optimizer | None


@dataclass(frozen=True, slots=True, eq=False)
class _Seated:
    """A norm in its seat, and what is worth knowing of it."""

    seat: Seat
    norm: nn.Module
    notes: list[str]


def seat_norms(model: nn.Module, batch: Batch, items: Iterable[Any], *, seats: Seats, recipe: Recipe) -> Edits:
    """Let norms take all seats; if anything raises, all are given back."""
    if not seats.taken:
        return Edits()
    trained = listed(recipe.optimizer)
    try:
        before = outputs_of(model, batch, modes=(False,)) if recipe.preserve else ()
        seated = [_Seated(seat, _norm(seat, recipe), []) for seat in seats.taken]
        refusals: list[Edit] = []
        if recipe.kind == "batch":
            seats, seated, refusals = _calibrated(model, items, seats, seated, preserve=recipe.preserve)
        for each in seated:
            each.notes.append(each.seat.note(model))
            seats.steps.extend(_settle(each, model, recipe))
        seats.steps.append(keep_loading(recipe.optimizer, trained, model=model))
        error = None
        if recipe.preserve and seated:
            error = relative_change(before, outputs_of(model, batch, modes=(False,)))
        edits = tuple(_edits(model, batch, seated, error=error))
    except BaseException:
        undo_all(seats.steps)
        raise
    return Edits((*edits, *refusals), tuple(seats.steps))


def _norm(seat: Seat, recipe: Recipe) -> nn.Module:
    """A fresh norm that fits what came by, in its seat."""
    signal, last = seat.tap.seen[0], not seat.place.linear.op.startswith("conv")
    norm = norm_for(recipe.kind, signal.shape, channels_last=last, num_groups=recipe.num_groups)
    # In half precision running statistics come to a standstill.
    dtype = torch.promote_types(signal.dtype, torch.float32) if recipe.kind == "batch" else signal.dtype
    norm = norm.to(device=signal.device, dtype=dtype).train(seat.tap.training)
    seat.fill(norm)
    return norm


def _calibrated(
    model: nn.Module, items: Iterable[Any], seats: Seats, seated: list[_Seated], *, preserve: bool
) -> tuple[Seats, list[_Seated], list[Edit]]:
    """Set running statistics; where the data give none, the seat is given back."""
    names = module_names(model)
    norms = {names[each.norm]: each.norm for each in seated if isinstance(each.norm, BatchNorm)}
    with preserved(model), torch.no_grad(), eager():
        model.eval()
        found = {
            name: estimate.read()
            for name, estimate in estimated(model, items, norms, by="nothing" if preserve else "batch").items()
        }
    reasons: dict[nn.Module, str] = {
        norm: found[name].reason_against(norm) if name in found else "these batches do not reach it"
        for name, norm in norms.items()
    }
    for name, norm in norms.items():
        if not reasons[norm]:
            _write(norm, found[name], preserve=preserve)
    refusals = [
        Edit(layer=each.seat.place.linear.layer, action=ACTION, applied=False, reason=reasons[each.norm])
        for each in seated
        if reasons[each.norm]
    ]
    return (seats, seated, []) if not refusals else (*_kept(model, seats, seated, reasons), refusals)


def _kept(
    model: nn.Module, seats: Seats, seated: Sequence[_Seated], reasons: dict[nn.Module, str]
) -> tuple[Seats, list[_Seated]]:
    """Give all seats back, and take those again whose norms have statistics."""
    kept = [each for each in seated if not reasons[each.norm]]
    undo_all(seats.steps)
    seats = tapped(model, [each.seat.place for each in kept])
    for seat, each in zip(seats.taken, kept, strict=True):
        seat.tap.seen = each.seat.tap.seen
        seat.fill(each.norm)
    return seats, [_Seated(seat, each.norm, []) for seat, each in zip(seats.taken, kept, strict=True)]


def _write(norm: Any, readout: Readout, *, preserve: bool) -> None:
    readout.write(norm)
    if preserve:
        with torch.no_grad():
            norm.weight.copy_((norm.running_var.double() + norm.eps).sqrt())
            norm.bias.copy_(norm.running_mean)


def _settle(each: _Seated, model: nn.Module, recipe: Recipe) -> Iterator[Any]:
    """Drop the bias that the norm cancels; let checkpoints and the optimizer follow. Yields the way back."""
    place, slot, old_keys = each.seat.place, each.seat.place.slot, each.seat.old_keys
    assert slot is not None
    layer = each.seat.linear
    own = {} if layer is None else layer._parameters
    yield adopt(recipe.optimizer, each.norm.parameters(), beside=(own.get("bias"), own.get("weight")))
    bias = own.get("bias") if place.linear.parameters.get("bias") == f"{place.linear.layer}.bias" else None
    if recipe.kind == "batch" and place.signal is place.linear and slot.module is layer and bias is not None:
        yield remove_bias(slot.module, (each.norm,), model=model, optimizer=recipe.optimizer)
        old_keys = {home: replace(keys, removed=bias.detach().clone()) for home, keys in old_keys.items()}
        each.notes.append("its bias was removed: the norm cancels it")
    for home, keys in old_keys.items():
        yield home.register_load_state_dict_pre_hook(keys).remove  # type: ignore[no-untyped-call]


def _edits(model: nn.Module, batch: Batch, seated: Sequence[_Seated], *, error: float | None) -> Iterator[Edit]:
    names, stds, costs = module_names(model), _stds_behind(model, batch, seated), _costs(model, batch, seated)
    for each in seated:
        yield Edit(
            layer=each.seat.place.linear.layer,
            action=f"insert {type(each.norm).__name__}",
            before=each.seat.tap.seen[0].scale.std,
            after=stds.get(each.norm),
            error=error,
            reason="; ".join(filter(None, [*each.notes, costs.get(names[each.norm], "")])),
        )


def _stds_behind(model: nn.Module, batch: Batch, seated: Sequence[_Seated]) -> dict[nn.Module, float]:
    """The std behind every norm as it trains; as it evaluates, where the batch has one value per channel."""
    found: dict[nn.Module, float] = {}

    def keep(norm: nn.Module, _: Any, output: torch.Tensor) -> None:
        found[norm] = Scale.of(output).std

    with preserved(model), torch.no_grad():
        for each in seated:
            signal = torch.Size(each.seat.tap.seen[0].shape)
            channels = getattr(each.norm, "num_features", 1)
            each.norm.train(signal.numel() > channels)
            each.norm.register_forward_hook(keep)
        model(*batch.args, **batch.kwargs)
    return found


def _costs(model: nn.Module, batch: Batch, seated: Sequence[_Seated]) -> dict[str, str]:
    """What every norm costs at inference."""
    names = module_names(model)
    if not any(isinstance(each.norm, BatchNorm) for each in seated):
        return {names[each.norm]: "stays at inference: its statistics are the sample's own" for each in seated}
    try:
        plans = plan_folds(model, batch)  # type: ignore[arg-type]
    except (CaptureError, ModelError) as error:
        return {names[each.norm]: f"whether it folds is not known: {error}" for each in seated}
    told = {"before": "folds back into {}", "after": "folds forward into {}", "": "stays at inference: {}"}
    return {plan.layer: told[plan.side].format(", ".join(plan.into) or plan.reason) for plan in plans}
