"""Initializations to compare with: what torch offers, and LSUV, written anew from its paper."""

import torch
from torch import nn

from onesigma.init.initialize import initialize_

__all__ = ["kaiming", "lsuv", "orthogonal"]

_LAYERS = (nn.Linear, nn.Conv2d)
_TORCH_GAIN = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.SELU: "selu", nn.Sigmoid: "sigmoid"}


def kaiming(model: nn.Module) -> None:
    """He's rule with the gains of torch's table, and ReLU's where the table has none, as people do."""
    name = next((_TORCH_GAIN[type(part)] for part in model.modules() if type(part) in _TORCH_GAIN), "relu")
    for layer in model.modules():
        if isinstance(layer, _LAYERS):
            nn.init.kaiming_normal_(layer.weight, nonlinearity=name)
            nn.init.zeros_(layer.bias)


def orthogonal(model: nn.Module, x: torch.Tensor) -> None:
    """Orthogonal matrices with the exact gain of what feeds each layer."""
    initialize_(model, x, scheme="orthogonal")


@torch.no_grad()
def lsuv(model: nn.Module, x: torch.Tensor, *, tolerance: float = 0.1, tries: int = 10) -> None:
    """Orthonormal, then layer by layer divided by the std of its output until that is near 1 (Mishkin & Matas 2016)."""
    layers = [layer for layer in model.modules() if isinstance(layer, _LAYERS)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(layer.bias)
    for layer in layers:
        found: list[float] = []
        hook = layer.register_forward_hook(lambda _, __, output, found=found: found.append(float(output.std())))
        for _ in range(tries):
            model(x)
            if abs(found[-1] - 1) < tolerance or not found[-1] > 0:
                break
            layer.weight /= found[-1]
        hook.remove()
