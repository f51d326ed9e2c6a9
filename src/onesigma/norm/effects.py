"""What replacing one sample by another does to the outputs for the others: no derivative, the difference itself."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from onesigma.model.batches import Batch
from onesigma.model.signals import sample_axis
from onesigma.norm.probes import Rows

__all__ = ["effect_ratio", "first_samples", "with_replaced"]


def effect_ratio(run: Callable[[int | None], list[Rows]], *, num_samples: int, max_samples: int) -> float:
    """Largest change of the outputs for other samples over the largest for the one that was replaced.

    Args:
        run: The outputs where sample j is replaced; as they are for None.
        num_samples: Of the batch.
        max_samples: How many are replaced, one at a time, spread evenly.
    """
    before = [rows.by_sample(rows.tensor).clone() for rows in run(None)]
    across = within = 0.0
    for j in range(0, num_samples, -(-num_samples // max_samples)):
        for rows, old in zip(run(j), before, strict=True):
            if not old.numel():
                continue
            changes = (rows.by_sample(rows.tensor) - old).abs().nan_to_num(nan=torch.inf).amax(1)
            within = max(within, float(changes[j]))
            changes[j] = 0
            across = max(across, float(changes.max()))
    if across in (0.0, float("inf")):
        return across
    return across / within if within else float("inf")


def with_replaced(batch: Batch, j: int | None) -> Batch:
    """The batch with sample j replaced by the next one, in all tensors that have samples; copies in any case."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        axis = None if j is None else sample_axis(tensor, num_samples=batch.num_samples)
        copy = tensor.detach().clone()
        if axis is not None and j is not None:
            copy.select(axis, j).copy_(tensor.select(axis, (j + 1) % batch.num_samples))
        return copy

    return _mapped(batch, change)


def first_samples(batch: Batch, size: int) -> Batch:
    """The first `size` samples of a batch."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        axis = sample_axis(tensor, num_samples=batch.num_samples)
        return tensor if axis is None else tensor.narrow(axis, 0, size)

    return replace(_mapped(batch, change), num_samples=size)


def _mapped(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    args = tuple(_changed(value, change) for value in batch.args)
    return replace(batch, args=args, kwargs={name: _changed(value, change) for name, value in batch.kwargs.items()})


def _changed(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _changed(part, change) for name, part in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(_changed(part, change) for part in value)
    return value
