"""Removing one bias from a layer, its norms and its optimizer, and the way back."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from onesigma.norm.migration import forget

__all__ = ["bias_of", "remove_bias"]


def bias_of(layer: nn.Module) -> nn.Parameter:
    """The layer's own bias, which the caller knows to be there."""
    bias = layer.bias
    assert isinstance(bias, nn.Parameter)
    return bias


def remove_bias(
    layer: nn.Module, norms: Sequence[Any], *, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> Callable[[], None]:
    """Set `layer.bias = None` and `running_mean -= bias`; return what undoes it.

    The optimizer forgets the bias, unless another module of the model has it too.
    """
    bias = bias_of(layer)
    means = [norm.running_mean for norm in norms if norm.running_mean is not None]
    saved = [mean.clone() for mean in means]
    with torch.no_grad():
        for mean in means:
            # In float64: the difference is rounded once.
            mean.copy_(mean.double() - bias.double())
    layer.register_parameter("bias", None)
    is_held = any(parameter is bias for parameter in model.parameters())
    back_in_optimizer = forget(None if is_held else optimizer, bias)

    def restore() -> None:
        layer.register_parameter("bias", bias)
        with torch.no_grad():
            for mean, value in zip(means, saved, strict=True):
                mean.copy_(value)
        back_in_optimizer()

    return restore
