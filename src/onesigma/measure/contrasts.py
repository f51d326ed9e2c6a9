"""The same batch under other circumstances: in eval mode, twice over, and its last row among other rows."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from onesigma._typing import Loss
from onesigma.measure.passes import measured
from onesigma.model.batches import Batch, tensors_in
from onesigma.model.criterion import Criterion, criterion_of
from onesigma.model.names import unwrapped
from onesigma.model.ops import bound_arguments, op_of
from onesigma.model.state import preserved, random_state_preserved
from onesigma.model.trace import Trace

__all__ = ["contrasted", "measure_contrasted"]

_MOST_ROWS = 8
_SHARE = 8  # one part in so many of the batch: these passes cost little beside the one that is measured
_ABOVE_A_MEAN, _BELOW_A_SUM, _NOTHING = 1.1, 1.95, 1e-3
_LOGARITHMIC = 0.8  # a logarithm adds ln(3/2) after ln 2, 0.58 of it; a sum and some fixed term add the same again
# Half of a float's digits: another company of rows may change the order of sums, and so the last bits.
_DIGITS = 0.5

# What the last row became in some pass: per tensor of the output.
LastRow = tuple[torch.Tensor, ...]


def measure_contrasted(model: nn.Module, batch: Batch, *, loss: Loss | str | None = None) -> Trace:
    """`contrasted(measure(…), …)`; a last row that comes out as in the measured pass needs no further company."""
    rows: list[LastRow] = []
    trace = measured(
        model, batch, loss=loss, look=lambda output: rows.append(_last_row(output, num_rows=batch.num_samples))
    )
    return contrasted(trace, model, batch, loss=loss, rows=rows)


def contrasted(
    trace: Trace, model: nn.Module, batch: Batch, *, loss: Loss | str | None = None, rows: Sequence[LastRow] = ()
) -> Trace:
    """The trace with `loss.in_eval`, `loss.doubled` and `coupling`, from a few forward passes more.

    In eval mode, on at most 16 rows: whether the answer for the last row depends on the rows beside it (the last,
    because what takes the batch for time mostly looks back), and whether the loss of rows given twice is twice the
    loss. On the whole batch, but only for a model in training mode whose
    batch norms have tracked something: the loss in eval mode. What cannot be tried, as with inputs that are not rows
    alone, stays None. The model is left bit for bit as it was.

    Args:
        trace: Of this batch.
        model: As it was measured.
        batch: What `measure` was given.
        loss: As `measure` was given it.
        rows: What the last row became among all rows of the batch, in any mode.
    """
    target, criterion = unwrapped(model), criterion_of(loss)
    record, seen = trace.loss, list(rows)
    if record is not None and trace.training and _has_tracked(trace):
        found = _tried(lambda: _loss_and_row(target, batch.owned_by(target), criterion=criterion), target)
        record = replace(record, in_eval=None if found is None else found[0])
        seen += [] if found is None else [found[1]]
    parts = _companies(batch.owned_by(target))
    if parts is None:
        return replace(trace, loss=record)
    calls = _LossCall()
    output = _tried(lambda: _run(target, parts[0], watched_by=calls), target)
    if output is None:
        return replace(trace, loss=record)
    if record is not None:
        growth = _tried(lambda: _growth(target, parts[0], output, criterion=criterion, calls=calls), target)
        record = replace(record, doubled=None if growth is None else record.value * growth)
    coupling = _coupling_of(target, parts, output, seen=seen)
    if coupling and _compares_rows(trace, batch.num_samples):
        coupling = trace.coupling
    return replace(trace, loss=record, coupling=coupling)


def _coupling_of(model: nn.Module, parts: tuple[Batch, Batch], output: Any, *, seen: Sequence[LastRow]) -> float | None:
    """How much a row depends on those beside it; None if unknown."""
    part, other = parts
    last = _last_row(output, num_rows=part.num_samples)
    if any(_alike(last, row) for row in seen):
        return 0.0  # Neither the mode nor the company has moved it.
    there = _tried(lambda: _run(model, other), model)
    coupling = None if there is None else _coupling(output, there, rows=part.num_samples)
    if coupling:
        # A model that draws from a generator of its own differs from itself, too: of that nothing can be said.
        again = _tried(lambda: (_run(model, part), _run(model, part)), model)
        return None if again is None or _coupling(*again, rows=part.num_samples) else coupling
    return coupling


def _last_row(output: Any, *, num_rows: int) -> LastRow:
    tensors = (tensor for tensor in tensors_in(output) if _is_table(tensor, num_rows=num_rows))
    return tuple(tensor[-1].detach().clone() for tensor in tensors)


def _is_table(tensor: torch.Tensor, *, num_rows: int) -> bool:
    """It holds a row of real numbers per row of the batch."""
    is_plain = tensor.layout == torch.strided and tensor.is_floating_point() and tensor.dim() > 0
    return is_plain and tensor.shape[0] == num_rows and tensor.numel() > 0


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
        with preserved(model), torch.no_grad():
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


def _loss_and_row(model: nn.Module, batch: Batch, *, criterion: Criterion) -> tuple[float, LastRow]:
    output = model(*batch.args, **batch.kwargs)
    value = float(criterion.value(output, batch.targets))
    return value, _last_row(output, num_rows=batch.num_samples)


def _companies(batch: Batch) -> tuple[Batch, Batch] | None:
    """The last row after the first ones, and after those before it; None where some tensor is not made of rows.

    The first comes first: it is held against the whole batch, in which what looks back a few rows sees the same as
    in the second.
    """
    num = batch.num_samples
    size = min(_MOST_ROWS, max(2, num // _SHARE), (num + 1) // 2)
    tensors = list(tensors_in((batch.args, batch.kwargs, batch.targets)))
    if size < 2 or any(tensor.dim() and tensor.shape[0] != num for tensor in tensors):
        return None
    return _rows(batch, [*range(size - 1), num - 1]), _rows(batch, list(range(num - size, num)))


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
        if here.shape == there.shape and _is_table(here, num_rows=rows):
            yield here, there


class _LossCall(TorchFunctionMode):
    """Keeps the last loss of torch that was computed, so that it can be computed of other rows."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[Callable[..., Any], dict[str, Any], Any] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output, op = func(*args, **(kwargs or {})), op_of(func)
        if op is not None and op.kind == "loss":
            self._last = func, bound_arguments(op, args, kwargs or {}), output
        return output

    def of_rows(self, rows: list[int], *, value: torch.Tensor) -> torch.Tensor | None:
        """What made `value`, of these rows; None if it was anything but one loss of inputs and targets."""
        if self._last is None or self._last[2] is not value:
            return None
        function, arguments, _ = self._last
        tables = {name: part for name, part in arguments.items() if isinstance(part, torch.Tensor)}
        if set(tables) != {"input", "target"} or len({part.shape[:1] for part in tables.values()}) > 1:
            return None
        chosen = {name: part[rows] for name, part in tables.items()}
        made: torch.Tensor = function(**{**arguments, **chosen})
        return made


def _growth(model: nn.Module, part: Batch, output: Any, *, criterion: Criterion, calls: _LossCall) -> float | None:
    """The factor by which the loss grows if every row is given twice; None for one that compares rows."""
    value, rows = criterion.value(output, part.targets), range(part.num_samples)

    def of_rows(chosen: list[int]) -> float:
        some = _rows(part, chosen)
        if criterion.loss is not None:
            outputs = _mapped(output, lambda tensor: tensor[chosen] if _is_rows(tensor, part) else tensor)
            return float(criterion.value(outputs, some.targets))
        found = calls.of_rows(chosen, value=value)
        return float(criterion.value(model(*some.args, **some.kwargs), None) if found is None else found)

    if not float(value):
        return None
    growth = of_rows([*rows, *rows]) / float(value)
    if growth > _ABOVE_A_MEAN and _is_nothing_alone(of_rows, share=float(value) / len(rows)):
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
