"""The same batch under other circumstances: in eval mode, twice over, and its first row among other rows."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from onesigma._typing import Loss
from onesigma.measure.losses import Criterion, criterion_of
from onesigma.model.batches import Batch, tensors_in
from onesigma.model.names import unwrapped
from onesigma.model.state import preserved, random_state_preserved
from onesigma.model.trace import Trace

__all__ = ["contrasted"]

_MOST_ROWS = 8
_SHARE = 8  # one part in so many of the batch: these passes cost little beside the one that is measured
# Half of a float's digits: another company of rows may change the order of sums, and so the last bits.
_DIGITS = 0.5


def contrasted(trace: Trace, model: nn.Module, batch: Batch, *, loss: Loss | str | None = None) -> Trace:
    """The trace with `loss.in_eval`, `loss.doubled` and `coupling`, from a few forward passes more.

    In eval mode, on at most 16 rows: whether the answer for the first row depends on the rows beside it, and whether
    the loss of rows given twice is twice the loss. On the whole batch, but only for a model in training mode whose
    batch norms have tracked something: the loss in eval mode. What cannot be tried, as with inputs that are not rows
    alone, stays None. The model is left bit for bit as it was.
    """
    target, criterion = unwrapped(model), criterion_of(loss)
    record, coupling = trace.loss, trace.coupling
    if record is not None and trace.training and _has_tracked(trace):
        value = _tried(lambda: _loss_of(target, batch.owned_by(target), criterion=criterion), target)
        record = replace(record, in_eval=value)
    parts = _companies(batch.owned_by(target))
    if parts is None:
        return replace(trace, loss=record)
    part, other = parts
    outputs = _tried(lambda: _runs(target, part, other), target)
    if outputs is not None:
        coupling = _coupling(*outputs, rows=part.num_samples)
    if coupling and _compares_rows(trace, batch.num_samples):
        coupling = trace.coupling
    if coupling:
        # A model that draws from a generator of its own differs from itself, too: of that nothing can be said.
        again = _tried(lambda: _runs(target, part, part), target)
        coupling = None if again is None or _coupling(*again, rows=part.num_samples) else coupling
    if record is not None and outputs is not None:
        growth = _tried(lambda: _growth(target, part, outputs[0], criterion=criterion), target)
        record = replace(record, doubled=None if growth is None else record.value * growth)
    return replace(trace, loss=record, coupling=coupling)


def _has_tracked(trace: Trace) -> bool:
    return any(norm.attributes.get("training") and norm.attributes.get("updates", 0) for norm in trace.of_kind("norm"))


def _compares_rows(trace: Trace, num_samples: int) -> bool:
    """It returns a square of rows against rows, which depends on all of them by design."""
    returned = (trace.records[index].shape for index in trace.outputs if index >= 0)
    return any(shape[:2] == (num_samples, num_samples) for shape in returned)


def _tried(attempt: Callable[[], Any], model: nn.Module) -> Any:
    """What `attempt` returns in eval mode; None where it raises: a model that takes a batch need not take a part."""
    try:
        with preserved(model), torch.no_grad():
            return attempt() if not model.training else _in_eval(attempt, model)
    except Exception:
        return None


def _in_eval(attempt: Callable[[], Any], model: nn.Module) -> Any:
    model.eval()
    return attempt()


def _runs(model: nn.Module, *parts: Batch) -> list[Any]:
    """An output per part, each with the same random numbers."""
    outputs = []
    for part in parts:
        with random_state_preserved():
            outputs.append(model(*part.args, **part.kwargs))
    return outputs


def _loss_of(model: nn.Module, batch: Batch, *, criterion: Criterion) -> float:
    return float(criterion.value(model(*batch.args, **batch.kwargs), batch.targets))


def _companies(batch: Batch) -> tuple[Batch, Batch] | None:
    """The first rows, and the first row with others; None where some tensor is not made of rows."""
    num = batch.num_samples
    size = min(_MOST_ROWS, max(2, num // _SHARE), (num + 1) // 2)
    tensors = list(tensors_in((batch.args, batch.kwargs, batch.targets)))
    if size < 2 or any(tensor.dim() and tensor.shape[0] != num for tensor in tensors):
        return None
    return _rows(batch, list(range(size))), _rows(batch, [0, *range(num - size + 1, num)])


def _rows(batch: Batch, chosen: list[int]) -> Batch:
    args, kwargs, targets = (
        _mapped(part, lambda tensor: tensor[chosen]) for part in (batch.args, dict(batch.kwargs), batch.targets)
    )
    return replace(batch, args=args, kwargs=kwargs, targets=targets, num_samples=len(chosen))


def _mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """`value` with every tensor of rows changed.

    Raises:
        TypeError: It holds something that cannot be made anew.
    """
    if isinstance(value, torch.Tensor):
        return change(value) if value.dim() else value
    if isinstance(value, Mapping) and type(value) is dict:
        return {name: _mapped(part, change) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [_mapped(part, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if next(tensors_in(value), None) is not None:
        raise TypeError(f"{type(value).__name__} cannot be taken apart")
    return value


def _coupling(one: Any, other: Any, *, rows: int) -> float | None:
    """How far the first row moves with its company, over how far rows lie apart; 0 within rounding."""
    across = within = size = 0.0
    for here, there in _pairs(one, other, rows=rows):
        across = max(across, float((here[0] - there[0]).abs().max()))
        within = max(within, float((here - here[:1]).abs().max()))
        size = max(size, float(here.abs().max()) * torch.finfo(here.dtype).eps ** _DIGITS)
    if not math.isfinite(across) or not math.isfinite(within) or not size:
        return None
    return across / within if across > size and within else 0.0


def _pairs(one: Any, other: Any, *, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Results that have these rows, of both runs."""
    for here, there in zip(tensors_in(one), tensors_in(other), strict=False):
        is_rows = here.dim() > 0 and here.shape == there.shape and here.shape[0] == rows
        if is_rows and here.is_floating_point() and here.numel():
            yield here, there


def _growth(model: nn.Module, part: Batch, output: Any, *, criterion: Criterion) -> float | None:
    """The factor by which the loss grows if every row is given twice."""
    twice = _rows(part, [*range(part.num_samples)] * 2)
    if criterion.loss is None:
        doubled = criterion.value(model(*twice.args, **twice.kwargs), None)
    else:
        repeated = _mapped(output, lambda tensor: torch.cat([tensor] * 2) if _is_rows(tensor, part) else tensor)
        doubled = criterion.value(repeated, twice.targets)
    once = float(criterion.value(output, part.targets))
    return float(doubled) / once if once else None


def _is_rows(tensor: torch.Tensor, part: Batch) -> bool:
    return tensor.shape[0] == part.num_samples
