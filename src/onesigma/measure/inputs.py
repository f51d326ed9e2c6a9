"""What a model is fed with: one table of column moments per tensor."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from onesigma.model.batches import Batch, tensors_in
from onesigma.model.graph import Graph
from onesigma.model.signals import Ledger
from onesigma.model.trace import Column, InputRecord

__all__ = ["Table", "input_record", "merged_rows", "tables_of"]

_CHANNEL_AXIS = {1: None, 2: 1, 3: 2, 4: 1, 5: 1}
_KINDS = {1: "features", 2: "features", 3: "sequence", 4: "image"}


@dataclass(frozen=True, slots=True)
class Table:
    """One tensor of a batch.

    Attributes:
        name: Of the argument; "targets" for the targets.
        shape: Of the batch.
        dtype: As torch names it.
        slot: Of its moments; None for labels.
        columns: Slot of (count, nonfinite, mean, squares, minimum, maximum) per column; None without columns.
        labels: Slot of the counts per label; None where it holds none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    slot: int | None = None
    columns: int | None = None
    labels: int | None = None


def tables_of(batch: Batch, ledger: Ledger) -> list[Table]:
    """A table per tensor of the inputs, in the order that calls number them, then one for the targets, if any."""
    named = {**{str(i): value for i, value in enumerate(batch.args)}, **batch.kwargs}
    found = [_table(name, tensor, batch, ledger) for name, value in named.items() for tensor in tensors_in(value)]
    targets = next(tensors_in(batch.targets), None)
    return found if targets is None else [*found, _table("targets", targets, batch, ledger)]


def _table(name: str, tensor: torch.Tensor, batch: Batch, ledger: Ledger) -> Table:
    table = Table(name, tuple(tensor.shape), tensor.dtype)
    if not tensor.numel():
        return table
    is_index = not (tensor.is_floating_point() or tensor.is_complex())
    if is_index and tensor.dtype != torch.bool and (name == "targets" or "label" in name):
        table = replace(table, labels=ledger.note(torch.bincount(tensor.clamp(min=-1).reshape(-1).long() + 1)[1:]))
    slot = ledger.add(tensor, num_samples=batch.num_samples)
    return replace(table, slot=slot, columns=ledger.note(_column_rows(tensor)))


def _column_rows(tensor: torch.Tensor) -> torch.Tensor:
    """(count, nonfinite, mean, squares, minimum, maximum) × columns, flat."""
    wide = torch.float32 if tensor.device.type == "mps" else torch.float64
    axis = _CHANNEL_AXIS.get(tensor.dim())
    values = (tensor.real if tensor.is_complex() else tensor).detach().to(wide)
    values = values.reshape(-1, 1) if axis is None else values.movedim(axis, -1).reshape(-1, tensor.shape[axis])
    finite = values.isfinite()
    count = finite.sum(0)
    mean = values.where(finite, 0).sum(0) / count.clamp(min=1)
    squares = (values - mean).where(finite, 0).square().sum(0)
    low, high = values.where(finite, torch.inf).amin(0), values.where(finite, -torch.inf).amax(0)
    return torch.stack([count.to(wide), (~finite).sum(0).to(wide), mean, squares, low, high]).reshape(-1)


def merged_rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Column moments of both batches together."""
    a, b = first.reshape(6, -1), second.reshape(6, -1)
    if a.shape != b.shape:
        return first
    count = np.maximum(a[0] + b[0], 1)
    shift = b[2] - a[2]
    mean = a[2] + shift * b[0] / count
    squares = a[3] + b[3] + shift * shift * a[0] * b[0] / count
    return np.stack([a[0] + b[0], a[1] + b[1], mean, squares, np.minimum(a[4], b[4]), np.maximum(a[5], b[5])]).reshape(
        -1
    )


def input_record(
    table: Table, graph: Graph, *, number: int, rows: np.ndarray | None, counts: np.ndarray | None
) -> InputRecord:
    """Read one table; `number` is its place among the model's inputs, −1 for targets."""
    kind = _kind(table, graph, number=number)
    plain = InputRecord(name=table.name, kind=kind, shape=table.shape, dtype=str(table.dtype).removeprefix("torch."))
    if kind == "labels":
        counts = np.zeros(0) if counts is None else counts
        shares = counts[counts > 0] / max(counts.sum(), 1)
        return replace(plain, num_classes=len(counts), entropy=float(-(shares * np.log(shares)).sum()))
    if kind == "tokens" or rows is None:
        return plain
    return replace(plain, columns=tuple(_column(str(i), row) for i, row in enumerate(rows.reshape(6, -1).T)))


def _kind(table: Table, graph: Graph, *, number: int) -> str:
    if table.labels is not None:
        return "labels"
    is_index = not (table.dtype.is_floating_point or table.dtype.is_complex)
    if is_index and number >= 0 and any(call.kind == "embedding" for call in graph.consumers(-1 - number)):
        return "tokens"
    if (
        table.dtype == torch.bool
        or table.dtype.is_complex
        or (is_index and len(table.shape) != 4 and not table.name.isdigit())
    ):
        return "other"
    return _KINDS.get(len(table.shape), "other")


def _column(name: str, row: Any) -> Column:
    count, nonfinite, mean, squares, low, high = map(float, row)
    is_constant = low == high
    return Column(
        name=name,
        mean=low if is_constant else mean,
        std=0.0 if is_constant or not count else float(np.sqrt(squares / count)),
        minimum=low if count else 0.0,
        maximum=high if count else 0.0,
        nonfinite=int(nonfinite),
    )
