"""The arithmetic of a fold: weight and bias of a layer that takes in what a norm did before or after it."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["absorbed_after", "absorbed_before", "scaled_inputs", "scaled_outputs", "shift_through"]


def absorbed_after(
    op: str, weight: Tensor, bias: Tensor | None, *, scale: Tensor, shift: Tensor, groups: int = 1
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer that gives scale·(W·x + b) + shift, per output channel.

    Example:
        >>> weight, bias = absorbed_after("linear", torch.ones(1, 2), torch.ones(1),
        ...                               scale=torch.tensor([3.0]), shift=torch.tensor([0.5]))
        >>> weight.tolist(), bias.tolist()
        ([[3.0, 3.0]], [3.5])
    """
    folded = shift if bias is None else bias * scale + shift
    return scaled_outputs(op, weight, scale=scale, groups=groups), folded


def absorbed_before(
    op: str, weight: Tensor, bias: Tensor | None, *, scale: Tensor, moved: Tensor, groups: int = 1
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer that gives W·(scale·x + shift) + b, with `moved` = W·shift per output channel."""
    return scaled_inputs(op, weight, scale=scale, groups=groups), moved if bias is None else bias + moved


def scaled_outputs(op: str, weight: Tensor, *, scale: Tensor, groups: int = 1) -> Tensor:
    """W with every output channel scaled; transposed convolutions hold (in, out/groups, …), all others (out, …)."""
    if "transpose" in op:
        return weight * _by_group(scale, weight, groups=groups, axis=1)
    return weight * scale.view(-1, *[1] * (weight.dim() - 1))


def scaled_inputs(op: str, weight: Tensor, *, scale: Tensor, groups: int = 1) -> Tensor:
    """W with every input channel scaled; convolutions hold (out, in/groups, …), transposed ones (in, out/groups, …)."""
    if "transpose" in op:
        return weight * scale.view(-1, *[1] * (weight.dim() - 1))
    return weight * _by_group(scale, weight, groups=groups, axis=1)


def shift_through(
    op: str, weight: Tensor, *, shift: Tensor, shape: tuple[int, ...], settings: Mapping[str, Any]
) -> Tensor | None:
    """(out,) what a layer makes of an input of `shape` that is `shift`, broadcast; None if that depends on the place.

    It does near a border that is padded with zeros, and where positions of a transposed convolution overlap unevenly.
    """
    function = getattr(F, op)
    batched = len(shape) > 1 + (0 if op == "linear" else int(op[-2]))
    field = shift.expand(shape)[:1] if batched else shift.expand(shape)
    made: Tensor = function(field, weight, None, **settings)
    size = function(field.abs(), weight.abs(), None, **settings).max() if made.numel() else made.new_zeros(())
    channels = made.movedim(-1 if op == "linear" else made.dim() - 1 - int(op[-2]), 0).flatten(1)
    if bool(((channels - channels[:, :1]).abs() > 1e-12 * size).any()):
        return None
    return channels[:, 0].clone()


def _by_group(scale: Tensor, weight: Tensor, *, groups: int, axis: int) -> Tensor:
    """`scale` of all channels, for a weight that holds those of one group on `axis` and the groups along axis 0."""
    rows, channels = weight.shape[0], weight.shape[axis]
    spread = scale.view(groups, 1, channels).expand(groups, rows // groups, channels).reshape(rows, channels)
    return torch.reshape(spread, (rows, channels, *[1] * (weight.dim() - 2)))
