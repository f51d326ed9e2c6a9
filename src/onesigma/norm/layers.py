"""BatchNorm for the shape that a signal has: channels on axis 1, or features on the last axis of a sequence."""

import torch
from torch import nn

from onesigma._errors import ModelError

__all__ = ["BatchNormLast", "batch_norm_for"]

_BY_DIMENSIONS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


class BatchNormLast(nn.BatchNorm1d):
    """BatchNorm over the last axis of (N, …, F), where `nn.BatchNorm1d` would normalize axis 1.

    Example:
        >>> x = torch.randn(8, 5, 3, generator=torch.Generator().manual_seed(0))
        >>> [round(std, 2) for std in BatchNormLast(3)(x).std((0, 1), correction=0).tolist()]
        [1.0, 1.0, 1.0]
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, …, F) → (N, …, F)."""
        return super().forward(input.flatten(0, -2)).view(input.shape)


def batch_norm_for(shape: tuple[int, ...], *, channels_last: bool) -> nn.Module:
    """A fresh BatchNorm for a signal of `shape`; `channels_last` for the output of a linear layer.

    Raises:
        ModelError: The shape has no axis of channels, or more axes than torch has a BatchNorm for.
    """
    if len(shape) < 2 or (not channels_last and len(shape) not in _BY_DIMENSIONS):
        raise ModelError(f"a BatchNorm needs a batch of 2 to 5 dimensions, got shape {shape}.")
    if channels_last:
        return nn.BatchNorm1d(shape[-1]) if len(shape) == 2 else BatchNormLast(shape[-1])
    return _BY_DIMENSIONS[len(shape)](shape[1])
