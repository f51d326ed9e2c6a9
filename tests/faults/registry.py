"""What a fault is, and the list of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Case = tuple[nn.Module, Any, Any] | tuple[nn.Module, Any, Any, dict[str, Any]]
"""Model, batch, loss; and, where the fault shows in training only, `optimizer` and `steps`."""

ce, mse = F.cross_entropy, F.mse_loss


@dataclass(frozen=True)
class Fault:
    """`accepted`: codes that name the cause; `consequences`: codes that may be found as well; `where`: its place."""

    name: str
    buggy: Callable[[int], Case]
    fixed: Callable[[int], Case]
    accepted: frozenset[str]
    consequences: frozenset[str] = frozenset()
    where: str = ""


FAULTS: list[Fault] = []


def fault(name: str, accepted: str, consequences: str = "", where: str = "") -> Callable[[type], type]:
    def add(case: type) -> type:
        sets = frozenset(accepted.split()), frozenset(consequences.split())
        FAULTS.append(Fault(name, case.buggy, case.fixed, *sets, where))
        return case

    return add


def normal(std: float) -> Callable[[torch.Tensor], None]:
    return lambda weight: nn.init.normal_(weight, std=std)


def all_normal(model: nn.Module, std: float) -> nn.Module:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model


class Affine(nn.Module):
    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std
