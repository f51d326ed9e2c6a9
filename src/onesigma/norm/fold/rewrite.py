"""Changing a live model: numbers written into parameters, norms taken out, each with its way back."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PadPerChannel", "Undo", "assign", "drop_padding", "mirror", "replace", "stand_in_for", "undo_all"]

Undo = Callable[[], None]


class PadPerChannel(nn.Module):
    """Pads (N, C, …) with a value of its own for every channel.

    In place of a BatchNorm before a convolution that pads with zeros: the convolution is folded and no longer pads,
    and −shift/scale is what the zero of the normalized signal is in the raw one.

    Args:
        value: (C,).
        pad: Widths as `F.pad` takes them: last axis first, left before right.

    Example:
        >>> PadPerChannel(torch.tensor([7.0]), (1, 1))(torch.zeros(1, 1, 2)).tolist()
        [[[7.0, 0.0, 0.0, 7.0]]]
    """

    value: Tensor

    def __init__(self, value: Tensor, pad: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("value", value)
        self.pad = tuple(pad)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, L, …) → (N, C, L + left + right, …)."""
        border = F.pad(torch.zeros_like(x[:1, :1]), self.pad, value=1.0)
        return F.pad(x, self.pad) + border * self.value.view(-1, *[1] * (x.dim() - 2))

    def extra_repr(self) -> str:
        """Widths."""
        return f"pad={self.pad}"


def assign(layer: nn.Module, *, weight: Tensor | None, bias: Tensor | None) -> Undo:
    """Write float64 numbers into a layer's own parameters, rounded once; make a parameter where there is none."""
    steps = [_assign(layer, "weight", weight), _assign(layer, "bias", bias)]
    return lambda: undo_all(steps)


def _assign(layer: nn.Module, name: str, value: Tensor | None) -> Undo:
    parameter: Any = getattr(layer, name)
    if value is None or (parameter is None and not value.any()):
        return lambda: None
    if parameter is None:
        like: Any = next(tensor for tensor in (layer.weight, layer._buffers.get("running_mean")) if tensor is not None)
        new = nn.Parameter(value.detach().to(like), requires_grad=like.requires_grad)
        layer.register_parameter(name, new)
        return lambda: layer.register_parameter(name, None)
    saved = parameter.detach().clone()
    _copy(parameter, value)
    return lambda: _copy(parameter, saved)


def _copy(parameter: Tensor, value: Tensor) -> None:
    with torch.inference_mode(parameter.is_inference()), torch.no_grad():  # in this order: the first sets the second
        parameter.copy_(value)


def drop_padding(layer: Any) -> Undo:
    """Let a convolution pad no more."""
    saved = {name: layer.__dict__[name] for name in ("padding", "_reversed_padding_repeated_twice")}
    layer.padding = (0,) * len(layer.kernel_size)
    layer._reversed_padding_repeated_twice = [0] * (2 * len(layer.kernel_size))
    return lambda: layer.__dict__.update(saved)


def mirror(twin: Any, live: Any) -> Undo:
    """Let a live layer hold what its twin holds: weight, bias and padding."""
    steps = [assign(live, weight=twin.weight, bias=twin.bias)]
    if getattr(twin, "padding", None) != getattr(live, "padding", None):
        steps.append(drop_padding(live))
    return lambda: undo_all(steps)


def replace(model: nn.Module, old: nn.Module, *, new: nn.Module) -> Undo:
    """Put `new` wherever `old` is a part of a module of the model."""
    places = [(parent, key) for parent in model.modules() for key, child in parent._modules.items() if child is old]
    new.train(old.training)
    for parent, key in places:
        parent._modules[key] = new

    def undo() -> None:
        for parent, key in places:
            parent._modules[key] = old

    return undo


def stand_in_for(opened: nn.Module | None = None, *, pad: PadPerChannel | None = None) -> nn.Module:
    """What stands where a norm was: nothing, or the padding that it takes over, and its children where it called some.

    Args:
        opened: A norm that called its own children; they keep their names, and so their keys in the state dict.
        pad: The padding.
    """
    children = [] if opened is None else list(opened.named_children())
    if not children:
        return nn.Identity() if pad is None else pad
    return nn.Sequential(OrderedDict([*([] if pad is None else [("pad", pad)]), *children]))


def undo_all(steps: Sequence[Undo]) -> None:
    """Call what undoes, last first."""
    for step in reversed(steps):
        step()
