"""How a new value is written to a weight that is computed from parameters: through the inverse of the computation."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.utils.weight_norm import WeightNorm

__all__ = ["Write", "through", "through_hook", "through_scale"]

Write: TypeAlias = Callable[[torch.Tensor], None]
"""Stores a new value, and puts it into the weight that the running call reads. Raises `ValueError` if it cannot."""


def through(owner: nn.Module, attribute: str, value: torch.Tensor) -> Write:
    """Writes through `right_inverse`, and makes sure that the weight is then what was written."""

    def write(new: torch.Tensor) -> None:
        try:
            setattr(owner, attribute, new.to(value.dtype))
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise ValueError(f"its parametrization takes no such weight ({error})") from error
        kept = getattr(owner, attribute)
        # A normalizing parametrization (spectral, orthogonal) gives back another weight than was written.
        if not torch.allclose(kept, new.to(kept.dtype), rtol=1e-3, atol=1e-6):
            raise ValueError("its parametrization normalizes what is written")
        value.copy_(kept)

    return write


def through_hook(owner: nn.Module | None, stored: Sequence[nn.Parameter], value: torch.Tensor) -> Write | None:
    """Writes a weight that a forward pre-hook computes: torch's older weight norm, and pruning; None for others."""
    for hook in () if owner is None else owner._forward_pre_hooks.values():
        name: Any = getattr(hook, "name", getattr(hook, "_tensor_name", None))
        if not isinstance(name, str) or getattr(owner, name, None) is not value:
            continue
        if isinstance(hook, WeightNorm):
            return _into_norm(owner, hook, value)
        if hasattr(hook, "apply_mask"):
            return _into_pruned(stored[0], getattr(owner, f"{name}_mask"), value)
    return None


def _into_norm(owner: nn.Module | None, hook: WeightNorm, value: torch.Tensor) -> Write:
    size, direction = (getattr(owner, f"{hook.name}_{part}") for part in "gv")

    def write(new: torch.Tensor) -> None:
        direction.copy_(new)
        size.copy_(torch.norm_except_dim(direction, 2, hook.dim))
        value.copy_(new)

    return write


def _into_pruned(stored: nn.Parameter, mask: torch.Tensor, value: torch.Tensor) -> Write:
    def write(new: torch.Tensor) -> None:
        stored.copy_(new)
        value.copy_(new * mask)

    return write


def through_scale(stored: nn.Parameter, value: torch.Tensor) -> Write | None:
    """Writes a weight that is its parameter times a number, cast, copied or transposed; None if it is not."""
    for parameter in (stored, stored.mT) if stored.dim() > 1 else (stored,):
        if parameter.shape != value.shape or parameter.device != value.device:
            continue
        norm = parameter.double().square().sum()
        factor = float((parameter.double() * value).sum() / norm)
        if factor and torch.allclose(value, (parameter * factor).to(value.dtype), rtol=1e-3, atol=1e-6 * abs(factor)):
            return _scaled(parameter, factor, value)
    return None


def _scaled(parameter: torch.Tensor, factor: float, value: torch.Tensor) -> Write:
    def write(new: torch.Tensor) -> None:
        parameter.copy_(new / factor)
        value.copy_(new)

    return write
