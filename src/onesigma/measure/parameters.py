"""Parameters and running statistics, their gradients, and units that are copies of one another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from onesigma.model.names import tensor_names
from onesigma.model.signals import Ledger

__all__ = ["ParameterSlots", "parameter_slots", "with_gradients"]

_RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class ParameterSlots:
    """Where the numbers of one parameter stand in the ledger."""

    name: str
    shape: tuple[int, ...]
    trainable: bool
    value: int
    gradient: int | None = None
    duplicates: int | None = None


def parameter_slots(model: nn.Module, ledger: Ledger) -> tuple[ParameterSlots, ...]:
    """One entry per parameter and per buffer of running statistics, as they are before the pass."""
    return tuple(
        ParameterSlots(name, tuple(tensor.shape), tensor.requires_grad, value=ledger.add(tensor))
        for name, tensor in tensor_names(model).items()
        if isinstance(tensor, nn.Parameter) or name.endswith(_RUNNING)
    )


def with_gradients(slots: Sequence[ParameterSlots], model: nn.Module, ledger: Ledger) -> tuple[ParameterSlots, ...]:
    """The same entries with the gradients that a backward pass has left."""
    tensors = tensor_names(model)
    return tuple(_with_gradient(entry, tensors[entry.name], ledger) for entry in slots)


def _with_gradient(entry: ParameterSlots, tensor: torch.Tensor, ledger: Ledger) -> ParameterSlots:
    gradient = tensor.grad
    if gradient is None:
        return entry
    if gradient.layout != torch.strided:
        gradient = gradient.to_dense()
    has_rows = tensor.dim() > 1 and tensor.numel() > 0
    duplicates = ledger.note(_duplicate_rows(tensor.detach(), gradient)) if has_rows else None
    return replace(entry, gradient=ledger.add(gradient), duplicates=duplicates)


def _duplicate_rows(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Share of rows that have a twin in both tensors, and in the weights alone, rows of zeros apart.

    Sums come first: rows that differ there need no second look.
    """
    weight, gradient = weight.reshape(weight.shape[0], -1), gradient.reshape(weight.shape[0], -1)
    _, place, count = torch.unique(weight.sum(1), return_inverse=True, return_counts=True)
    suspects = (count[place] > 1).nonzero().squeeze(1)
    if not len(suspects):
        return torch.zeros(2)
    found = weight[suspects]
    joint = torch.cat([found, gradient[suspects].to(weight.dtype)], dim=1)
    twins = torch.stack([_num_twins(joint), _num_twins(found[found.any(1)])])
    return twins / weight.shape[0]


def _num_twins(rows: torch.Tensor) -> torch.Tensor:
    _, count = torch.unique(rows, dim=0, return_counts=True)
    number: torch.Tensor = count[count > 1].sum()
    return number
