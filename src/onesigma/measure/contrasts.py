"""The same batch under other circumstances: in eval mode, twice over, and its last row among other rows."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from onesigma._typing import Loss
from onesigma.measure.modes import Seen, in_eval
from onesigma.measure.passes import measured
from onesigma.measure.rows import LastRow, LossCall, is_table, last_row, mapped, rows_of
from onesigma.model.batches import Batch, tensors_in
from onesigma.model.criterion import Criterion, criterion_of
from onesigma.model.names import unwrapped
from onesigma.model.state import preserved, random_state_preserved
from onesigma.model.trace import Trace

__all__ = ["contrasted", "measure_contrasted"]

_MOST_ROWS = 8
_SHARE = 8  # one part in so many of the batch: these passes cost little beside the one that is measured
_ABOVE_A_MEAN, _BELOW_A_SUM, _NOTHING = 1.1, 1.95, 1e-3
_ROUNDING = 1e-5
_LOGARITHMIC = 0.8  # a logarithm adds ln(3/2) after ln 2, 0.58 of it; a sum and some fixed term add the same again
# Half of a float's digits: another company of rows may change the order of sums, and so the last bits.
_DIGITS = 0.5


def measure_contrasted(model: nn.Module, batch: Batch, *, loss: Loss | str | None = None) -> Trace:
    """`contrasted(measure(…), …)`; a last row that comes out as in the measured pass needs no further company."""
    target, seen = unwrapped(model), Seen()
    is_compared = target.training and any(name.endswith("running_mean") for name, _ in target.named_buffers())
    look = partial(seen.look, num_rows=batch.num_samples, is_compared=is_compared)
    return contrasted(measured(model, batch, loss=loss, look=look), model, batch, loss=loss, seen=seen)


def contrasted(
    trace: Trace, model: nn.Module, batch: Batch, *, loss: Loss | str | None = None, seen: Seen | None = None
) -> Trace:
    """The trace with `loss.in_eval`, `loss.doubled` and `coupling`, from a few forward passes more.

    In eval mode, on at most 16 rows: whether the answer for the last row depends on the rows beside it (the last,
    because what takes the batch for time mostly looks back), and whether the loss of rows given twice is twice the
    loss. For a model in training mode whose batch norms have tracked something, also the loss in eval mode: on the
    whole batch, but on a few rows of a costly one where these settle that it is no higher. What cannot be tried,
    as with inputs that are not rows alone, stays None. The model is left bit for bit as it was.

    Args:
        trace: Of this batch.
        model: As it was measured.
        batch: What `measure` was given.
        loss: As `measure` was given it.
        seen: What was kept of the output while it was measured.
    """
    target, criterion = unwrapped(model), criterion_of(loss)
    record, kept = trace.loss, seen or Seen()
    last = [kept.last]
    if record is not None and trace.training and _has_tracked(trace):
        whole, compare = batch.owned_by(target), partial(in_eval, trace, record, target)
        found = _tried(lambda: compare(whole, criterion=criterion, seen=kept), target)
        if found is not None:
            record = found[0]
            last.append(found[1])
    parts = _companies(batch.owned_by(target))
    if parts is None:
        return replace(trace, loss=record)
    coupling, growth = _compared(target, parts, criterion=criterion if record is not None else None, seen=last)
    if record is not None:
        record = replace(record, doubled=None if growth is None else record.value * growth)
    if coupling and _compares_rows(trace, batch.num_samples):
        coupling = trace.coupling
    return replace(trace, loss=record, coupling=coupling)


def _compared(
    model: nn.Module, parts: Sequence[Batch], *, criterion: Criterion | None, seen: Sequence[LastRow]
) -> tuple[float | None, float | None]:
    """How much the last row depends on those beside it, and the growth of the loss; None where unknown.

    The row comes alone first, which costs least. What takes no row alone, or says another thing of it, is run with
    company; only what two companies say is held against the model.
    """
    rows, growth, is_open, output = list(seen), None, criterion is not None, None
    for part in parts[:-1]:
        calls = LossCall()
        output = _tried(partial(_run, model, part, watched_by=calls), model)
        if output is None:
            continue
        if criterion is not None and is_open:
            growth = _tried(partial(_growth, model, part, output, criterion=criterion, calls=calls), model)
            if part.num_samples == 1 and not _is_plain(growth):
                growth = None  # As of what compares rows, which one row alone does not show.
            is_open = growth is None and part.num_samples == 1
        row = last_row(output, num_rows=part.num_samples)
        if not is_open and any(_alike(row, other) for other in rows):
            return 0.0, growth  # Neither the mode nor the company has moved it.
        rows.append(row)
    return None if output is None else _coupling_of(model, parts[1:], output), growth


def _is_plain(growth: float | None) -> bool:
    """That of a mean or of a sum to the last digits: a fixed term beside it can be large next to one row."""
    return growth is not None and min(abs(growth - 1), abs(growth - 2)) < _ROUNDING


def _coupling_of(model: nn.Module, parts: Sequence[Batch], output: Any) -> float | None:
    """How much a row depends on those beside it, after what it became in the first part; None if unknown."""
    part, other = parts
    there = _tried(lambda: _run(model, other), model)
    coupling = None if there is None else _coupling(output, there, rows=part.num_samples)
    if coupling:
        # A model that draws from a generator of its own differs from itself, too: of that nothing can be said.
        again = _tried(lambda: (_run(model, part), _run(model, part)), model)
        return None if again is None or _coupling(*again, rows=part.num_samples) else coupling
    return coupling


def _alike(one: LastRow, other: LastRow) -> bool:
    """The same within rounding, and neither nothing nor zero throughout, of which nothing could be told."""
    if not one or [row.shape for row in one] != [row.shape for row in other]:
        return False
    away = max(float((here - there).abs().max()) for here, there in zip(one, other, strict=True))
    size: float = max(float(row.abs().max()) * torch.finfo(row.dtype).eps ** _DIGITS for row in one)
    return 0 < size < math.inf and away <= size


def _has_tracked(trace: Trace) -> bool:
    return any(norm.attributes.get("training") and norm.attributes.get("updates", 0) for norm in trace.of_kind("norm"))


def _compares_rows(trace: Trace, num_samples: int) -> bool:
    """It returns a square of rows against rows, which depends on all of them by design."""
    returned = (trace.records[index].shape for index in trace.outputs if index >= 0)
    return any(shape[:2] == (num_samples, num_samples) for shape in returned)


def _tried(attempt: Callable[[], Any], model: nn.Module) -> Any:
    """What `attempt` returns in eval mode; None where it raises: a model that takes a batch need not take a part."""
    try:
        with preserved(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what the user's batch has none of, as a spread over one row.
            return attempt() if not model.training else _in_eval(attempt, model)
    except Exception:
        return None


def _in_eval(attempt: Callable[[], Any], model: nn.Module) -> Any:
    model.eval()
    return attempt()


def _run(model: nn.Module, part: Batch, *, watched_by: AbstractContextManager[Any] | None = None) -> Any:
    """The output for a part; the random numbers are the same for every part."""
    with random_state_preserved(), watched_by or nullcontext():
        return model(*part.args, **part.kwargs)


def _companies(batch: Batch) -> Sequence[Batch] | None:
    """The last row alone, after the first ones, and after those before it; None where some tensor is not made of rows.

    The first come before the neighbors: they are held against the whole batch, in which what looks back a few rows sees
    the same as in those.
    """
    num = batch.num_samples
    size = min(_MOST_ROWS, max(2, num // _SHARE), (num + 1) // 2)
    tensors = list(tensors_in((batch.args, batch.kwargs, batch.targets)))
    if size < 2 or any(tensor.dim() and tensor.shape[0] != num for tensor in tensors):
        return None
    return [rows_of(batch, rows) for rows in ([num - 1], [*range(size - 1), num - 1], [*range(num - size, num)])]


def _coupling(one: Any, other: Any, *, rows: int) -> float | None:
    """How far the last row moves with its company, over how far rows lie apart; 0 within rounding."""
    across = within = size = 0.0
    for here, there in _pairs(one, other, rows=rows):
        across = max(across, float((here[-1] - there[-1]).abs().max()))
        within = max(within, float((here - here[-1:]).abs().max()))
        size = max(size, float(here.abs().max()) * torch.finfo(here.dtype).eps ** _DIGITS)
    if not math.isfinite(across) or not math.isfinite(within) or not size:
        return None
    return across / within if across > size and within else 0.0


def _pairs(one: Any, other: Any, *, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Results that have these rows, of both runs."""
    for here, there in zip(tensors_in(one), tensors_in(other), strict=False):
        if here.shape == there.shape and is_table(here, num_rows=rows):
            yield here, there


def _growth(model: nn.Module, part: Batch, output: Any, *, criterion: Criterion, calls: LossCall) -> float | None:
    """The factor by which the loss grows if every row is given twice; None for one that compares rows."""
    value, rows = criterion.value(output, part.targets), range(part.num_samples)

    def of_rows(chosen: list[int]) -> float:
        some = rows_of(part, chosen)
        if criterion.loss is not None:
            outputs = mapped(output, lambda tensor: tensor[chosen] if _is_rows(tensor, part) else tensor)
            return float(criterion.value(outputs, some.targets))
        found = calls.of_rows(chosen, num_rows=part.num_samples, value=value)
        return float(criterion.value(model(*some.args, **some.kwargs), None) if found is None else found)

    if not float(value):
        return None
    growth = of_rows([*rows, *rows]) / float(value)
    if not math.isfinite(growth):
        return None
    if growth > _ABOVE_A_MEAN and len(rows) > 1 and _is_nothing_alone(of_rows, share=float(value) / len(rows)):
        return None
    if _ABOVE_A_MEAN < growth < _BELOW_A_SUM:
        # Rivals: twins add a logarithm to a contrastive loss, so a third copy adds less than the second did.
        further = of_rows([*rows, *rows, *rows]) / float(value) - growth
        return None if further < _LOGARITHMIC * (growth - 1) else growth
    return growth


def _is_nothing_alone(of_rows: Callable[[list[int]], float], *, share: float) -> bool:
    """A contrastive loss: one row by itself has no rival, and costs nothing."""
    try:
        return abs(of_rows([0])) < _NOTHING * abs(share)
    except Exception:  # One row is too few for some norms; then nothing is known.
        return False


def _is_rows(tensor: torch.Tensor, part: Batch) -> bool:
    return tensor.shape[0] == part.num_samples
