"""Parameters and running statistics, their gradients, and units that are copies of one another."""

from dataclasses import dataclass

import torch
from torch import nn

from onesigma.model.names import tensor_names
from onesigma.model.signals import Ledger

__all__ = ["ParameterSlots", "parameter_slots"]

_RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class ParameterSlots:
    """Where the numbers of one parameter stand in the ledger."""

    name: str
    shape: tuple[int, ...]
    trainable: bool
    value: int
    gradient: int | None
    duplicates: int | None


def parameter_slots(model: nn.Module, ledger: Ledger) -> tuple[ParameterSlots, ...]:
    """One entry per parameter and per buffer of running statistics."""
    found = []
    for name, tensor in tensor_names(model).items():
        if isinstance(tensor, nn.Parameter) or name.endswith(_RUNNING):
            found.append(_slots(name, tensor, ledger))
    return tuple(found)


def _slots(name: str, tensor: torch.Tensor, ledger: Ledger) -> ParameterSlots:
    gradient = tensor.grad
    if gradient is not None and gradient.layout != torch.strided:
        gradient = gradient.to_dense()
    duplicates = None
    if gradient is not None and tensor.dim() > 1 and tensor.numel():
        duplicates = ledger.note(_duplicate_rows(tensor.detach(), gradient))
    return ParameterSlots(
        name=name,
        shape=tuple(tensor.shape),
        trainable=tensor.requires_grad,
        value=ledger.add(tensor),
        gradient=None if gradient is None else ledger.add(gradient),
        duplicates=duplicates,
    )


def _duplicate_rows(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Share of rows that have a twin in both tensors. Sums come first: rows that differ there need no second look."""
    weight, gradient = weight.reshape(weight.shape[0], -1), gradient.reshape(weight.shape[0], -1)
    _, place, count = torch.unique(weight.sum(1), return_inverse=True, return_counts=True)
    suspects = (count[place] > 1).nonzero().squeeze(1)
    if not len(suspects):
        return torch.zeros(1)
    joint = torch.cat([weight[suspects], gradient[suspects].to(weight.dtype)], dim=1)
    _, count = torch.unique(joint, dim=0, return_counts=True)
    num_twins: torch.Tensor = count[count > 1].sum()
    return (num_twins / weight.shape[0]).reshape(1)
