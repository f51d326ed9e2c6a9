"""The norms that `insert_` can put somewhere: batch, layer, rms, group, with their channels on axis 1 or last."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from onesigma._errors import ModelError
from onesigma.norm.layers import batch_norm_for

__all__ = ["KINDS", "ChannelLayerNorm", "ChannelRMSNorm", "GroupNormLast", "Kind", "norm_for"]

Kind: TypeAlias = Literal["batch", "layer", "rms", "group"]

KINDS: tuple[Kind, ...] = ("batch", "layer", "rms", "group")

_RMS_EPS = 1e-6


class ChannelLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, …), each position by itself, as ConvNeXt has it.

    Example:
        >>> x = torch.randn(2, 64, 5, 5, generator=torch.Generator().manual_seed(0))
        >>> round(ChannelLayerNorm(64)(x)[0, :, 2, 3].std(correction=0).item(), 3)
        1.0

    Reference: Liu et al. 2022, https://arxiv.org/abs/2201.03545
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, …) → (N, C, …)."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1).contiguous()


class ChannelRMSNorm(nn.RMSNorm):
    """RMSNorm over the channels of (N, C, …), each position by itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, …) → (N, C, …)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1).contiguous()


class GroupNormLast(nn.GroupNorm):
    """GroupNorm over the last axis of (N, …, F), each position by itself: no position sees another one."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, …, F) → (N, …, F)."""
        return super().forward(input.flatten(0, -2)).view(input.shape)


def norm_for(kind: Kind, shape: tuple[int, ...], *, channels_last: bool, num_groups: int = 32) -> nn.Module:
    """A fresh norm with one γ per channel for a signal of `shape`.

    Args:
        kind: "batch"; "layer" and "rms": over the channels of each position; "group": over groups of channels, of
            images over all positions too.
        shape: Of the signal, samples first.
        channels_last: For the output of a linear layer; else the channels are on axis 1.
        num_groups: Of a group norm: the largest divisor of the number of channels up to this.

    Raises:
        ModelError: The shape has no axis of channels, or more axes than torch has a norm for.

    Example:
        >>> norm_for("group", (8, 48, 7, 7), channels_last=False)
        GroupNorm(24, 48, eps=1e-05, affine=True...)
    """
    if kind == "batch":
        return batch_norm_for(shape, channels_last=channels_last)
    if len(shape) < 2:
        raise ModelError(f"a norm needs an axis of samples and one of channels, got shape {shape}.")
    last = channels_last or len(shape) == 2
    channels = shape[-1] if last else shape[1]
    groups = max(n for n in range(1, min(num_groups, channels) + 1) if channels % n == 0)
    makers: Mapping[tuple[str, bool], Callable[[], Any]] = {
        ("layer", True): lambda: nn.LayerNorm(channels),
        ("layer", False): lambda: ChannelLayerNorm(channels),
        ("rms", True): lambda: nn.RMSNorm(channels, eps=_RMS_EPS),
        ("rms", False): lambda: ChannelRMSNorm(channels, eps=_RMS_EPS),
        ("group", True): lambda: nn.GroupNorm(groups, channels) if len(shape) == 2 else GroupNormLast(groups, channels),
        ("group", False): lambda: nn.GroupNorm(groups, channels),
    }
    norm: nn.Module = makers[kind, last]()
    return norm
