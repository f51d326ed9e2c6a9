"""What a run of a model gives: the tensors that it returns, in whatever object, and those that it leaves on itself."""

from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from onesigma.model.batches import tensors_in

__all__ = ["Results", "floats_in"]

_OWN = frozenset(vars(nn.Module()))

_NO_RESULT = (nn.Module, type, FunctionType, MethodType, ModuleType)


class Results:
    """Looks at a model before a run, to tell what the run leaves on its modules from what was there."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.before = list(_kept(model))

    def of(self, output: Any) -> tuple[Tensor, ...]:
        """Copies of the floating tensors of `output`, then of those that the modules newly keep as attributes."""
        known = {id(tensor) for tensor in self.before}
        new = [tensor for tensor in _kept(self.model) if id(tensor) not in known]
        return tuple(tensor.detach().clone() for tensor in floats_in((output, new)))


def floats_in(value: Any) -> Iterator[Tensor]:
    """Every floating tensor in `value`; complex ones as pairs, attributes of unknown objects too."""
    for tensor in _tensors_in(value, seen=[]):
        if tensor.is_complex():
            yield torch.view_as_real(tensor.resolve_conj())
        elif tensor.is_floating_point():
            yield tensor


def _tensors_in(value: Any, *, seen: list[Any]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | tuple | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(part, seen=seen)
    elif not hasattr(value, "__dict__") or isinstance(value, _NO_RESULT):
        yield from tensors_in(value)
    elif not any(other is value for other in seen):
        seen.append(value)
        yield from _tensors_in(vars(value), seen=seen)


def _kept(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        if not isinstance(module, torch.jit.ScriptModule):
            for name, value in vars(module).items():
                if name not in _OWN:
                    yield from tensors_in(value)
