"""The loss in eval mode: of a few rows where they settle that it is no higher, else of the whole batch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from onesigma.measure.rows import LastRow, LossCall, is_table, last_row, mapped, rows_of, tables_in
from onesigma.model.batches import Batch
from onesigma.model.criterion import Criterion
from onesigma.model.trace import LossRecord, Trace

__all__ = ["Seen", "in_eval"]

# A pass of fewer values is made as a whole: a few milliseconds are not worth an estimate.
_COSTLY = 1 << 24
_LEAST_ROWS, _MOST_ROWS, _SHARE = 4, 8, 4
# The least gap that is worth a word. Rows settle it where they tell, at 99 %, that it is smaller.
_WORTH_A_WORD = 0.1
_STUDENT = {4: 4.541, 5: 3.747, 6: 3.365, 7: 3.143, 8: 2.998}  # 99 % quantile of n − 1 degrees of freedom
_ROUNDING = 1e-3


@dataclass(slots=True)
class Seen:
    """What is kept of the output of the measured pass.

    Attributes:
        last: The last row, per tensor of the output.
        chosen: Rows that may stand for the batch, the last among them; none where it is small.
        output: The output with these rows alone; None where it cannot be taken apart.
        tables: These rows of every tensor that has rows.
    """

    last: LastRow = ()
    chosen: tuple[int, ...] = ()
    output: Any = None
    tables: tuple[torch.Tensor, ...] = ()

    def look(self, output: Any, *, num_rows: int, is_compared: bool) -> None:
        """Keep the last row, and a few more if they are to be compared with eval mode."""
        self.last = last_row(output, num_rows=num_rows)
        size = min(_MOST_ROWS, max(_LEAST_ROWS, num_rows // _SHARE))
        if not is_compared or num_rows < 2 * size:
            return
        chosen = [num_rows - 1 - place * num_rows // size for place in reversed(range(size))]
        self.chosen = tuple(chosen)
        self.tables = tuple(tensor.detach()[chosen] for tensor in tables_in(output, num_rows=num_rows))
        try:
            self.output = mapped(
                output, lambda tensor: tensor.detach()[chosen] if is_table(tensor, num_rows=num_rows) else tensor
            )
        except TypeError:  # An output of a class of its own may still carry a loss that is seen through.
            self.output = None


def in_eval(
    trace: Trace, record: LossRecord, model: nn.Module, batch: Batch, *, criterion: Criterion, seen: Seen
) -> tuple[LossRecord, LastRow]:
    """The record with the loss of eval mode, and what the last row became there. The model is in that mode.

    The whole batch costs a forward pass more. Of a costly one a few rows come first: where they tell, by Student's
    bound at 99 %, that eval mode costs less than a tenth more, their mean difference stands for the batch's. What is
    worth a word is always of the whole batch.
    """
    if seen.chosen and sum(each.output.count for each in trace.records if each.output is not None) > _COSTLY:
        found = _of_rows(record, model, batch, criterion=criterion, seen=seen)
        if found is not None:
            return found
    output = model(*batch.args, **batch.kwargs)
    value = float(criterion.value(output, batch.targets))
    return (
        replace(record, in_eval=value, eval_samples=batch.num_samples),
        last_row(output, num_rows=batch.num_samples),
    )


def _of_rows(
    record: LossRecord, model: nn.Module, batch: Batch, *, criterion: Criterion, seen: Seen
) -> tuple[LossRecord, LastRow] | None:
    """None where these rows do not tell what the batch would."""
    try:
        part, calls = rows_of(batch, list(seen.chosen)), LossCall()
        with calls:
            output = model(*part.args, **part.kwargs)
            value = criterion.value(output, part.targets)
        paid = _payments(part, output, criterion=criterion, seen=seen, calls=calls, value=value)
        gap = (
            None
            if paid is None
            else _gap(*paid, num_rows=part.num_samples, of_batch=record.value, num_samples=batch.num_samples)
        )
    except Exception:  # What takes a batch need not take a row.
        return None
    if gap is None:
        return None
    known = replace(record, in_eval=record.value + gap, eval_samples=part.num_samples)
    return known, last_row(output, num_rows=part.num_samples)


# Of one mode: what some rows pay together.
_Price = Callable[[list[int]], float]


def _payments(
    part: Batch, output: Any, *, criterion: Criterion, seen: Seen, calls: LossCall, value: torch.Tensor
) -> tuple[_Price, _Price] | None:
    """The prices in training and in eval mode."""
    if criterion.loss is not None:
        if seen.output is None:
            return None

        def priced(made: Any, rows: list[int]) -> float:
            chosen = mapped(
                made, lambda tensor: tensor[rows] if is_table(tensor, num_rows=part.num_samples) else tensor
            )
            return float(criterion.value(chosen, mapped(part.targets, lambda tensor: tensor[rows])))

        return lambda rows: priced(seen.output, rows), lambda rows: priced(output, rows)
    source = calls.input_of(value)
    places = [
        place
        for place, tensor in enumerate(tables_in(output, num_rows=part.num_samples))
        if source is not None and tensor.data_ptr() == source.data_ptr() and tensor.shape == source.shape
    ]
    if len(places) != 1 or len(seen.tables) <= places[0]:
        return None
    before = seen.tables[places[0]]

    def of_rows(rows: list[int], given: torch.Tensor | None) -> float:
        made = calls.of_rows(rows, num_rows=part.num_samples, value=value, given=given)
        return math.nan if made is None else float(made)

    return lambda rows: of_rows(rows, before), lambda rows: of_rows(rows, None)


def _gap(
    in_training: _Price, in_eval_mode: _Price, *, num_rows: int, of_batch: float, num_samples: int
) -> float | None:
    """How much more the batch pays in eval mode; None if these rows leave that open, or the loss is no mean or sum."""
    before = torch.tensor([in_training([row]) for row in range(num_rows)], dtype=torch.float64)
    after = torch.tensor([in_eval_mode([row]) for row in range(num_rows)], dtype=torch.float64)
    together = in_training(list(range(num_rows)))
    is_mean = math.isclose(together, float(before.mean()), rel_tol=_ROUNDING)
    if not is_mean and not math.isclose(together, float(before.sum()), rel_tol=_ROUNDING):
        return None
    share = of_batch if is_mean else of_batch / num_samples
    base = min(abs(share), float(before.abs().mean()))
    differences = after - before
    # Without replacement: of a batch that is seen as a whole nothing is left to guess.
    error = float(differences.std()) * math.sqrt(1 / num_rows - 1 / num_samples)
    gap = float(differences.mean())
    if not gap + _STUDENT[num_rows] * error < _WORTH_A_WORD * base:
        return None
    return gap * (1 if is_mean else num_samples)
